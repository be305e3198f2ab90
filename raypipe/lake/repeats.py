"""The same id counts once: find rows whose id was there before, in the table or earlier in the same load."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from raypipe.lake import storage
from raypipe.lake.apart import Extent, extent, suspects

#: Rows whose hashed ids are in memory at a time: 8 bytes each, and as much again to sort them.
ROWS_AT_A_TIME = 20_000_000
#: So many of the rows that came again are held against those that stay: whether there are corrections shows in a few.
COMPARED = 10_000


class Differing(NamedTuple):
    """Rows that came again under a known id with other values: how many of those ``compared``, and in which columns.

    ``first`` is the position of the first of them over the rows of the new files.
    """

    rows: int
    compared: int
    first: int
    columns: tuple[str, ...]


def repeated_rows(old: Sequence[str], new: Sequence[str], id: Sequence[str], shipped: Sequence[str]) -> pl.Series:
    """Positions, over the rows of the new files in order, of rows that repeat an earlier one.

    A row with a gap in its id has no identity of its own: it repeats only a row that was shipped exactly alike.

    Args:
        old: Parquet files of rows that are in the table; no row among them repeats another.
        new: Parquet files of rows to come, in order.
        id: the columns that identify a row.
        shipped: the columns as shipped.
    """
    if not new:
        return pl.Series(dtype=pl.UInt32)
    whole = pl.all_horizontal(pl.col(*id).is_not_null())
    there, come = ([extent(path, id) for path in paths] for paths in (old, new))
    old_near, near = suspects(there, come, id)
    found = [_placed(one, come, near) for one in _repeats(_paths(old_near), _paths(near), id, whole)]
    if any(one.gaps for one in come):
        found += _repeats(old, new, shipped, ~whole)
    return pl.concat([pl.Series(dtype=pl.UInt32), *found]).sort()


def _paths(files: Sequence[Extent]) -> list[str]:
    return [one.path for one in files]


def _placed(rows: pl.Series, files: Sequence[Extent], near: Sequence[Extent]) -> pl.Series:
    """Positions over the rows of some files as positions over those of all."""
    if len(near) == len(files):
        return rows
    starts = dict(zip(_paths(files), accumulate([0, *(one.rows for one in files)]), strict=False))
    here = np.cumsum([0, *(one.rows for one in near)])
    moved = np.array([starts[one.path] for one in near], dtype=np.int64) - here[:-1]
    places = rows.to_numpy()
    return pl.Series(places + moved[np.searchsorted(here, places, side="right") - 1]).cast(pl.UInt32)


def differing(
    old: Sequence[str], new: Sequence[str], again: pl.Series, id: Sequence[str], shipped: Sequence[str]
) -> Differing | None:
    """Whether rows that came again say something else than those that stay; the first of them are looked at.

    Args:
        old: Parquet files of rows that are in the table.
        new: Parquet files of rows to come, in order, with those that came again.
        again: the positions of these, sorted.
        id: the columns that identify a row.
        shipped: the columns as shipped.
    """
    values = [name for name in shipped if name not in id]
    if again.is_empty() or not values:
        return None
    key, some = pl.struct(id).hash(), again.head(COMPARED)
    numbered, place = storage.scan(new).with_row_index("__row"), pl.col("__row")
    rows = numbered.head(some[-1] + 1).filter(place.is_in(some.implode())).select("__row", *id, *values).collect()
    known = key.is_in(rows.select(key).to_series().implode())
    parts = [*([storage.scan(old)] if old else []), numbered.filter(~place.is_in(again.implode()))]
    kept = pl.concat([part.filter(known).select(*id, *values) for part in parts]).collect()
    # A row with a gap in its id came again only if it is the same in all columns: the join leaves it out.
    pairs = rows.join(kept, on=id, suffix="\0kept", maintain_order="left")
    other = pairs.select("__row", *(pl.col(name).ne_missing(pl.col(f"{name}\0kept")) for name in values))
    other = other.filter(pl.any_horizontal(values))
    if other.is_empty():
        return None
    return Differing(other.height, rows.height, other["__row"][0], tuple(n for n in values if other[n].any()))


def drop_rows(paths: Sequence[str], rows: pl.Series, schema: pa.Schema) -> list[str]:
    """Write files anew without some of their rows; a file that loses none is left alone.

    Args:
        paths: Parquet files in order.
        rows: positions over all their rows, sorted.
        schema: of the Parquet written.

    Returns:
        The files that hold the rows that are left, in order.
    """
    heights = [storage.height(path) for path in paths]
    kept = []
    for path, start, height in zip(paths, accumulate([0, *heights]), heights, strict=False):
        here = rows.filter((rows >= start) & (rows < start + height)) - start
        if here.len() == 0:
            kept.append(path)
        elif here.len() < height:
            kept.append(_without(path, here, schema))
        if here.len():
            storage.remove(path)
    return kept


def _repeats(old: Sequence[str], new: Sequence[str], by: Sequence[str], which: pl.Expr) -> Iterator[pl.Series]:
    if not new:
        return
    key, buckets = pl.struct(by).hash(), _buckets(old, new)
    for bucket in range(buckets):
        mine = which & (key % buckets == bucket)
        hashed = pl.concat([storage.scan(part).filter(mine).select(key.alias("h")) for part in (old, new) if part])
        # Equal ids have equal hashes, so this alone shows, nearly always, that no row repeats another.
        hashes = hashed.collect(engine="streaming")["h"].sort()
        twice = hashes.filter(hashes == hashes.shift()).unique()
        if twice.is_empty():
            yield pl.Series(dtype=pl.UInt32)
            continue
        suspects = [
            storage.scan(part)
            .with_row_index("row")
            .filter(mine & key.is_in(twice.implode()))
            .select("row", *by, new=is_new)
            for part, is_new in ((old, pl.lit(False)), (new, pl.lit(True)))
            if part
        ]
        rows = pl.concat(suspects).collect()
        again = ~rows.select(pl.struct(by).is_first_distinct()).to_series()
        yield rows.filter(again & rows["new"])["row"].cast(pl.UInt32)


def _buckets(old: Sequence[str], new: Sequence[str]) -> int:
    rows = sum(storage.height(path) for path in (*old, *new))
    return int(rows // ROWS_AT_A_TIME) + 1


def _without(path: str, rows: pl.Series, schema: pa.Schema) -> str:
    frame = storage.read([path]).with_row_index("__row").filter(~pl.col("__row").is_in(rows.implode()))
    written = f"{path.removesuffix('.parquet')}-once.parquet"
    storage.write(frame.drop("__row").to_arrow().cast(schema), written)
    return written
