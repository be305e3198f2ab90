"""What is broken is told, and what only looks so is not: nights, weekends, calendars and flags break nothing."""

import numpy as np
import pytest
from msgspec import structs

from raypipe.contracts.bins import Bins, Reference
from raypipe.contracts.watched import Watched
from raypipe.monitoring import Monitor, Plan
from raypipe.monitoring.diagnosis import Sides, broken
from raypipe.monitoring.sentinel import sentinel

HOUR, DAY = 3_600_000_000, 86_400_000_000
MONDAY = 15_900 * DAY // (7 * DAY) * 7 * DAY + 4 * DAY
PLAN = Plan(rows=None, span=HOUR)


def watched(rng, **columns):
    """A reference of what each column draws, in 20,000 rows."""
    features = tuple(Bins.of_numbers(name, draw(rng, 20_000).astype("f4")) for name, draw in columns.items())
    score = Bins.of_numbers("score", rng.random(20_000).astype("f4"))
    return Watched.of(Reference(rows=20_000, features=features, prediction=score))


def normal(rng, rows):
    return rng.normal(size=rows)


def five(rng, rows):
    return rng.integers(0, 5, rows).astype(float)


class Life:
    """Ticks of an hour, one after the other."""

    def __init__(self, **columns):
        self.rng = np.random.default_rng(0)
        self.watched = watched(self.rng, **columns)
        self.monitor = Monitor("m", 1, self.watched, PLAN, at=MONDAY)
        self.now = MONDAY

    def tick(self, *values, hours=1):
        rows = np.column_stack([*values, self.rng.random(len(values[0]))]).astype("f4")
        self.monitor.add(self.watched.binning.count(rows))
        self.now += hours * HOUR
        return self.monitor.close(self.now)

    def ask(self, rows, hours=1):
        return self.tick(normal(self.rng, rows), hours=hours).breaks

    def again(self):
        """As after a restart."""
        kept, self.monitor = self.monitor.snapshot(), Monitor("m", 1, self.watched, PLAN, at=MONDAY)
        self.monitor.restore(kept)


def season(hour):
    """Rows of an hour: few in the night, fewer at weekends."""
    daily = 1 + np.sin(2 * np.pi * (hour % 24 - 9) / 24)
    return round((300 + 2_000 * daily) * (0.5 if hour // 24 % 7 >= 5 else 1.0))


@pytest.mark.parametrize("rows", [2_000 // 48, 210])
def test_far_fewer_rows_than_at_that_time_of_any_day_are_a_break(rows):
    life = Life(x=normal)
    assert [life.ask(3_000 + hour % 7 * 100) for hour in range(8 * 24)] == [()] * 8 * 24
    life.again()
    (words,) = life.ask(max(rows, 60))
    assert words.startswith("volume: ")
    assert "3,000 were the fewest" in words
    assert life.ask(1_000) == ()


def test_far_more_rows_than_there_ever_were_are_a_break():
    life = Life(x=normal)
    assert [life.ask(season(hour)) for hour in range(8 * 24)] == [()] * 8 * 24
    assert life.ask(20_000) == ()
    life = Life(x=normal)
    for hour in range(8 * 24):
        life.ask(season(hour))
    assert "were the most" in life.ask(60_000)[0]


def test_a_tick_of_many_hours_is_compared_with_what_should_have_come_in_them():
    life = Life(x=normal)
    for _ in range(8 * 24):
        life.ask(1_000)
    assert life.ask(3_000, hours=3) == ()
    assert "3,000 were the fewest" in life.ask(200, hours=3)[0]


def test_nights_weekends_growth_and_a_day_off_are_no_break():
    """Four weeks that grow by a twentieth a week, and one day with a quarter of what is usual."""
    life = Life(x=normal)
    for hour in range(28 * 24):
        off = 0.25 if 20 <= hour / 24 < 21 else 1.0
        rows = life.rng.poisson(season(hour) * off * 1.05 ** (hour / 168))
        assert life.ask(max(rows, 200)) == (), hour


def test_before_a_week_is_seen_and_where_there_is_little_to_see_nothing_is_told_of_volume():
    life = Life(x=normal)
    for _ in range(7 * 24 - 1):
        life.ask(3_000)
    assert life.ask(60) == ()
    life = Life(x=normal)
    for _ in range(10 * 24):
        life.ask(60)
    assert life.ask(900) == ()
    assert life.ask(200, hours=500) == ()


def test_what_stays_is_usual_after_a_day():
    life = Life(x=normal)
    for _ in range(8 * 24):
        life.ask(3_000)
    told = [bool(life.ask(200)) for _ in range(48)]
    assert all(told[:20])
    assert not any(told[25:])


def stuck(life, rows=500, value=0.0):
    return life.tick(np.full(rows, value)).breaks


def test_a_column_of_few_values_that_is_stuck_is_a_break_for_as_long_as_it_is():
    life = Life(kind=five)
    for _ in range(8 * 24):
        assert life.tick(five(life.rng, 500)).breaks == ()
    for _ in range(50):
        life.again()
        assert stuck(life) == ("kind: the same value in all 500 rows",)
    assert life.tick(five(life.rng, 500)).breaks == ()


@pytest.mark.parametrize(
    "values",
    [
        lambda hour, rng: np.full(500, hour // 24 % 5),  # a weekday
        lambda hour, rng: np.full(500, 3.0) if hour % 24 < 3 else five(rng, 500),  # one kind in the night
        lambda hour, rng: np.where(rng.random(500) < 0.95, 3.0, five(rng, 500)) if hour % 24 < 3 else five(rng, 500),
    ],
)
def test_a_column_that_was_the_same_before_is_not_stuck(values):
    life = Life(kind=five)
    for hour in range(8 * 24):
        assert life.tick(values(hour, life.rng)).breaks == ()
    assert stuck(life, value=3.0) == ()
    assert stuck(life, value=3.0) == ()


def test_a_flag_is_not_stuck_and_a_calendar_of_many_values_only_until_it_moves():
    life = Life(flag=lambda rng, n: rng.integers(0, 2, n).astype(float))
    for _ in range(8 * 24):
        life.tick(life.rng.integers(0, 2, 500))
    assert stuck(life) == ()
    life = Life(hour=lambda rng, n: rng.integers(0, 24, n).astype(float))
    assert stuck(life) != ()  # nothing is known yet
    assert [stuck(life, value=hour % 24) for hour in range(1, 60)] == [()] * 59
    assert stuck(life, value=11) == ()


def with_value(values, value, share):
    found = values.copy()
    found[: round(len(found) * share)] = value
    return np.random.default_rng(1).permutation(found)


@pytest.mark.parametrize(
    ("value", "share", "told"),
    [(-999, 0.3, True), (-999, 1.0, True), (0, 0.3, True), (1e9, 0.25, True), (-999, 0.1, False), (4.5, 1.0, False)],
)
def test_one_value_that_takes_a_large_share_and_was_hardly_there_stands_for_none(value, share, told):
    rng = np.random.default_rng(3)
    before, after = rng.normal(size=(2, 2_000)).astype("f4")
    assert sentinel(before, with_value(after, value, share)) == (value if told else None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (np.arange(3_000) // 100, 30 + np.arange(2_000) // 1_000),  # days that are counted
        (np.arange(3_000) // 100, np.full(2_000, 31)),
        (np.maximum(np.random.default_rng(0).normal(size=3_000), 0), np.zeros(2_000)),  # no rain
        (np.random.default_rng(0).normal(size=3_000), 2 + np.random.default_rng(1).normal(size=2_000)),
        (np.random.default_rng(0).normal(size=3_000), np.zeros(40)),
        (np.full(3_000, 1.0), np.zeros(2_000)),
        (np.full(3_000, np.nan), np.zeros(2_000)),
        (np.random.default_rng(0).normal(size=3_000), np.full(2_000, np.nan)),
    ],
)
def test_what_moves_by_itself_has_no_value_that_stands_for_none(before, after):
    assert sentinel(before.astype("f4"), after.astype("f4")) is None


def test_a_value_that_stands_for_none_is_a_break_of_the_report_and_told_once():
    life = Life(x=normal)
    before, after = normal(life.rng, 2_000), with_value(normal(life.rng, 2_000), -999, 0.4)
    report = life.tick(after)
    sides = Sides(("x",), before[:, None].astype("f4"), after[:, None].astype("f4"), None)
    words = ("x: -999 likely stands for no value, it was hardly there in the reference",)
    assert broken(report, sides) == words
    assert broken(report, None) == ()
    assert broken(structs.replace(report, breaks=words), sides) == words
