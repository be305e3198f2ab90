"""What a good engineer writes by hand, without any bookkeeping: a kill loses or doubles rows, a repeat is kept."""

from pathlib import Path
from time import monotonic

import polars as pl
import pyarrow as pa
import pyarrow.json as pj
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("town", pa.string()),
        ("driver", pa.string()),
        ("started", pa.timestamp("us", "UTC")),
        ("minutes", pa.float64()),
        ("fare", pa.float64()),
    ]
)
BATCH = 100_000


def table(lake: Path) -> Table:
    """An empty Iceberg table."""
    lake.mkdir(parents=True)
    catalog = SqlCatalog("raypipe", uri=f"sqlite:///{lake}/catalog.db", warehouse=str(lake / "warehouse"))
    catalog.create_namespace("lake")
    return catalog.create_table("lake.trips", SCHEMA)


def kafka(address: str, lake: Path, rows: int, topic: str) -> None:
    """Consume, parse, append, until all are there."""
    into, read = table(lake), 0
    consumer = Consumer({"bootstrap.servers": address, "group.id": "peer", "enable.auto.commit": False})
    # To join a group takes seconds, which would count against it.
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, one, OFFSET_BEGINNING) for one in partitions])
    while read < rows:
        values: list[bytes] = []
        until = monotonic() + 5
        while len(values) < min(BATCH, rows - read) and monotonic() < until:
            values += [value for one in consumer.consume(10_000, 1.0) if (value := one.value()) is not None]
        options = pj.ParseOptions(explicit_schema=SCHEMA)
        if values:
            into.append(pj.read_json(pa.BufferReader(b"\n".join(values)), parse_options=options))
        read += len(values)
    consumer.close()


def csv(folder: Path, lake: Path) -> None:
    """Each file: read whole, append."""
    into = table(lake)
    for path in sorted((folder / "csv").glob("*.csv")):
        frame = pl.read_csv(path, schema_overrides={"driver": pl.String})
        frame = frame.with_columns(pl.col("started").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_zone="UTC"))
        into.append(frame.to_arrow().cast(SCHEMA))


def parquet(folder: Path, lake: Path) -> None:
    """Each file: read whole, append."""
    into = table(lake)
    for path in sorted((folder / "parquet").glob("*.parquet")):
        into.append(pl.read_parquet(path).to_arrow().cast(SCHEMA))
