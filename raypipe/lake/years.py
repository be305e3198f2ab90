"""The times that a row may hold: those of the years 1 to 9999, UTC.

Parquet counts microseconds in 64 bits, which is thirty times as far; the statistics that Iceberg keeps of each file,
Python's own times and ISO 8601 end there.
"""

from datetime import UTC, datetime, timedelta

import polars as pl

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_EPOCH, _DAY = datetime(1970, 1, 1, tzinfo=UTC), timedelta(days=1)
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}


class YearError(ValueError):
    """A time lies outside of the years 1 to 9999.

    Attributes:
        column: which holds it.
    """

    def __init__(self, column: str) -> None:
        super().__init__("holds a time outside of the years 1 to 9999 (UTC)")
        self.column = column


def require_years(rows: pl.DataFrame) -> None:
    """Judge every column of times and dates.

    Raises:
        YearError: naming the first column with a value that no table can hold.
    """
    for name, kind in rows.schema.items():
        unit = _unit(kind)
        if unit is None:
            continue
        counted = rows[name].to_physical()
        low, high = counted.min(), counted.max()
        if low is not None and (low < (FIRST - _EPOCH) // unit or high > (LAST - _EPOCH) // unit):  # type: ignore[operator]
            raise YearError(name)


def _unit(kind: pl.DataType) -> timedelta | None:
    if isinstance(kind, pl.Date):
        return _DAY
    # All that 64 bits of nanoseconds can hold lies between the years 1677 and 2262.
    return _UNITS.get(kind.time_unit) if isinstance(kind, pl.Datetime) else None
