"""Parts of a calendar where the clock there says so: clock changes, leap days, before 1970, stored with their days."""

import math
from datetime import UTC, date, datetime

import polars as pl
import pytest

from raypipe.spec import Expression, derived, from_json, to_json
from raypipe.spec.calendar import cyclic, elapsed, holiday, local

NEW_YORK = "America/New_York"


def at(*times: str | None) -> pl.DataFrame:
    column = pl.Series("t", times, dtype=pl.String).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us")
    return pl.DataFrame([column.dt.replace_time_zone("UTC")])


@pytest.mark.parametrize(
    ("utc", "there"),
    [
        ("2024-03-10T06:59:59Z", (10, 1, 7, 70)),  # the hour from two to three does not occur
        ("2024-03-10T07:00:00Z", (10, 3, 7, 70)),
        ("2024-11-03T05:30:00Z", (3, 1, 7, 308)),  # half past one occurs twice
        ("2024-11-03T06:30:00Z", (3, 1, 7, 308)),
        ("2024-03-01T04:59:59Z", (29, 23, 4, 60)),  # a leap day, there
        ("1969-12-31T23:30:00Z", (31, 18, 3, 365)),
    ],
)
def test_a_time_is_told_as_it_is_there(utc: str, there: tuple[int, ...]) -> None:
    time = local("t", NEW_YORK).dt
    found = at(utc).select(d=time.day(), h=time.hour(), w=time.weekday(), o=time.ordinal_day()).row(0)
    assert found == there


def test_holidays_are_told_by_the_date_there() -> None:
    # Independence Day in New York begins at four in the morning in UTC.
    times = at("2013-07-04T03:59:59Z", "2013-07-04T04:00:00Z", "2013-07-05T03:59:59Z", "2013-07-05T04:00:00Z", None)
    assert times.select(holiday("t", NEW_YORK, "US")).to_series().to_list() == [False, True, True, False, None]


def test_outside_the_years_nothing_is_known() -> None:
    times = at("2011-12-31T12:00:00Z", "2012-01-01T12:00:00Z", "2013-12-25T12:00:00Z", "2014-01-01T12:00:00Z")
    known = holiday("t", "UTC", "US", years=(2012, 2013))
    assert times.select(known).to_series().to_list() == [None, True, True, None]


def test_what_does_not_exist_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="XX"):
        holiday("t", "UTC", "XX")
    with pytest.raises(ValueError, match="2014 to 2013"):
        holiday("t", "UTC", "US", years=(2014, 2013))


def test_the_days_are_part_of_the_definition() -> None:
    """A model of today sees the same days in ten years, whatever the package says then."""
    feature = derived(free=holiday("t", NEW_YORK, "US", "NY", years=(2013, 2013)))
    text = to_json(feature)
    assert from_json(text, type(feature)) == feature
    assert Expression.of(feature.features["free"]).is_elementwise
    stored = from_json(text, type(feature)).features["free"].polars
    days = [date(2013, 1, 1).toordinal() + i for i in range(365)]
    noons = [datetime.fromordinal(day).replace(hour=17, tzinfo=UTC) for day in days]
    frame = pl.DataFrame({"t": noons}, schema={"t": pl.Datetime("us", "UTC")})
    free = frame.filter(stored)["t"].dt.date().to_list()
    assert {date(2013, 1, 1), date(2013, 7, 4), date(2013, 11, 28), date(2013, 12, 25)} <= set(free)
    assert 10 <= len(free) <= 15


def test_one_row_and_many_give_the_same_bits() -> None:
    frame = pl.DataFrame({"m": range(1440)})
    made = frame.select(**cyclic("minute", "m", 1440))
    assert pl.concat(row.select(**cyclic("minute", "m", 1440)) for row in frame.iter_slices(1)).equals(made)
    for minute, (sine, cosine) in enumerate(made.iter_rows()):
        angle = minute / 1440 * 2 * math.pi
        assert abs(sine - math.sin(angle)) < 1e-15 * 8
        assert abs(cosine - math.cos(angle)) < 1e-15 * 8
    assert list(made.columns) == ["minute_sin", "minute_cos"]


def test_tenure_counts_over_clock_changes_and_backwards() -> None:
    frame = at("2024-03-10T06:00:00Z").with_columns(
        u=pl.col("t").dt.offset_by("2h"), n=pl.lit(None, pl.Datetime("us", "UTC"))
    )
    assert frame.select(elapsed("t", "u")).item() == 7200.0
    assert frame.select(elapsed("u", "t")).item() == -7200.0
    assert frame.select(elapsed("n", "u")).item() is None
