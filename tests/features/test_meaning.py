"""Offline equals online equals an oracle that looks at every event for every question, above all at the edges."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.spec import days, hours, minutes
from tests.features import payments
from tests.features.oracle import EPOCH, micros

HOUR, DAY = micros(hours(1)), micros(days(1))
#: Before 1970, at it, a leap day, a day on which clocks change somewhere.
BASES = [-5 * DAY + 1, 0, micros(datetime(2012, 2, 29, 12, tzinfo=UTC)), micros(datetime(2013, 3, 10, 7, tzinfo=UTC))]
DELAYS = [timedelta(0), timedelta(microseconds=1), minutes(20), hours(2)]
REACHES = [micros(w) for w in (minutes(10), minutes(45), hours(1), hours(2), hours(12), days(1), days(3), days(30))]
GRIDS = [1, micros(minutes(1)), micros(minutes(7)), HOUR]
VALUES = [0.0, -0.0, 1.0, -1.0, 0.1, 0.2, 0.3, 12.34, 1e300, -1e300, 5e-324, 2.0**53, float("nan"), None]
INFINITIES = [float("inf"), float("-inf")]
GRID, NUDGE = st.sampled_from([1, 1, *GRIDS]), st.sampled_from([-1, 0, 0, 1])


def edge(q: int, reach: int, grid: int, nudge: int) -> int:
    """A time at, just before or just after the place where a question's view may begin or end."""
    return (q - reach) // grid * grid + nudge


@st.composite
def histories(draw: st.DrawFn) -> tuple[timedelta, pl.DataFrame, pl.DataFrame, int]:
    """A delay, events at the edges of some questions, the questions, and an as-of time that lets them be asked."""
    delay = draw(st.sampled_from(DELAYS))
    base = draw(st.sampled_from(BASES))
    asks = [base + draw(st.sampled_from([0, 1, HOUR - 1, HOUR, DAY // 2])) for _ in range(draw(st.integers(1, 4)))]
    edges = st.builds(edge, st.sampled_from(asks), st.sampled_from([0, 0, micros(delay), *REACHES]), GRID, NUDGE)
    any_time = st.one_of(edges, edges, st.integers(base - 4 * DAY, base + DAY), st.none())
    numbers = st.sampled_from(VALUES + (INFINITIES if draw(st.integers(0, 9)) == 0 else []))
    event = st.fixed_dictionaries(
        {
            "id": st.integers(0, 30).map(str),
            "user": st.sampled_from(["a", "a", "a", "b", None]),
            "shop": st.sampled_from([1, 1, 2, None]),
            "kind": st.sampled_from(["x", "yy", "", "ü", None]),
            "units": st.sampled_from([0, 1, -7, 2**40, None]),
            "amount": st.one_of(numbers, st.floats(-1e6, 1e6)),
            "refund": st.sampled_from([True, False, None]),
            "at": any_time.map(lambda t: None if t is None else EPOCH + timedelta(microseconds=t)),
        }
    )
    rows = payments.frame_of(draw(st.lists(event, max_size=20, unique_by=lambda row: row["id"])))
    users, shops = st.sampled_from(["a", "a", "b", "nobody", None]), st.sampled_from([1, 1, 2, 3, None])
    asked = payments.asked_frame([(draw(users), draw(shops), q) for q in asks])
    as_of = base + draw(st.sampled_from([0, 1, HOUR, DAY, DAY * 7 // 8]))
    return delay, rows, asked, min(as_of, min(asks) + DAY)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.lists(st.integers(0, 19), max_size=4), st.integers(0, 3))
def test_training_serving_and_oracle_agree(
    history: tuple[timedelta, pl.DataFrame, pl.DataFrame, int], repeated: list[int], order: int
) -> None:
    delay, rows, asked, as_of = history
    truth = payments.expected(delay, rows, asked, as_of)
    # The same id counts once, wherever its copies are.
    rows = pl.concat([rows, *(rows.slice(i, 1) for i in repeated)]).sample(fraction=1.0, shuffle=True, seed=order)
    offline, online = payments.offline(delay, rows, asked, as_of), payments.online(delay, rows, asked, as_of)
    assert not payments.differences(offline, truth)
    assert not payments.differences(online, truth)
    exact = [name for name in offline.columns if not name.startswith("fad")]
    assert payments.bits(online.select(exact)).equals(payments.bits(offline.select(exact)))
    assert online.schema == offline.schema


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("base", BASES)
def test_every_edge_lies_where_it_must(delay: timedelta, base: int) -> None:
    """One event at every edge, and a microsecond to each side; what each adds to a sum is told apart."""
    q = base + HOUR - 1
    times = {edge(q, r, g, n) for r in (0, micros(delay), *REACHES) for g in GRIDS for n in (-1, 0, 1)}
    times |= {time - micros(delay) for time in list(times)}
    rows = payments.frame_of(
        [
            {
                "id": f"{i:03}", "user": "a", "shop": 1, "kind": str(i), "units": i, "amount": i + 2.0**-i % 1,
                "refund": i % 2 == 0, "at": EPOCH + timedelta(microseconds=time),
            }
            for i, time in enumerate(sorted(times))
        ]
    )  # fmt: skip
    asked = payments.asked_frame([("a", 1, q + nudge) for nudge in (-1, 0, 1)])
    for as_of in (q - 1, q, q + 1, q + DAY // 2):
        truth = payments.expected(delay, rows, asked, as_of)
        assert not payments.differences(payments.offline(delay, rows, asked, as_of), truth)
        assert not payments.differences(payments.online(delay, rows, asked, as_of), truth)


@pytest.mark.parametrize("delay", DELAYS)
def test_what_happened_long_ago_is_still_the_latest(delay: timedelta) -> None:
    """State is cut where no window reaches; the one event before the cut can still be the latest that is known."""
    as_of, wait = micros(datetime(2013, 3, 10, 7, tzinfo=UTC)), micros(delay)
    oldest = as_of - DAY
    times = [oldest - 40 * DAY, oldest - wait - 5 * HOUR, oldest - wait - 1, oldest - wait + 1, oldest + 9 * HOUR]
    for first in range(len(times)):
        for last in range(first, len(times)):
            rows = payments.frame_of(
                [
                    {
                        "id": str(i), "user": "a", "shop": 1, "kind": str(i), "units": i, "amount": 1.5 + i,
                        "refund": i % 2 == 0, "at": EPOCH + timedelta(microseconds=times[i]),
                    }
                    for i in range(first, last + 1)
                ]
            )  # fmt: skip
            asked = payments.asked_frame([("a", 1, q) for q in (oldest, oldest + 9 * HOUR, as_of)])
            truth = payments.expected(delay, rows, asked, as_of)
            assert not payments.differences(payments.online(delay, rows, asked, as_of), truth)


HUGE = 1.7e308


@pytest.mark.parametrize(
    "events",
    [
        [(3 * DAY, HUGE)] * 2,
        [(3 * DAY, HUGE)] * 2 + [(2 * DAY, -HUGE)] * 3,
        [(3 * DAY, HUGE)] * 90,
        [(1, HUGE), (2, HUGE)],
        [(1, HUGE), (2, -HUGE), (3, HUGE)],
        [(HOUR, -HUGE)] * 2 + [(1, 1.0)],
        [(20 * DAY, 1e-300), (1, 5e-324)],
        [(400 * DAY, HUGE)] * 3,
        [(15 * DAY, 1e300), (1, 1.0)],
        [(250 * DAY, 1e300), (1, 1.0)],
    ],
    ids=str,
)
def test_what_fades_is_right_however_large_it_was(events: list[tuple[int, float]]) -> None:
    q = micros(datetime(2013, 3, 10, 7, tzinfo=UTC))
    rows = payments.frame_of(
        [
            {
                "id": f"{i:03}", "user": "a", "shop": 1, "kind": "x", "units": 1, "amount": value,
                "refund": False, "at": EPOCH + timedelta(microseconds=q - age),
            }
            for i, (age, value) in enumerate(events)
        ]
    )  # fmt: skip
    for many in (1, 300):
        asked = payments.asked_frame([("a", 1, q)] * many)
        truth = payments.expected(timedelta(0), rows, asked[:1], q) * many
        offline, online = (way(timedelta(0), rows, asked, q) for way in (payments.offline, payments.online))
        assert not payments.differences(offline, truth)
        assert not payments.differences(online, truth)
        assert payments.bits(online).equals(payments.bits(offline))


def test_there_is_one_zero() -> None:
    """One question is answered in Python, many in NumPy, which take another of two zeros for the smaller one."""
    q = micros(datetime(2013, 3, 10, 7, tzinfo=UTC))
    for values in ((0.0, -0.0), (-0.0, 0.0), (-0.0,), (-0.0, *[0.0, -0.0] * 40)):
        rows = payments.frame_of(
            [
                {
                    "id": f"{i:03}", "user": "a", "shop": 1, "kind": "x", "units": 1, "amount": value,
                    "refund": False, "at": EPOCH + timedelta(microseconds=q - 1_000_000 * (i + 1)),
                }
                for i, value in enumerate(values)
            ]
        )  # fmt: skip
        for many in (1, 300):
            asked = payments.asked_frame([("a", 1, q)] * many)
            for way in (payments.offline, payments.online):
                found = way(timedelta(0), rows, asked, q)
                assert not payments.differences(found, payments.expected(timedelta(0), rows, asked[:1], q) * many)
                for name in ("min_1h", "max_3d", "first_1h", "last_1h", "median_3d", "last_amount", "sum_1h", "fading"):
                    assert payments.signed(found[name][0]) == 1, (name, values)


def test_many_values_of_one_hot_key() -> None:
    """More values than are kept exact: percentiles and distinct counts go over to buckets and samples."""
    base, many = micros(datetime(2013, 3, 10, 7, tzinfo=UTC)), 1_100
    rows = payments.frame_of(
        [
            {
                "id": str(i), "user": "hot", "shop": 1, "kind": str(i * 7919 % 1_060), "units": i, "refund": None,
                "amount": (i * 7919 % 100_003) / 7 - 5_000, "at": EPOCH + timedelta(microseconds=base + i * 1_000_000),
            }
            for i in range(many)
        ]
    )  # fmt: skip
    end = base + many * 1_000_000
    # Enough questions for the ways that answer many at once, and a few for the ways that answer one by one.
    for asks in (66, 2):
        asked = payments.asked_frame([("hot", 1, end - i * 9_000_000) for i in range(asks)])
        truth = payments.expected(timedelta(0), rows, asked, end)
        found = payments.offline(timedelta(0), rows, asked, end)
        estimated = ["kinds_3d", "amounts_3d"]
        for row, answer in zip(found.to_dicts(), truth, strict=True):
            for name in estimated:
                exact = answer.pop(name)
                assert row[name] == exact if exact <= 1_024 else abs(row[name] / exact - 1) < 0.15
        assert not payments.differences(found, truth)
        assert payments.online(timedelta(0), rows, asked, end).equals(found, null_equal=True)
