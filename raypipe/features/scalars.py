"""The steps of row logic on plain values, each as a function of a row; nulls, NaN and overflow as in Polars."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import polars as pl

from raypipe.features.single import Value

#: Whatever a step takes and gives; the types of its columns say which.
Plain: TypeAlias = Any
Function: TypeAlias = Callable[[Sequence[Plain]], Plain]
Made: TypeAlias = tuple[Function, pl.DataType]
#: How many bits they have.
INTEGERS: dict[pl.DataType, int] = {pl.Int8(): 8, pl.Int16(): 16, pl.Int32(): 32, pl.Int64(): 64}


class UnknownError(Exception):
    """A step that has no counterpart."""


def is_time(kind: pl.DataType) -> bool:
    """A time or a length of time in microseconds."""
    return isinstance(kind, pl.Datetime | pl.Duration) and kind.time_unit == "us"


def constant(value: Value) -> Function:
    """The same for every row."""
    return lambda _: value


def of(made: Made, kind: pl.DataType) -> Function:
    """One that has this type already, or is nothing at all."""
    if made[1] not in (kind, pl.Null()):
        raise UnknownError
    return made[0]


def to(made: Made, kind: pl.DataType) -> Function:
    """One whose values are to be of a wider type."""
    if made[1] == kind or made[1] == pl.Null() or (made[1] in INTEGERS and kind in INTEGERS):
        return made[0]
    if kind == pl.Float64():
        return as_float(made)
    raise UnknownError


def cast(made: Made, kind: pl.DataType) -> Made:
    """Another type, if every value fits."""
    value, own = made
    if kind == pl.Float64():
        return as_float(made), kind
    if kind in INTEGERS and own == pl.Boolean():
        return unless_null(int, value), kind
    if own == kind or (kind in INTEGERS and INTEGERS.get(own, 65) <= INTEGERS[kind]):
        return value, kind
    raise UnknownError


def as_float(made: Made) -> Function:
    """As a double."""
    value, kind = made
    if kind in (pl.Float64(), pl.Null()):
        return value
    if kind == pl.Boolean() or kind in INTEGERS:
        return unless_null(float, value)
    raise UnknownError


def alike(left: Made, right: Made) -> tuple[Function, Function]:
    """Two that are compared, in a type that both fit."""
    kinds = (left[1], right[1])
    if pl.Float64() in kinds:
        return as_float(left), as_float(right)
    if all(kind in INTEGERS for kind in kinds) or kinds[0] == kinds[1]:
        return left[0], right[0]
    raise UnknownError


def unless_null(work: Callable[[Plain], Plain], value: Function) -> Function:
    """Work on a value that is there."""
    return lambda row: None if (found := value(row)) is None else work(found)


def calculated(work: Callable[[Plain, Plain], Plain], left: Function, right: Function) -> Function:
    """Work on two values that are there."""

    def read(row: Sequence[Plain]) -> Plain:
        a, b = left(row), right(row)
        return None if a is None or b is None else work(a, b)

    return read


def compared(work: Callable[[Plain, Plain], bool], left: Function, right: Function) -> Function:
    """A comparison of two values that are there."""

    def read(row: Sequence[Plain]) -> Plain:
        a, b = left(row), right(row)
        if a is None or b is None:
            return None
        # To Polars, NaN equals itself and lies above everything.
        return work(a, b) if a == a and b == b else work(a != a, b != b)

    return read


def both(op: str, left: Function, right: Function) -> Function:
    """And, or: null where the other side does not settle it."""
    settles = op == "Or"

    def read(row: Sequence[Plain]) -> Plain:
        a, b = left(row), right(row)
        if a is settles or b is settles:
            return settles
        return None if a is None or b is None else not settles

    return read


def first_there(values: list[Function]) -> Function:
    """The first that is not null."""
    return lambda row: next((found for value in values if (found := value(row)) is not None), None)


def clipped(bounded: Mapping[str, bool], inputs: list[Function]) -> Function:
    """A double within constant bounds."""
    value, bounds = inputs[0], iter(inputs[1:])
    low = next(bounds)(()) if bounded["has_min"] else None
    high = next(bounds)(()) if bounded["has_max"] else None

    def clip(found: Plain) -> Plain:
        if low is not None and found < low:
            return low
        return high if high is not None and found > high else found

    return unless_null(clip, value)


def joined(between: str, values: list[Function]) -> Function:
    """Texts behind one another; null if one is."""

    def read(row: Sequence[Plain]) -> Plain:
        found = [value(row) for value in values]
        return None if None in found else between.join(found)

    return read


def divided(a: float, b: float) -> float:
    """As the hardware divides."""
    if b:
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def wrapped(value: int, bits: int) -> int:
    """An integer of so many bits that ran over."""
    half = 1 << (bits - 1)
    return value if -half <= value < half else (value + half) % (1 << bits) - half


def wrapping(work: Callable[[int, int], int], bits: int) -> Callable[[int, int], int]:
    """Arithmetic on integers of so many bits."""
    return lambda a, b: wrapped(work(a, b), bits)
