"""A history worked on in spans of time gives what it gives in one go, to the bit but for the last digits of decay."""

import subprocess
import sys
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.features import events, spans, spread
from raypipe.spec import agg, days, hours, minutes
from tests.features import payments
from tests.features.histories import AS_OF, DAY, START, history
from tests.features.memory import MemoryStore
from tests.features.test_early import asked_of, payments_of_years
from tests.features.test_late import BASE, OWN, STEP, long_histories
from tests.features.test_late import histories as late_histories
from tests.features.test_meaning import histories
from tests.features.test_online import AS_OF as NOON
from tests.features.test_online import some_events
from tests.features.test_update import CASES, History, agree

HOUR = 3_600_000_000
DELAYS = [timedelta(0), minutes(20), OWN]


def exact(frame: pl.DataFrame) -> pl.DataFrame:
    """The bits of all that does not fade."""
    return payments.bits(frame.select(name for name in frame.columns if not name.startswith("fad")))


def in_spans(at_once: int) -> "patch[int]":
    return patch.object(spans, "AT_ONCE", at_once)


@pytest.mark.parametrize("delay", DELAYS)
def test_a_training_set_is_the_same(delay: timedelta) -> None:
    """One hot key among others, keys that come late, keys without events, and questions before and after all events."""
    rows, asked = history(11, 900, 150)
    rows = rows.with_columns(
        out=pl.col("at") + pl.duration(minutes=pl.col("units") ** 4) - pl.duration(minutes=30),
        user=pl.when(pl.col("at").cast(pl.Int64) > START + 25 * DAY).then("user").otherwise(pl.lit("hot")),
    )
    edges = payments.asked_frame([(user, 1, q) for user in ("hot", "no") for q in (START - DAY, AS_OF, AS_OF + DAY)])
    asked = pl.concat([edges, asked])
    whole = payments.offline(delay, rows, asked, AS_OF + 3 * DAY)
    truth = payments.expected(delay, rows, asked.head(40), AS_OF + 3 * DAY)
    assert not payments.differences(whole.head(40), truth)
    for at_once in (2, 100, 500):
        with in_spans(at_once):
            found = payments.offline(delay, rows, asked, AS_OF + 3 * DAY)
        assert exact(found).equals(exact(whole)), at_once
        assert not payments.differences(found.head(40), truth), at_once


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.integers(1, 9))
def test_no_edge_is_lost(one: tuple[timedelta, pl.DataFrame, pl.DataFrame, int], at_once: int) -> None:
    delay, rows, asked, as_of = one
    whole = payments.offline(delay, rows, asked, as_of)
    with in_spans(at_once):
        found, online = (way(delay, rows, asked, as_of) for way in (payments.offline, payments.online))
    truth = payments.expected(delay, rows, asked, as_of)
    assert exact(found).equals(exact(whole))
    assert not payments.differences(found, truth)
    assert not payments.differences(online.select(found.columns), truth)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(late_histories(), st.sampled_from([0, 1, STEP, 50 * DAY]), st.integers(1, 9))
def test_nor_where_events_overtake_one_another(
    one: tuple[pl.DataFrame, pl.DataFrame], later: int, at_once: int
) -> None:
    rows, asked = one
    whole = payments.offline(OWN, rows, asked, BASE + later)
    with in_spans(at_once):
        found = payments.offline(OWN, rows, asked, BASE + later)
    assert exact(found).equals(exact(whole))
    assert not payments.differences(found, payments.expected(OWN, rows, asked, BASE + later))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(payments_of_years(), st.sampled_from([0, 1, HOUR, DAY // 2]), st.integers(1, 9))
def test_what_is_cut_off_span_by_span_is_seen_as_before(rows: list[dict], later: int, at_once: int) -> None:
    """Years of events that become known days after they happened, above all in what is stored."""
    as_of, frame = BASE + later, payments.frame_of(rows)
    asked = asked_of("ab", [as_of - DAY, as_of - DAY // 2, as_of - 5 * STEP, as_of - 1, as_of])
    whole = payments.online(OWN, frame, asked, as_of)
    with in_spans(at_once):
        found, again = payments.online(OWN, frame, asked, as_of), payments.offline(OWN, frame, asked, as_of)
    truth = payments.expected(OWN, frame, asked, as_of)
    assert exact(found).equals(exact(whole))
    assert not payments.differences(found, truth)
    assert not payments.differences(again, truth)


@pytest.mark.parametrize("seed", range(2))
def test_many_events_that_were_not_known_yet(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.stats.distinct.EXACT_UP_TO", 5)
    monkeypatch.setattr("raypipe.stats.percentile.EXACT_UP_TO", 5)
    rows, asked = long_histories(seed, 500)
    whole = payments.offline(OWN, rows, asked, BASE + 50 * DAY)
    for at_once in (20, 200):
        with in_spans(at_once):
            assert exact(payments.offline(OWN, rows, asked, BASE + 50 * DAY)).equals(exact(whole))


@pytest.mark.parametrize("case", CASES)
def test_what_is_stored_is_the_same(case: str) -> None:
    """Loads in spans, updates of what was loaded so, and entities that an update makes anew in spans."""
    loaded, store = History(minutes(20)), MemoryStore()
    rows = some_events(400)
    with in_spans(30):
        for version, files in enumerate(CASES[case](rows[:100], rows[100:250], rows[250:]), 1):
            loaded.add(*files)
            loaded.materialize(store, version, NOON + version * HOUR)
    agree(loaded, store, 2, NOON + 2 * HOUR)


def test_a_part_of_the_cluster_is_cut_up_as_well() -> None:
    rows, asked = history(12, 800, 100)
    plan = payments.plan(payments.groups(payments.payments(timedelta(0)))[0])
    found = events.events(plan, rows.lazy(), AS_OF).collect().with_columns(__row=pl.lit(-1, dtype=pl.Int64))
    questions = asked.select(k0="user", __time=pl.col("asked_at").cast(pl.Int64)).with_row_index("__row")
    part = pl.concat([found, questions.with_columns(pl.col("__row").cast(pl.Int64))], how="diagonal")
    part = part.with_columns(__part=pl.lit(0))
    whole = pl.DataFrame(spread._features(plan, part, of_tiles=False))
    with in_spans(50), patch.object(spans.late, "answer", None):
        found = pl.DataFrame(spread._features(plan, part, of_tiles=False))
    assert exact(found).equals(exact(whole))


def test_a_question_where_a_span_begins_sees_the_edge_of_its_window() -> None:
    """Spans begin where events lie; windows are exact, and nothing looks further back than they do."""
    minute, seen = 60_000_000, timedelta(0)
    group = payments.payments(seen).by("user").features(
        many=agg.count(minutes(10), tail=seen), units=agg.sum("units", minutes(45), tail=minutes(7)),
        last=agg.last("kind", max_age=minutes(10)), first=agg.first("amount", minutes(10), tail=seen),
    )  # fmt: skip
    plan = payments.plan(group)
    at = [START + i * 5 * minute for i in range(60)]
    rows = payments.frame_of([{"id": f"{i:02}", "user": "a", "units": i, "amount": i / 3} for i in range(60)])
    kinds = {"at": pl.Series(at).cast(payments.TIME), "kind": pl.Series([f"k{i}" for i in range(60)])}
    found = events.events(plan, rows.with_columns(**kinds).lazy(), AS_OF)
    moments = np.array([time + nudge for time in at for nudge in (-1, 0, 1)])
    keys = pl.DataFrame({"k0": ["a"] * len(moments)})
    whole = [answer.plain() for answer in spans.answer(plan, found, keys, moments)]
    assert whole[0][3:9] == [1, 1, 2, 2, 2, 2], "the event that lies ten minutes back to the microsecond is seen"
    with in_spans(4):
        assert len(spans.spans(found, 2)) == 30
        assert [answer.plain() for answer in spans.answer(plan, found, keys, moments)] == whole


def times(*moments: int) -> pl.LazyFrame:
    return pl.LazyFrame({events.TIME: moments}, schema={events.TIME: pl.Int64})


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([-DAY, -1, 0, 1, 999_999, 1_000_000, HOUR - 1, HOUR, DAY]), max_size=40),
    st.integers(1, 12),
)
def test_spans_hold_so_many_events_and_cut_no_moment(moments: list[int], limit: int) -> None:
    found = spans.spans(times(*moments), limit)
    assert [end for _, end in found][:-1] == [begin for begin, _ in found][1:]
    assert (found[0][0], found[-1][1]) == (-(2**63), 2**63 - 1)
    held = [[time for time in moments if begin <= time < end] for begin, end in found]
    assert sum(map(len, held)) == len(moments)
    assert all(len(some) <= limit or len(set(some)) == 1 for some in held)
    # Nothing is cut without need: two spans beside one another are too many for one.
    for a, b in pairwise(held):
        assert len(a) + len(b) > limit


def test_where_a_history_was_cut_later_events_do_not_change() -> None:
    before = [n * HOUR // 7 for n in range(100)]
    found = spans.spans(times(*before), 13)
    more = spans.spans(times(*before, *range(100 * HOUR, 101 * HOUR, HOUR // 50)), 13)
    assert found[:-1] == more[: len(found) - 1]


def test_what_is_held_is_a_window_and_a_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the history of one key holds no more at a time, though some features look back over all of it."""
    group = payments.payments(timedelta(0)).by("user").features(
        sum_1d=agg.sum("amount", days(1)), median=agg.percentile("amount", 0.5, hours(6)), last=agg.last("kind"),
        tenure=agg.tenure(), fading=agg.decayed_sum("amount", half_life=days(300)),
    )  # fmt: skip
    plan, held = payments.plan(group), list[int]()
    merge = spans.kernel.merge

    def watched(*args: object) -> object:
        made = merge(*args)
        held.append(len(made.slots.times))
        return made

    monkeypatch.setattr(spans.kernel, "merge", watched)
    monkeypatch.setattr(spans, "AT_ONCE", 200)
    peaks = []
    for many in (2_000, 8_000):
        held.clear()
        at = pl.Series([START + i * HOUR // 4 for i in range(many)]).cast(payments.TIME)
        rows = pl.DataFrame({"at": at}).with_columns(user=pl.lit("hot"), kind=pl.lit("a"), amount=1.5, id=pl.lit("x"))
        rows = pl.concat([payments.frame_of([]), rows], how="diagonal")
        asked = payments.asked_frame([("hot", 1, START + many * HOUR // 4)])
        found = events.events(plan, rows.lazy(), AS_OF * 2)
        answers = spans.answer(plan, found, asked.select(k0="user"), asked["asked_at"].cast(pl.Int64).to_numpy())
        assert answers[0].values.tolist() == [96 * 1.5]
        assert answers[3].values.tolist() == [many * HOUR / 4 / 1e6]
        peaks.append(max(held))
    assert peaks[0] == peaks[1] < 300


@pytest.mark.parametrize("way", ["made", "stored"])
def test_memory_does_not_grow_with_the_events_of_one_key(way: str, tmp_path: Path) -> None:
    """Four times as many: in one go they take 190 MB more."""
    sizes = []
    for many in (400_000, 1_600_000):
        command = [sys.executable, "-m", "tests.features.hot", way, str(many), str(tmp_path)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        sizes.append(float(told))
    assert sizes[1] - sizes[0] < 80, sizes
