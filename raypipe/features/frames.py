"""Frames on both sides: columns from answers, from plain values and back, and look-ups in tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl

from raypipe.errors import FeatureError
from raypipe.features import keys
from raypipe.features.single import Value
from raypipe.spec import TableFeatures
from raypipe.spec.shape import schema
from raypipe.stats.tracks import Answer

FOUND = "__found"
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_PLAIN: dict[pl.DataType, type[pl.DataType]] = {kind(): kind for kind in (pl.Float64, pl.Int64, pl.String)}
_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


@dataclass(frozen=True)
class Made:
    """One feature's values, not yet a column; times are in microseconds or days, as 64-bit integers."""

    name: str
    dtype: pl.DataType
    answer: Answer | Sequence[object]

    def column(self) -> pl.Series:
        """A column; where there is nothing, null."""
        if not isinstance(self.answer, Answer):
            return _typed(pl.Series(self.name, self.answer, dtype=_stored_type(self.dtype)), self.dtype)
        values, missing = self.answer.values, self.answer.missing
        if values.dtype == object:
            column = pl.Series(self.name, values.tolist(), dtype=pl.String)
        else:
            column = pl.Series(self.name, values, nan_to_null=missing is None and values.dtype == np.float64)
        if missing is not None and missing.any():
            column = column.scatter(np.flatnonzero(missing), None)
        return _typed(column, self.dtype)


def of_rows(rows: Sequence[Sequence[object]], kinds: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """A frame of a few rows of plain values, in the order of ``kinds``."""
    frame = pl.DataFrame(rows, schema=_stored_types(tuple(kinds.items())), orient="row")
    for name, kind in kinds.items():
        if kind.is_temporal():
            frame.replace_column(frame.get_column_index(name), _typed(frame[name], kind))
    return frame


def typed(name: str, values: Sequence[object], kind: pl.DataType) -> pl.Series:
    """A column of plain values."""
    return _typed(pl.Series(name, values, dtype=pl.Int64() if kind.is_temporal() else kind), kind)


def physical(values: pl.Series) -> list[Value]:
    """The plain values of a column: times are microseconds UTC, dates days; None where there is nothing."""
    # Polars plans a query for `to_physical`.
    return (values.cast(pl.Int64) if values.dtype.is_temporal() else values).to_list()


def plainly(kind: pl.DataType) -> Callable[[Any], Value]:
    """Makes a plain value of one of Python's own for a column."""
    if isinstance(kind, pl.Datetime):
        return lambda value: None if value is None else (value - _EPOCH) // _MICROSECOND
    if kind == pl.Date():
        return lambda value: None if value is None else value.toordinal() - _EPOCH.toordinal()
    if kind == pl.Float32:
        return lambda value: None if value is None else float(np.float32(value))
    if kind.is_float():
        return lambda value: None if value is None else float(value)
    return lambda value: value


@cache
def _stored_types(kinds: tuple[tuple[str, pl.DataType], ...]) -> dict[str, pl.DataType | type[pl.DataType]]:
    # What Polars compares by its class it compares quickest.
    return {name: _PLAIN.get(kind) or (pl.Int64() if kind.is_temporal() else kind) for name, kind in kinds}


def chosen(item: TableFeatures, table: pl.LazyFrame) -> pl.DataFrame:
    """The key (``__found``) and the chosen columns of a table, under the features' names."""
    columns = [pl.col(column).alias(name) for name, column in item.features.items()]
    frame = table.select(pl.col(item.table.key).alias(FOUND), *columns).collect()
    if frame[FOUND].is_duplicated().any():
        where, cure = f"table {item.table.name}", "Let its gate check `unique`"
        raise FeatureError(f"has the same `{item.table.key}` twice", where=where, cure=cure)
    return frame.filter(pl.col(FOUND).is_not_null())


def table_features(item: TableFeatures, table: pl.LazyFrame, asked: pl.DataFrame) -> list[pl.Series]:
    """Columns of a table, found by a field of each question; null where the table has no such key."""
    found = chosen(item, table)
    by, asked_by = keys.plain(found, [FOUND]), keys.plain(asked, [item.by])
    keys.require_alike(by, asked_by, item.where)
    joined = asked_by.join(found.hstack(by), on="k0", how="left", maintain_order="left")
    return [joined[name] for name in item.features]


def packed(found: pl.DataFrame, item: TableFeatures) -> Iterable[bytes]:
    """The rows of a table's chosen columns, for the store."""
    stored = found.select(_untyped(found[name]) for name in item.features)
    return (_encode(row) for row in stored.iter_rows())


def unpacked(item: TableFeatures, rows: Sequence[bytes | None]) -> list[Made]:
    """Features from stored rows; nothing where there is no row."""
    known = schema(item.table)
    plain = {row: plain_row(item, row) for row in set(rows)}
    columns = zip(*(plain[row] for row in rows), strict=True)
    return [
        Made(name, known[column], values) for (name, column), values in zip(item.features.items(), columns, strict=True)
    ]


def plain_row(item: TableFeatures, row: bytes | None) -> Sequence[Value]:
    """The plain values of one stored row; truth values may be 0 and 1."""
    return (None,) * len(item.features) if row is None else cast("Sequence[Value]", _decode(row))


def _stored_type(kind: pl.DataType) -> pl.DataType:
    return pl.Int64() if kind.is_temporal() or kind == pl.Boolean else kind


def _untyped(values: pl.Series) -> pl.Series:
    as_number = values.dtype.is_temporal() or values.dtype == pl.Boolean
    return values.to_physical().cast(pl.Int64) if as_number else values


def _typed(values: pl.Series, kind: pl.DataType) -> pl.Series:
    if values.dtype == kind:
        return values
    # Days are counted in 32 bits.
    return (values.cast(pl.Int32) if kind == pl.Date else values).cast(kind)
