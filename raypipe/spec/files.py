"""Files that rows are read from, and the Python types of their columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import polars as pl

from raypipe.spec.values import place

Format: TypeAlias = Literal[
    "csv", "json", "parquet", "orc", "avro", "iceberg", "delta", "snowflake", "bigquery", "databricks", "clickhouse"
]
ColumnType: TypeAlias = type[str] | type[int] | type[float] | type[bool] | type[datetime]

POLARS_TYPES: dict[ColumnType, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    datetime: pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True)
class Files:
    """Files of one format, or a table that another system keeps (``spec.elsewhere``), whose name ``path`` is then.

    ``path`` is a file, a folder, a glob, ``archive.zip`` with one member, or ``package://NAME/path/inside`` for data
    that an installed package ships (the package is found, never imported); or a URL of a file, a folder or a glob, such
    as ``s3://bucket/flights/*.csv``, ``gs://…``, ``abfss://…``, or any scheme that fsspec knows.

    ``at_most_bad`` is the share, 0 to 1, of lines (of CSV and JSON lines), or of the bytes of files that cannot be read
    at all, that may be unreadable: they are set aside with their bytes, the rest goes on. With more the source stops.
    """

    format: Format
    path: str
    nulls: tuple[str, ...] = ()
    at_most_bad: float = 0.0
    where: str = place()


def csv(path: str, *, nulls: Sequence[str] = ("", "NA"), at_most_bad: float = 0.0) -> Files:
    """CSV files with a header line; ``nulls`` are the texts that mean nothing is there."""
    return Files("csv", path, tuple(nulls), at_most_bad)


def json_lines(path: str, *, at_most_bad: float = 0.0) -> Files:
    """Files with one JSON object a line."""
    return Files("json", path, at_most_bad=at_most_bad)


def parquet(path: str, *, at_most_bad: float = 0.0) -> Files:
    """Parquet files."""
    return Files("parquet", path, at_most_bad=at_most_bad)


def orc(path: str, *, at_most_bad: float = 0.0) -> Files:
    """ORC files."""
    return Files("orc", path, at_most_bad=at_most_bad)


def avro(path: str, *, at_most_bad: float = 0.0) -> Files:
    """Avro files, each with its own schema."""
    return Files("avro", path, at_most_bad=at_most_bad)
