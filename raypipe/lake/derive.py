"""From shipped columns to all columns: derivations in order, then when each row happened and was known."""

from collections.abc import Callable, Mapping

import polars as pl
from polars.exceptions import PolarsError

from raypipe.errors import SourceError
from raypipe.lake.years import YearError, require_years
from raypipe.spec import Lookup, Source, Stream, Table, micros
from raypipe.spec.shape import LATE, ROW_TIMES, in_lake, schema

#: What is wrong with a row, not with the definition.
FAULTS = (PolarsError, YearError)


def looked_up(source: Source) -> dict[Table, tuple[str, ...]]:
    """The tables that a source looks things up in, each with the columns it takes."""
    wanted: dict[Table, tuple[str, ...]] = {}
    for way in source.derive.values():
        if isinstance(way, Lookup):
            wanted[way.table] = tuple(dict.fromkeys((*wanted.get(way.table, ()), way.column)))
    return wanted


def derive(
    block: pl.DataFrame, source: Source, lookups: Mapping[str, pl.DataFrame], newest: int | None = None
) -> pl.DataFrame:
    """Add every derived column to a block of shipped ones.

    Args:
        block: shipped columns.
        source: says what to derive.
        lookups: for each looked-up table its key and the columns taken, one row a key.
        newest: the newest event time that came before, microseconds UTC; None when nothing did.

    Returns:
        The columns of ``in_lake``, the same rows in the same order.

    Raises:
        PolarsError: an expression fails on a value.
        YearError: a time, shipped or made, is none that a table can hold.
    """
    require_years(block)  # first: expressions may break off on such times
    frame = block.lazy()
    for name, way in source.derive.items():
        frame = _look_up(frame, name, way, lookups) if isinstance(way, Lookup) else frame.with_columns(_as(name, way))
    if isinstance(source, Stream):
        # The row is complete at the last of its moments that came.
        complete = pl.max_horizontal(source.time, *source.reveals)
        if source.published is not None:
            complete = pl.coalesce(source.published, complete)
        frame = frame.with_columns(
            pl.col(source.time).alias("event_time"),
            (complete + pl.duration(microseconds=micros(source.delay))).alias("known_at"),
            _late(source, newest).alias(LATE),
        )
    made = frame.select(list(in_lake(source))).collect()
    require_years(made)
    return made


def derive_good(
    block: pl.DataFrame,
    source: Source,
    lookups: Mapping[str, pl.DataFrame],
    spare: Callable[[int, str], object],
    newest: int | None = None,
) -> pl.DataFrame:
    """The same, without the rows that cannot be derived.

    ``spare`` is told the place of each of them, among those that are left by then, and why.

    Raises:
        SourceError: no row is at fault, but the definition.
    """
    while True:
        try:
            return derive(block, source, lookups, newest)
        except FAULTS as error:
            if (found := first_fault(block, source, lookups)) is None:
                raise not_derived(source, error) from None
        row, name, fault = found
        spare(row, what_is_wrong(source, name, fault))
        block = pl.concat([block[:row], block[row + 1 :]])


def what_is_wrong(source: Source, name: str, fault: Exception) -> str:
    """What to say of a row that has a fault in one of its columns."""
    if not isinstance(fault, YearError):
        return f"`{name}` cannot be derived: {first_line(fault)}"
    made = "" if name in source.columns else ", as it is derived,"
    return f"column `{name}`{made} {fault}"


def not_derived(source: Source, error: Exception) -> SourceError:
    """What to say when only a block as a whole fails: it is the definition's fault, not a row's."""
    return SourceError(f"`{source.name}` cannot be derived: {first_line(error)}", where=source.where)


def first_line(error: Exception) -> str:
    """The first line of what a library says."""
    return str(error).strip().splitlines()[0]


def first_fault(
    block: pl.DataFrame, source: Source, lookups: Mapping[str, pl.DataFrame]
) -> tuple[int, str, Exception] | None:
    """The first row of a block that cannot be derived, the column at fault and what is wrong; None: all can."""
    low, high = 0, block.height
    if _failure(block, source, lookups) is None:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _failure(block.slice(low, middle - low), source, lookups) is None:
            low = middle
        else:
            high = middle
    found = _failure(block.slice(low, 1), source, lookups)
    return None if found is None else (low, *found)


def require_free_names(source: Source) -> None:
    """Raises SourceError when a stream has a column that would hide one of the lake's own."""
    added = (*ROW_TIMES, *((LATE,) if isinstance(source, Stream) and source.late_by is not None else ()))
    for name in added if isinstance(source, Stream) else ():
        if name in schema(source) and not (name == "event_time" and source.time == name):  # type: ignore[union-attr]
            cure = "Give the column another name; the lake adds its own"
            raise SourceError(f"stream `{source.name}` has a column `{name}`", where=source.where, cure=cure)


def _late(source: Stream, newest: int | None) -> pl.Expr:
    if newest is None or source.late_by is None:
        return pl.lit(value=False)
    return (pl.col(source.time).dt.epoch("us") < newest - micros(source.late_by)).fill_null(value=False)


def _failure(block: pl.DataFrame, source: Source, lookups: Mapping[str, pl.DataFrame]) -> tuple[str, Exception] | None:
    shipped = block
    try:
        require_years(block)
    except YearError as error:
        return error.column, error
    for name, way in source.derive.items():
        try:
            lazy = block.lazy()
            made = _look_up(lazy, name, way, lookups) if isinstance(way, Lookup) else lazy.with_columns(_as(name, way))
            block = made.collect()
        except PolarsError as error:
            return name, error
    try:
        derive(shipped, source, lookups)
    except YearError as error:
        return error.column, error
    return None


def _as(name: str, way: object) -> pl.Expr:
    return way.polars.alias(name)  # type: ignore[attr-defined,no-any-return]


def _look_up(frame: pl.LazyFrame, name: str, way: Lookup, lookups: Mapping[str, pl.DataFrame]) -> pl.LazyFrame:
    key = "__key"
    table = lookups[way.table.name].lazy().select(pl.col(way.table.key).alias(key), pl.col(way.column).alias(name))
    return frame.join(table, left_on=way.by, right_on=key, how="left", maintain_order="left")
