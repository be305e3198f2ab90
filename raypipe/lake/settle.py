"""What of the staged rows is new: a stream keeps the first row of an id, a table the last row of a key."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import polars as pl
import pyarrow as pa
from msgspec import structs

from raypipe.contracts.records import SourceFile
from raypipe.errors import SourceError
from raypipe.lake import storage
from raypipe.lake.repeats import COMPARED, Differing, differing, drop_rows, repeated_rows
from raypipe.lake.stage import PartWriter, Staged
from raypipe.spec import Source, Table

#: Columns that are named.
_NAMED = 3


@dataclass(frozen=True)
class Settled:
    """What is left of staged files.

    Attributes:
        paths: the Parquet files to add.
        replaces: true when they stand for all rows, those before included.
        added: rows that are new, or take the place of another.
        repeated: rows that were there already.
        differing: what of these has other values, in words; empty: nothing has.
        files: the source files that were read, each with how many of its rows these are, as far as that is known.
    """

    paths: Sequence[str]
    replaces: bool
    added: int
    repeated: int
    differing: str = ""
    files: Sequence[SourceFile] = ()


def settle(source: Source, staged: Sequence[Staged], before: Sequence[str], schema: pa.Schema, folder: str) -> Settled:
    """Find out what is new in staged files.

    Args:
        source: says how rows are told apart.
        staged: what was read, in order.
        before: the Parquet files of the table.
        schema: of the Parquet written.
        folder: where it is written.

    Raises:
        SourceError: a file of a table holds one key twice with different content.
    """
    if isinstance(source, Table):
        return _latest(source, staged, before, schema, folder)
    paths = [path for one in staged for path in one.paths]
    again = repeated_rows(before, paths, source.id, list(source.columns))
    other = differing(before, paths, again, source.id, list(source.columns))
    kept = drop_rows(paths, again, schema)
    rows = sum(one.file.rows for one in staged)
    said = "" if other is None else _told(source, other, staged)
    files = _counted(staged, again)
    return Settled(kept, replaces=False, added=rows - again.len(), repeated=again.len(), differing=said, files=files)


def _counted(staged: Sequence[Staged], again: pl.Series) -> list[SourceFile]:
    """The files, each with how many of its rows came again, of whose positions over all files we know."""
    ends = pl.Series(accumulate(one.file.rows for one in staged), dtype=pl.UInt32)
    until = [0, *again.cast(pl.UInt32).search_sorted(ends, side="left").to_list()]
    return [
        structs.replace(one.file, again=end - start) for one, (start, end) in zip(staged, pairwise(until), strict=True)
    ]


def _told(source: Source, found: Differing, staged: Sequence[Staged]) -> str:
    """Values are not shown: this is written down where no erasure finds it."""
    ends = list(accumulate(one.file.rows for one in staged))
    file = bisect_right(ends, found.first)
    row = found.first - (ends[file - 1] if file else 0) + 1
    columns = ", ".join(f"`{name}`" for name in found.columns[:_NAMED]) + (" …" if len(found.columns) > _NAMED else "")
    of = f"of the first {found.compared:,}" if found.compared == COMPARED else f"of {found.compared:,}"
    what = (
        f"{source.name}: {found.rows:,} {of} rows that came again have other values in {columns}, which change nothing"
    )
    return f"{what}: the first is row {row:,} of {staged[file].file.path}"


def _latest(source: Table, staged: Sequence[Staged], before: Sequence[str], schema: pa.Schema, folder: str) -> Settled:
    """The last row of each key, in the order in which they came. A table is small: it is read whole."""
    old = storage.read(before) if before else _empty(schema)
    loads = [_one_a_key(source, one, storage.read(one.paths)) for one in staged if one.paths]
    rows = pl.concat([old, *loads]).unique(source.key, keep="last", maintain_order=True)
    added = rows.join(old, on=rows.columns, how="anti", nulls_equal=True).height
    with PartWriter(folder, "table", schema) as writer:
        writer.write(rows.to_arrow())
    for one in staged:
        for path in one.paths:
            storage.remove(path)
    read = sum(one.file.rows for one in staged)
    files = [one.file for one in staged]
    return Settled(writer.paths, replaces=True, added=added, repeated=read - added, files=files)


def _one_a_key(source: Table, staged: Staged, rows: pl.DataFrame) -> pl.DataFrame:
    rows = rows.unique(maintain_order=True)
    twice = rows.filter(pl.col(source.key).is_duplicated())
    if not twice.is_empty():
        key = twice[source.key][0]
        what = f"holds {twice[source.key].n_unique()} keys more than once with different content, such as `{key}`"
        cure = f"One row a `{source.key}`; correct the file, or the key at {source.where}"
        raise SourceError(what, where=staged.file.path, cure=cure)
    return rows


def _empty(schema: pa.Schema) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(schema.empty_table()))
