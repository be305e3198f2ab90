"""Days that go up and down are no drift to a reference that knows the hour."""

import numpy as np
import pytest
from scipy.stats import gumbel_r

from raypipe.stats.bins import CELLS, FIRST
from raypipe.stats.seasonal import DAY, HOUR, Seasonal, _limit, hour_of_week
from raypipe.stats.shift import scores, threshold

HOURS, ROWS, BINS = 6, 400, 32
NONE = np.zeros(3, bool)


def week(rng, days, by=0.0):
    """Counts of three columns whose mean follows the hour and, a little, the day; shape (ticks, 3, cells)."""
    edges = np.linspace(-2.5, 2.5, BINS - 1)
    made = np.zeros((days * HOURS, 3, CELLS), np.int64)
    for t in range(days * HOURS):
        if t % HOURS == 0:
            day = rng.normal(0, 0.03, 3)
        for column in range(3):
            centre = 0.5 * np.sin(2 * np.pi * t / HOURS) + day[column] + (by if column == 1 else 0)
            values = rng.normal(centre, 1, ROWS)
            made[t, column, FIRST : FIRST + BINS] = np.bincount(np.searchsorted(edges, values), minlength=BINS)
    return made


def began(ticks):
    """When each tick began: the first hours of each day."""
    t = np.arange(len(ticks))
    return t // HOURS * DAY + t % HOURS * HOUR


def fitted(ticks, budget):
    return Seasonal.fit(ticks.astype(np.float32), began(ticks), range(1, len(ticks) + 1), NONE, budget)


def alarms(seasonal, ticks):
    hours = [{hour_of_week(int(at)): ROWS} for at in began(ticks)]
    parts = [slice(max(0, t - 31), t + 1) for t in range(len(ticks))]
    return [bool((seasonal.scores(ticks[part], hours[part]).z > seasonal.limit).any()) for part in parts]


def test_a_seasonal_reference_knows_the_hour_and_still_sees_a_move():
    rng = np.random.default_rng(3)
    past = week(rng, 21)
    seasonal = fitted(past, 20 * HOURS)
    assert seasonal.days == 21
    calm = week(rng, 20)
    plain = [scores(tick[None], past.sum(axis=0), NONE).z.max() > threshold(20 * HOURS, 3) for tick in calm]
    assert np.mean(plain) > 0.3  # who does not know the hour is alarmed all the time
    assert sum(np.array(alarms(seasonal, calm)).reshape(20, HOURS).any(axis=1)) <= 3  # one day in 20 is the budget
    moved = alarms(seasonal, week(rng, 3, by=0.5))
    assert moved.index(True) < HOURS


def test_fewer_than_fourteen_days_teach_no_season():
    assert fitted(week(np.random.default_rng(0), 13), 100) is None


def test_four_weeks_teach_the_days_of_the_week():
    """Sundays are another world: a reference of four weeks knows them, and sees a Sunday that is like a Monday."""
    rng = np.random.default_rng(5)

    def days(count):
        ticks = week(rng, count)
        sundays = began(ticks) // DAY % 7 == 3  # the epoch was a Thursday
        ticks[sundays] = week(rng, count, by=1.5)[sundays]
        return ticks

    by_day, by_hour = fitted(days(35), 30 * HOURS), fitted(days(21), 30 * HOURS)
    assert (len(by_day.phases), len(by_hour.phases)) == (168, 24)
    # A week later the same weekdays stand at the same places.
    calm = days(35)
    assert np.mean(alarms(by_day, calm)) < 0.05
    moved = week(rng, 7)  # a Sunday like any other day
    sunday = slice(3 * HOURS, 4 * HOURS)
    assert any(alarms(by_day, moved)[sunday])


@pytest.mark.parametrize("between", [5.0, 20.0, 100.0])
def test_a_limit_is_passed_as_rarely_as_is_asked_of_it(between):
    """Daily maxima of Gumbel's law, of which ten thousand teach next to exactly where one in so many days lies."""
    maxima = np.random.default_rng(2).gumbel(1.0, 0.2, 10_000)
    limit = _limit(maxima, 24, 24 * between)
    assert limit == pytest.approx(gumbel_r.isf(1 / between, 1.0, 0.2), rel=0.03)


@pytest.mark.parametrize("days", [14, 28])
@pytest.mark.parametrize("between", [20.0, 100.0])
def test_a_limit_that_few_days_teach_is_passed_no_more_often(days, between):
    """Two or four weeks of maxima leave the law unsure: over many such references the budget still holds."""
    rng = np.random.default_rng(2)
    limits = [_limit(rng.gumbel(1.0, 0.2, days), 24, 24 * between) for _ in range(1_000)]
    assert 0.2 < gumbel_r.sf(limits, 1.0, 0.2).mean() * between <= 1


def test_a_day_of_the_reference_is_judged_by_what_the_other_days_did(monkeypatch):
    """Two odd days in fourteen would make themselves usual; each is odd to all the others."""
    learned = []
    monkeypatch.setattr("raypipe.stats.seasonal._limit", lambda maxima, *_: learned.append(maxima) or 1.0)
    rng = np.random.default_rng(11)
    past = week(rng, 14)
    odd = np.isin(np.arange(len(past)) // HOURS, (4, 9))
    past[odd] = week(rng, 14, by=1.0)[odd]
    fitted(past, 20 * HOURS)
    maxima = learned[0]
    assert maxima[[4, 9]].min() > 2 * np.delete(maxima, [4, 9]).max()


def test_a_calendar_teaches_nothing_of_how_far_other_columns_may_be():
    """Its days have nothing in common: with two of them, what is usual among them would hide a move of the third."""
    rng = np.random.default_rng(3)
    past, moved = week(rng, 21), week(rng, 1, by=0.3)
    calendars, ends = past.copy(), range(1, len(past) + 1)
    for column in (0, 2):
        calendars[:, column] = 0
        calendars[np.arange(len(past)), column, FIRST + np.arange(len(past)) // HOURS] = ROWS
    tested = np.array([False, True, False])
    hours = [{hour_of_week(int(at)): ROWS} for at in began(moved)]

    def fit(counts, **more):
        return Seasonal.fit(counts.astype("f4"), began(past), ends, NONE[: counts.shape[1]], 20 * HOURS, **more)

    def seen(seasonal):
        return bool((seasonal.scores(moved, hours).z[:, 1] > seasonal.limit).any())

    alone, known, unknown = fit(past[:, 1:2]), fit(calendars, is_tested=tested), fit(calendars)
    assert known.limit == pytest.approx(alone.limit)
    np.testing.assert_allclose(known.usual[:, 1], alone.usual[:, 0])
    assert seen(known)
    assert not seen(unknown)
