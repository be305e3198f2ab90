"""Where the Parquet files of a lake lie: a folder, or a prefix of an S3 store. The one place that tells them apart.

Keys, region and endpoint of S3 are found as every tool of AWS finds them: ``AWS_*`` variables, its files, the machine's
role. So no secret passes through here, and the path alone says where a file is, in every process.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypedDict

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem, FileType, LocalFileSystem, S3FileSystem
from pyiceberg.io.pyarrow import PyArrowFileIO

S3 = "s3://"
#: An endpoint that says http:// means it.
OPTIONS = {"aws_allow_http": "true"}


def remote(path: str) -> bool:
    """True when the path is no folder or file of this machine."""
    return path.startswith(S3)


class SharedIO(PyArrowFileIO):
    """One client of S3 for all tables: its own way is one for every look at one, 30 ms each."""

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        return _s3()


def io_properties(warehouse: str) -> dict[str, str]:
    """What Iceberg's own reader and writer of metadata must be told."""
    return {"py-io-impl": f"{SharedIO.__module__}.{SharedIO.__name__}"} if remote(warehouse) else {}


def filesystem(path: str) -> FileSystem:
    """What reads and writes there."""
    return _s3() if remote(path) else LocalFileSystem()


def bare(path: str) -> str:
    """The path as its filesystem names it."""
    return path.removeprefix(S3)


def like(path: str, other: str) -> str:
    """A name that a filesystem gave, written as ``path`` is."""
    return f"{S3}{other}" if remote(path) else other


def make_folder(path: str) -> None:
    """Make a folder; S3 has none."""
    if not remote(path):
        Path(path).mkdir(parents=True)


def scan(paths: Sequence[str], schema: Mapping[str, pl.DataType] | None = None) -> pl.LazyFrame:
    """The rows of Parquet files, in order; with a schema its columns alone, null where a file lacks one."""
    options = OPTIONS if paths and remote(paths[0]) else None
    if schema is None:
        return pl.scan_parquet(list(paths), glob=False, storage_options=options)
    return pl.scan_parquet(
        list(paths),
        glob=False,
        storage_options=options,
        schema=dict(schema),
        missing_columns="insert",
        extra_columns="ignore",
    )


def read(paths: Sequence[str]) -> pl.DataFrame:
    """All of it at once."""
    return scan(paths).collect()


def read_arrow(path: str) -> pa.Table:
    """One file as it was written."""
    return pq.read_table(bare(path), filesystem=filesystem(path), partitioning=None)


def footer(path: str) -> pq.FileMetaData:
    """What a file says of itself."""
    return pq.read_metadata(bare(path), filesystem=filesystem(path))


def height(path: str) -> int:
    """How many rows a file says it has."""
    return int(footer(path).num_rows)


def writer(path: str, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes a file, block by block."""
    return pq.ParquetWriter(bare(path), schema, filesystem=filesystem(path), **_encoding(schema))


def write(rows: pa.Table, path: str) -> None:
    """Write a file."""
    pq.write_table(rows, bare(path), filesystem=filesystem(path), **_encoding(rows.schema))


class _Encoding(TypedDict):
    compression: str
    use_dictionary: list[str] | bool


def _encoding(schema: pa.Schema) -> _Encoding:
    """Dictionaries for texts alone: of numbers and times, which mostly differ, they double a file and its time."""
    texts = [one.name for one in schema if pa.types.is_large_string(one.type) or pa.types.is_string(one.type)]
    return {"compression": "zstd", "use_dictionary": texts or False}


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    where = filesystem(path)
    if where.get_file_info(bare(path)).type != FileType.NotFound:
        where.delete_file(bare(path))


def remove_folder(path: str) -> None:
    """Remove all files below, if there are any."""
    where = filesystem(path)
    if where.get_file_info(bare(path)).type != FileType.NotFound:
        where.delete_dir(bare(path))


@cache
def _s3() -> S3FileSystem:
    return S3FileSystem(endpoint_override=_endpoint() or None)


def _endpoint() -> str:
    # Arrow, alone among those that read here, does not look for it.
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
