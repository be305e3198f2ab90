"""The same id counts once: find rows whose id was there before, in the table or earlier in the same load."""

from collections.abc import Iterator, Sequence
from itertools import accumulate

import polars as pl
import pyarrow as pa

from raypipe.lake import storage

#: Rows whose hashed ids are in memory at a time: 8 bytes each, and as much again to sort them.
ROWS_AT_A_TIME = 20_000_000


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
    found = [*_repeats(old, new, id, whole)]
    if storage.scan(new).select((~whole).any()).collect().item():
        found += _repeats(old, new, shipped, ~whole)
    return pl.concat(found).sort()


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
