"""What Polars does to features on both sides: columns from answers, look-ups in tables, and row logic in order."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import polars as pl

from raypipe.errors import FeatureError
from raypipe.features import keys
from raypipe.features.kernel import Answer
from raypipe.spec import Derived, Pipeline, Request, TableFeatures
from raypipe.spec.shape import schema

FOUND = "__found"
_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


def column(name: str, answer: Answer, dtype: pl.DataType) -> pl.Series:
    """One feature as a column; where there is nothing, null."""
    values = answer.values
    if answer.missing is None:
        return pl.Series(name, values, dtype=dtype if dtype == pl.Int64 else None, nan_to_null=True)
    series = pl.Series(name, values.tolist(), dtype=pl.String) if values.dtype == object else pl.Series(name, values)
    if answer.missing.any():
        series = series.scatter(np.flatnonzero(answer.missing), None)
    return series.cast(dtype) if series.dtype != dtype else series


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


def packed(row: Sequence[object]) -> bytes:
    """One row of a table's chosen columns, for the store."""
    return _encode(row)


def unpacked(item: TableFeatures, rows: Sequence[bytes | None]) -> list[pl.Series]:
    """Columns from stored rows; null where there is none."""
    known = schema(item.table)
    nothing = (None,) * len(item.features)
    values = zip(*(nothing if row is None else _decode(row) for row in rows), strict=True)
    kinds = [known[column] for column in item.features.values()]
    return [_typed(name, column, kind) for name, column, kind in zip(item.features, values, kinds, strict=True)]


def _typed(name: str, values: Sequence[object], kind: pl.DataType) -> pl.Series:
    """A column from values as they are stored: times as numbers."""
    if not kind.is_temporal():
        return pl.Series(name, values, dtype=kind)
    numbers = pl.Series(name, values, dtype=pl.Int64)
    return (numbers.cast(pl.Int32) if kind == pl.Date else numbers).cast(kind)
