"""The fields of a request with their types: what the parser accepts, what the documentation says."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Annotated, TypeAlias

import polars as pl
from msgspec import Meta

from raypipe.errors import ServingError
from raypipe.spec import Pipeline
from raypipe.spec.shape import schema

LONGEST_TEXT = 1_000
Value: TypeAlias = str | int | float | bool | datetime | date | None

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Field:
    """One request field.

    Attributes:
        name: as the caller writes it.
        kind: the Python type of its values.
        dtype: the Polars type of its column.
        required: False when it may be null or left out.
    """

    name: str
    kind: type
    dtype: pl.DataType
    required: bool

    @cached_property
    def annotation(self) -> object:
        """The type that msgspec checks while it decodes."""
        exact = _annotation(self.kind, self.dtype)
        return exact if self.required else exact | None  # type: ignore[operator]  # annotated types do take `|`

    @cached_property
    def column(self) -> object:
        """The same for many values."""
        return list[self.annotation]  # type: ignore[name-defined]

    @cached_property
    def least(self) -> int:
        """The smallest whole number that it may be."""
        return _RANGES[self.dtype.base_type()][0]

    @cached_property
    def most(self) -> int:
        """The largest."""
        return _RANGES[self.dtype.base_type()][1]

    @property
    def json_schema(self) -> dict[str, object]:
        """The same type for readers of the API's description."""
        described = dict(_JSON_SCHEMA[self.kind])
        return described if self.required else described | {"type": [described["type"], "null"]}

    @property
    def example(self) -> str | int | float | bool:
        """Some value of the right type."""
        return _EXAMPLES[self.kind]

    def series(self, values: tuple[Value, ...]) -> pl.Series:
        """A column of decoded values."""
        if self.kind is datetime:
            # Counting microseconds here is several times faster than handing Polars datetime objects.
            stamps = [None if at is None else (at - _EPOCH) // _MICROSECOND for at in values]  # type: ignore[operator]
            return pl.Series(self.name, stamps, dtype=pl.Int64).cast(self.dtype)
        return pl.Series(self.name, values, dtype=self.dtype)


def request_fields(pipeline: Pipeline) -> tuple[Field, ...]:
    """The fields that a caller of this pipeline sends, in the order they are declared.

    Raises:
        ServingError: a field has a type that JSON has no form for.
    """
    types = schema(pipeline.ask.stream)
    asked = pipeline.request
    return tuple(
        Field(name, _kind(name, types[name], pipeline.name), types[name], name not in asked.optional)
        for name in asked.fields
    )


# The upper half of UInt64 is left out: msgspec compares within 64 bits with a sign.
_RANGES: dict[type, tuple[int, int]] = {
    pl.Int8: (-(2**7), 2**7 - 1),
    pl.Int16: (-(2**15), 2**15 - 1),
    pl.Int32: (-(2**31), 2**31 - 1),
    pl.Int64: (-(2**63), 2**63 - 1),
    pl.UInt8: (0, 2**8 - 1),
    pl.UInt16: (0, 2**16 - 1),
    pl.UInt32: (0, 2**32 - 1),
    pl.UInt64: (0, 2**63 - 1),
}
_JSON_SCHEMA: dict[type, dict[str, object]] = {
    str: {"type": "string", "maxLength": LONGEST_TEXT},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
}
_EXAMPLES: dict[type, str | int | float | bool] = {
    str: "text",
    int: 1,
    float: 1.5,
    bool: True,
    datetime: "2026-01-01T12:00:00Z",
    date: "2026-01-01",
}


def _kind(name: str, dtype: pl.DataType, pipeline: str) -> type:
    if dtype.base_type() in _RANGES:
        return int
    if dtype.is_float():
        return float
    simple = {pl.String: str, pl.Boolean: bool, pl.Datetime: datetime, pl.Date: date}
    kind = simple.get(dtype.base_type())
    if kind is None:
        raise ServingError(
            f"field `{name}` is of type {dtype}, which a request cannot hold",
            where=pipeline,
            cure="Ask for text, numbers, true or false, or times",
        )
    return kind


def _annotation(kind: type, dtype: pl.DataType) -> object:
    if kind is str:
        return Annotated[str, Meta(max_length=LONGEST_TEXT)]
    if kind is datetime:
        return Annotated[datetime, Meta(tz=True)]
    if kind is int:
        least, most = _RANGES[dtype.base_type()]
        return Annotated[int, Meta(ge=least, le=most)]
    return kind
