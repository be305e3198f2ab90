"""Whether a function of a row and a Polars expression say the same, on a few hundred rows of awkward values."""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

ROWS = 400
_FLOATS = [
    None,
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    2.5,
    -1e-5,
    15.0,
    1e15,
    1e300,
    -1e300,
    5e-324,
    *map(float, ("nan", "inf", "-inf")),
]
_INTEGERS = [None, 0, 1, -1, 2, 7, 59, 100, -100, 127, -128]
_WIDE = [2**31 - 1, -(2**31), 2**53 + 1, 2**62, 2**63 - 1, -(2**63)]
_TEXTS = [None, "", "a", "b", "JFK", "ü", "zz top"]
#: Around New Year, changes of clocks, leap days, the epoch; and far away.
_DAYS = [0, 59, 11_016, 15_706, 15_774, 15_775, 16_012, 18_321, 19_722, 19_782, 20_453, 29_219, 40_000]
_TIMES = [
    None,
    *(day * 86_400_000_000 + s * 1_000_000 + us for day in _DAYS for s in (0, 25_199, 61_234) for us in (0, 999_999)),
]


def agrees(
    function: Callable[[Sequence[Any]], Any],
    expression: pl.Expr,
    kinds: Mapping[str, pl.DataType],
    places: Mapping[str, int],
) -> bool:
    """True when both give the same bits, nulls and types of values for every row.

    Args:
        function: of a row in which values are where ``places`` says.
        expression: over the columns of ``kinds``.
        kinds: the types of what is read.
        places: by column.
    """
    random = np.random.default_rng(0)
    awkward = {name: _of(kind, random) for name, kind in kinds.items()}
    columns = {name: [values[i] for i in random.integers(0, len(values), ROWS)] for name, values in awkward.items()}
    series = [pl.Series(name, values, dtype=_stored(kinds[name])).cast(kinds[name]) for name, values in columns.items()]
    frame = pl.DataFrame([*series, pl.Series("__rows", [0] * ROWS)])
    try:
        expected = frame.select(expression.alias("it"), "__rows")["it"]
    except PolarsError:
        return False  # it refuses some of these values: only Polars says what it does then
    width = max((places[name] for name in kinds), default=0) + 1
    for i, value in enumerate(expected.to_physical().to_list()):
        row: list[Any] = [None] * width
        for name, values in columns.items():
            row[places[name]] = values[i]
        try:
            found = function(row)
        except (ValueError, OverflowError):
            continue  # such rows are left to Polars
        if _bits(found) != _bits(value):
            return False
    return True


def _of(kind: pl.DataType, random: np.random.Generator) -> Sequence[Any]:
    if kind == pl.Float64():
        return [*_FLOATS, *random.normal(0, 10, ROWS).tolist()]
    if kind == pl.Int64():
        return _INTEGERS + _WIDE
    if kind.is_signed_integer():
        return _INTEGERS
    if kind == pl.Boolean():
        return [None, True, False]
    if kind == pl.String():
        return _TEXTS
    if isinstance(kind, pl.Datetime) and kind.time_unit == "us":
        return _TIMES
    raise KeyError(kind)


def _stored(kind: pl.DataType) -> pl.DataType:
    return pl.Int64() if kind.is_temporal() else kind


def _bits(value: object) -> tuple[type, Any]:
    if isinstance(value, float):
        # One NaN is as good as another.
        return float, struct.pack("d", value) if value == value else None
    return type(value), value
