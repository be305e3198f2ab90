"""The columns of a source in full: their types, and from which moment of a row's life each is known."""

from functools import cache

import polars as pl

from raypipe.spec.expressions import Expression
from raypipe.spec.files import POLARS_TYPES
from raypipe.spec.sources import Lookup, Source, Stream, Table

#: The columns that the lake adds to every stream.
ROW_TIMES = ("event_time", "known_at")
#: And to those that say how late a row may come: true for rows that came later.
LATE = "late"
TIME = pl.Datetime("us", "UTC")


@cache
def schema(source: Source) -> dict[str, pl.DataType]:
    """Column types, shipped and derived, without reading a row.

    Raises:
        polars.exceptions.PolarsError: a derivation does not fit the columns before it; ``lint`` says which.
    """
    frame = pl.LazyFrame(schema={name: POLARS_TYPES[kind] for name, kind in source.columns.items()})
    for name, way in source.derive.items():
        frame = frame.with_columns(derivation(way).alias(name))
    return dict(frame.collect_schema())


def in_lake(source: Source) -> dict[str, pl.DataType]:
    """Column types of the source's table in the lake, which gives every row of a stream its times.

    ``event_time`` is the row's first moment; ``known_at`` when it was published, or the last of its moments that came,
    plus the delay.
    """
    if isinstance(source, Table):
        return schema(source)
    late = {} if source.late_by is None else {LATE: pl.Boolean()}
    return schema(source) | dict.fromkeys(ROW_TIMES, TIME) | late


def derivation(way: Expression | Lookup) -> pl.Expr:
    """An expression of the right type for a derivation; a look-up is a null of its column's type."""
    if isinstance(way, Expression):
        return way.polars
    return pl.lit(None, dtype=schema(way.table)[way.column])


@cache
def known_from(source: Source) -> dict[str, str | None]:
    """For each column the moment from which it is known; None: known from the start.

    A moment's own column is known from that moment: when something happens is not known before it has. A derived
    column is known from the latest moment of the columns that it reads, or a later one that it is listed under.
    """
    if isinstance(source, Table):
        return dict.fromkeys(schema(source), None)
    moments = list(source.reveals)
    known: dict[str, str | None] = dict.fromkeys(source.columns, None)
    for moment, columns in source.reveals.items():
        known |= dict.fromkeys((moment, *columns), moment)
    for name, way in source.derive.items():
        roots = way.roots if isinstance(way, Expression) else (way.by,)
        since = (known.get(column) for column in (name, *roots))
        known[name] = max((m for m in since if m is not None), key=moments.index, default=None)
    return known


def is_known_at(source: Source, column: str, moment: str) -> bool:
    """True when ``column`` of a row is known by the time of ``moment`` of the same row."""
    since = known_from(source).get(column)
    if since is None or since == moment:
        return True
    moments = list(source.reveals) if isinstance(source, Stream) else []
    return moment in moments and moments.index(since) <= moments.index(moment)


def shipped(source: Source, column: str) -> frozenset[str]:
    """The columns as shipped that a column is made of."""
    way = source.derive.get(column)
    if way is None:
        return frozenset({column})
    roots = way.roots if isinstance(way, Expression) else (way.by,)
    return frozenset().union(*(shipped(source, root) for root in roots if root != column))
