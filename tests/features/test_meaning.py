"""Offline equals online equals an oracle that looks at every event for every question, above all at the edges."""

from datetime import UTC, datetime, timedelta

import polars as pl
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


@st.composite
def histories(draw: st.DrawFn) -> tuple[timedelta, pl.DataFrame, pl.DataFrame, int]:
    """A delay, events at the edges of some questions, the questions, and an as-of time that lets them be asked."""
    delay = draw(st.sampled_from(DELAYS))
    base = draw(st.sampled_from(BASES))
    asks = [base + draw(st.sampled_from([0, 1, HOUR - 1, HOUR, DAY // 2])) for _ in range(draw(st.integers(1, 4)))]
    edges = st.builds(
        lambda q, reach, grid, nudge: (q - reach) // grid * grid + nudge,
        st.sampled_from(asks), st.sampled_from([0, micros(delay), *REACHES]), st.sampled_from(GRIDS),
        st.sampled_from([-1, 0, 1]),
    )  # fmt: skip
    any_time = st.one_of(edges, st.integers(base - 4 * DAY, base + DAY), st.none())
    numbers = st.sampled_from(VALUES + (INFINITIES if draw(st.integers(0, 9)) == 0 else []))
    event = st.fixed_dictionaries(
        {
            "id": st.integers(0, 30).map(str),
            "user": st.sampled_from(["a", "b", None]),
            "shop": st.sampled_from([1, 2, None]),
            "kind": st.sampled_from(["x", "yy", "", "ü", None]),
            "units": st.sampled_from([0, 1, -7, 2**40, None]),
            "amount": st.one_of(numbers, st.floats(-1e6, 1e6)),
            "refund": st.sampled_from([True, False, None]),
            "at": any_time.map(lambda t: None if t is None else EPOCH + timedelta(microseconds=t)),
        }
    )
    rows = payments.frame_of(draw(st.lists(event, max_size=25, unique_by=lambda row: row["id"])))
    users, shops = st.sampled_from(["a", "b", "nobody", None]), st.sampled_from([1, 2, 3, None])
    asked = payments.asked_frame([(draw(users), draw(shops), q) for q in asks])
    as_of = base + draw(st.sampled_from([0, 1, HOUR, DAY, DAY * 7 // 8]))
    return delay, rows, asked, min(as_of, min(asks) + DAY)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(histories())
def test_training_serving_and_oracle_agree(history: tuple[timedelta, pl.DataFrame, pl.DataFrame, int]) -> None:
    delay, rows, asked, as_of = history
    truth = payments.expected(delay, rows, asked, as_of)
    offline, online = payments.offline(delay, rows, asked, as_of), payments.online(delay, rows, asked, as_of)
    assert not payments.differences(offline, truth, rows)
    assert not payments.differences(online, truth, rows)
    exact = [name for name in offline.columns if not name.startswith("fad")]
    assert online.select(exact).equals(offline.select(exact))
    assert online.schema == offline.schema
