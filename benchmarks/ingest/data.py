"""Trips to take in: as files of CSV and Parquet, and as messages of a mock Kafka cluster. Same seed, same rows."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from confluent_kafka import Consumer, Producer, TopicPartition

TOPIC = "trips"
PARTITIONS = 4
#: Rows of one file.
FILE_ROWS = 1_000_000
_BEGAN = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1e6)


def blocks(rows: int) -> Iterator[pl.DataFrame]:
    """Trips in the order of their time, a file's worth at a time."""
    dice = np.random.default_rng(7)
    for start in range(0, rows, FILE_ROWS):
        many = min(FILE_ROWS, rows - start)
        ids = np.arange(start, start + many)
        yield pl.DataFrame(
            {
                "id": ids,
                "town": dice.choice(["Bern", "Basel", "Chur", "Genève", "Zug"], many),
                "driver": pl.Series(dice.integers(0, 20_000, many)).cast(pl.String).str.zfill(6),
                "started": pl.Series(_BEGAN + ids * 250_000).cast(pl.Datetime("us", "UTC")),
                "minutes": dice.gamma(3.0, 5.0, many).round(1),
                "fare": dice.gamma(4.0, 4.0, many).round(2),
            }
        )


def files(folder: Path, rows: int) -> None:
    """``csv/NN.csv`` and ``parquet/NN.parquet``."""
    for place, block in enumerate(blocks(rows)):
        for kind in ("csv", "parquet"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        texts = block.with_columns(pl.col("started").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
        texts.write_csv(folder / "csv" / f"{place:02}.csv")
        block.write_parquet(folder / "parquet" / f"{place:02}.parquet")


def cluster(rows: int) -> tuple[Producer, str]:
    """A mock cluster with all messages in it; it lives as long as its producer. Returns it and its address."""
    # The mock keeps 5 MB of each partition and lets go of what came first: well compressed, all of it is there.
    settings = {"compression.type": "zstd", "compression.level": 9, "linger.ms": 1_000, "log_level": 2}
    limits = {"batch.num.messages": 100_000, "queue.buffering.max.messages": 2_000_000}
    producer = Producer({"test.mock.num.brokers": 1, **settings, **limits})
    brokers = producer.list_topics(timeout=10).brokers.values()
    address = ",".join(f"{one.host}:{one.port}" for one in brokers)
    for block in blocks(rows):
        for place, line in enumerate(messages(block)):
            producer.produce(TOPIC, line, partition=place % PARTITIONS)
            if place % 10_000 == 0:
                producer.poll(0)
        if producer.flush(60):
            raise RuntimeError("the mock cluster did not take the messages")
    _require_all(address)
    return producer, address


def _require_all(address: str) -> None:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "looks", "log_level": 0})
    for partition in range(PARTITIONS):
        first, _ = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=10)
        if first:
            raise RuntimeError(f"the mock cluster let go of the first {first} messages of partition {partition}")
    consumer.close()


def messages(block: pl.DataFrame) -> list[bytes]:
    """Each row as a JSON object."""
    texts = block.with_columns(pl.col("started").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    return texts.write_ndjson().encode().splitlines()
