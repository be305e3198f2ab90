"""What a source declares of its files: their format, their columns and types, which every reader holds them against."""

from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa

from raypipe.errors import SourceError, did_you_mean
from raypipe.lake.files import FoundFile
from raypipe.spec import ColumnType, Files, Source

TYPES: dict[ColumnType, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", "UTC"),
}
#: Bytes of text, and rows of Parquet, that are in memory at a time.
BLOCK_BYTES = 8 * 2**20
BLOCK_ROWS = 2**17
AVRO_ROWS = 2**14

Blocks = Iterator[tuple[pa.RecordBatch, float]]


def files_of(source: Source) -> Files:
    """The files that a source is read from; only asked of those that have some."""
    files = source.source
    assert files is not None  # noqa: S101  # a file of it was found
    return files


def shipped(source: Source) -> pa.Schema:
    """The declared columns with their Arrow types."""
    return pa.schema([(name, TYPES[kind]) for name, kind in source.columns.items()])


def require_columns(file: FoundFile, source: Source, found: "list[str] | set[str]") -> None:
    """A file has all declared columns, in any order, each once; others are left aside.

    Raises:
        SourceError: naming what is missing, with what may have come of it, and what is there twice.
    """
    declared, names = set(source.columns), list(found)
    missing, extra = sorted(declared - set(names)), sorted(set(names) - declared)
    twice = sorted({name for name in names if names.count(name) > 1})
    if not (missing or twice):
        return
    parts = [
        f"{what} {', '.join(f'`{name}`' for name in some)}"
        for what, some in (("lacks column", missing), ("has the undeclared column", extra), ("has twice", twice))
        if some
    ]
    cure = f"Change the file, or `columns` at {source.where}"
    if len(missing) == 1 and extra and (hint := did_you_mean(missing[0], extra)).startswith("Did"):
        cure = f"Was `{missing[0]}` renamed to {hint.removeprefix('Did you mean ').rstrip('?')}? {cure}"
    raise SourceError(" and ".join(parts), where=file.name, cure=cure)
