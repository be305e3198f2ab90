"""Row logic about time: what a clock on the wall there would say, holidays, circles, how long ago.

Each helper gives plain Polars expressions, so they are stored, compared and computed like any other: the days of a
calendar are part of the definition, and a later version of the ``holidays`` package changes no model that there is.
"""

import math
from datetime import date
from typing import TypeAlias

import polars as pl

#: A column by its name, or an expression.
Column: TypeAlias = str | pl.Expr
YEARS = (1990, 2050)


def local(time: Column, zone: str) -> pl.Expr:
    """A time as it is there, for `.dt.hour()`, `.dt.weekday()`, `.dt.date()` and all other parts of a calendar.

    Args:
        time: in UTC.
        zone: an IANA zone, such as ``America/New_York``; its clock changes are those of the zone's own history.

    >>> frame = pl.DataFrame({"t": ["2024-03-10T06:59:00Z", "2024-03-10T07:00:00Z"]})
    >>> at = pl.col("t").str.to_datetime(time_zone="UTC")
    >>> frame.select(local(at, "America/New_York").dt.hour()).to_series().to_list()
    [1, 3]
    """
    return _expression(time).dt.convert_time_zone(zone)


def holiday(
    time: Column, zone: str, country: str, subdivision: str | None = None, *, years: tuple[int, int] = YEARS
) -> pl.Expr:
    """True on a public holiday, by the date there; null outside ``years``, of which nothing is known.

    The days come from the ``holidays`` package when the definition is made, and are part of it from then on.

    Args:
        time: in UTC.
        zone: the IANA zone in which the date is told.
        country: ISO 3166-1, such as ``US``.
        subdivision: of the country, such as ``NY``.
        years: first and last year, both included.

    Raises:
        ValueError: there is no such country or subdivision, or the years are the wrong way round.

    >>> frame = pl.DataFrame({"t": ["2013-07-05T03:00:00Z", "2013-07-05T05:00:00Z", "2060-07-04T12:00:00Z"]})
    >>> at = pl.col("t").str.to_datetime(time_zone="UTC")
    >>> frame.select(holiday(at, "America/New_York", "US")).to_series().to_list()
    [True, False, None]
    """
    # Takes a second to import, which only who asks for holidays pays.
    from holidays import country_holidays

    first, last = years
    if first > last:
        raise ValueError(f"years from {first} to {last}")
    try:
        found = country_holidays(country, subdiv=subdivision, years=range(first, last + 1))
    except NotImplementedError as error:
        raise ValueError(str(error)) from None
    # A holiday of the year after may be observed on the last day of a year: the package lists it there.
    days = sorted(day for day in found if date(first, 1, 1) <= day <= date(last, 12, 31))
    day = local(time, zone).dt.date()
    return pl.when(day.dt.year().is_between(first, last)).then(day.is_in(days))


def cyclic(name: str, value: Column, period: float) -> dict[str, pl.Expr]:
    """A value that comes round, as two features, so that its end lies beside its beginning.

    Args:
        name: the features are called ``{name}_sin`` and ``{name}_cos``.
        value: a number, such as the minute of the day.
        period: after how much it begins again.

    >>> made = pl.DataFrame({"hour": [0, 6, 24]}).select(**cyclic("h", "hour", 24))
    >>> made["h_sin"].round(3).to_list(), made["h_cos"].round(3).to_list()
    ([0.0, 1.0, -0.0], [1.0, 0.0, 1.0])
    """
    angle = _expression(value).cast(pl.Float64) * (2 * math.pi / period)
    return {f"{name}_sin": angle.sin(), f"{name}_cos": angle.cos()}


def elapsed(since: Column, until: Column) -> pl.Expr:
    """Seconds from one time to another, such as a customer's tenure; negative when ``since`` is the later.

    >>> times = {"joined": ["2024-02-28T00:00:00Z"], "asked": ["2024-03-01T00:00:00Z"]}
    >>> frame = pl.DataFrame(times).with_columns(pl.all().str.to_datetime(time_zone="UTC"))
    >>> frame.select(elapsed("joined", "asked") / 86_400).item()
    2.0
    """
    return (_expression(until) - _expression(since)).dt.total_microseconds() / 1e6


def _expression(value: Column) -> pl.Expr:
    return pl.col(value) if isinstance(value, str) else value
