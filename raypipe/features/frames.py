"""What Polars does to features on both sides: columns from answers, look-ups in tables, and row logic in order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl

from raypipe.errors import FeatureError
from raypipe.features import keys
from raypipe.features.tracks import Answer
from raypipe.spec import Derived, Pipeline, Request, TableFeatures
from raypipe.spec.shape import schema

FOUND = "__found"
#: Up to so many rows a frame is quicker made row by row than column by column.
FEW = 16
_PLAIN: dict[pl.DataType, type[pl.DataType]] = {kind(): kind for kind in (pl.Float64, pl.Int64, pl.String)}
_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


@dataclass(frozen=True)
class Made:
    """One feature's values, not yet a column; times are in microseconds or days, as 64-bit integers."""

    name: str
    dtype: pl.DataType
    answer: Answer | Sequence[object]

    def listed(self) -> Sequence[object]:
        """Python values, None where there is none; truth values may be 0 and 1."""
        if not isinstance(self.answer, Answer):
            return self.answer
        values: list[object] = self.answer.values.tolist()
        if self.answer.missing is not None:
            return [None if none else value for value, none in zip(values, self.answer.missing.tolist(), strict=True)]
        return [None if value != value else value for value in values]

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


class Beside:
    """Puts features that were made for the rows of a frame beside it, always the same ones in the same order.

    Args:
        kinds: the features' names and types.
    """

    def __init__(self, kinds: Mapping[str, pl.DataType]) -> None:
        # What Polars compares by its class it compares quickest.
        self._stored = {name: _PLAIN.get(kind) or _stored_type(kind) for name, kind in kinds.items()}
        self._casts = {i: kind for i, kind in enumerate(kinds.values()) if kind not in _PLAIN}

    def __call__(self, frame: pl.DataFrame, made: Sequence[Made]) -> pl.DataFrame:
        """The frame with further columns."""
        if frame.height > FEW:
            return frame.hstack([one.column() for one in made])
        rows = list(zip(*(one.listed() for one in made), strict=True))
        columns = pl.DataFrame(rows, schema=self._stored, orient="row").get_columns()
        for i, kind in self._casts.items():
            columns[i] = _typed(columns[i], kind)
        return frame.hstack(columns)


def logic(pipeline: Pipeline) -> Iterator[list[pl.Expr]]:
    """Row logic in as few steps as it needs: the expressions of a step read only what earlier steps have made."""
    made: dict[str, int] = {}
    steps: list[list[pl.Expr]] = []
    for item in pipeline.inputs:
        if isinstance(item, (Request, Derived)):
            for name, expression in item.features.items():
                if isinstance(item, Request) and name in item.fields:
                    continue
                step = max((made.get(root, -1) + 1 for root in expression.roots), default=0)
                made[name] = step
                steps += [[]] if step == len(steps) else []
                steps[step].append(expression.polars.alias(name))
    return iter(steps)


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
    known, nothing = schema(item.table), (None,) * len(item.features)
    columns = zip(*(nothing if row is None else _decode(row) for row in rows), strict=True)
    return [
        Made(name, known[column], values) for (name, column), values in zip(item.features.items(), columns, strict=True)
    ]


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
