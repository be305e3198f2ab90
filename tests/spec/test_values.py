"""The small values that definitions are made of."""

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.spec import FrozenMap, Periods, agg, checks, days, hours, in_words, micros, minutes, periods, seconds
from raypipe.spec.agg import default_tail
from tests.spec.rides import faults_of, pipeline_of, planted

maps = st.dictionaries(st.text(max_size=5), st.integers(), max_size=5)


@given(maps)
def test_a_frozen_map_is_a_map(content: dict[str, int]) -> None:
    frozen = FrozenMap(content)
    assert dict(frozen) == content
    assert list(frozen) == list(content)
    assert pickle.loads(pickle.dumps(frozen)) == frozen
    assert hash(FrozenMap(content)) == hash(frozen)


@given(maps, maps)
def test_frozen_maps_are_equal_when_their_items_are_in_the_same_order(first: dict, second: dict) -> None:
    assert (FrozenMap(first) == FrozenMap(second)) == (list(first.items()) == list(second.items()))


def test_a_frozen_map_takes_any_name() -> None:
    assert FrozenMap(self=1, items=2)["items"] == 2
    assert FrozenMap({"a": 1}) != {"a": 1}


@given(st.timedeltas())
def test_durations_are_whole_microseconds(duration: timedelta) -> None:
    assert timedelta(microseconds=micros(duration)) == duration


@given(st.integers(1, 10_000), st.sampled_from([("d", days), ("h", hours), ("min", minutes), ("s", seconds)]))
def test_durations_in_words_can_be_read_back(n: int, unit: tuple) -> None:
    units = {"d": days, "h": hours, "min": minutes, "s": seconds}
    number, word = in_words(unit[1](n)).split()
    assert units[word](int(number)) == unit[1](n)


@pytest.mark.parametrize(
    ("window", "tail"),
    [
        (minutes(30), minutes(0)),
        (minutes(31), minutes(1)),
        (hours(47.9), minutes(1)),
        (days(2), hours(1)),
        (days(365), hours(1)),
    ],
)
def test_the_grid_of_a_window(window: timedelta, tail: timedelta) -> None:
    assert default_tail(window) == tail
    assert agg.mean("x", window).tail == tail
    assert agg.mean("x", window, tail=seconds(5)).tail == seconds(5)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "start", "end"),
    [
        ("2013-05", "UTC", utc(2013, 5, 1), utc(2013, 6, 1)),
        ("2013-12", "UTC", utc(2013, 12, 1), utc(2014, 1, 1)),
        ("2012-02", "UTC", utc(2012, 2, 1), utc(2012, 3, 1)),
        ("2013-01..2013-04", "UTC", utc(2013, 1, 1), utc(2013, 5, 1)),
        ("2013-05-01..2013-05-14", "UTC", utc(2013, 5, 1), utc(2013, 5, 15)),
        ("2013-05-31", "UTC", utc(2013, 5, 31), utc(2013, 6, 1)),
        ("2013-03..2013-04-02", "UTC", utc(2013, 3, 1), utc(2013, 4, 3)),
        ("2013-03", "America/New_York", utc(2013, 3, 1, 5), utc(2013, 4, 1, 4)),  # clocks went forward meanwhile
    ],
)
def test_periods_as_people_write_them(text: str, zone: str, start: datetime, end: datetime) -> None:
    assert periods(train=text, tune="2015-01", holdout="2015-02", zone=zone).train == (start, end)


def test_periods_come_in_order_of_time() -> None:
    split = periods(train="2013-01", tune="2013-02", holdout="2013-03")
    assert [name for name, _ in split.items()] == ["train", "tune", "holdout"]
    assert isinstance(split, Periods)


def test_sources_come_before_those_that_look_things_up_in_them(tmp_path: Path) -> None:
    assert [source.name for source in pipeline_of(tmp_path).sources] == ["zones", "rides"]


def test_an_expression_among_the_inputs_is_a_derived_feature(tmp_path: Path) -> None:
    change = ("place, ratio]", 'place, (pl.col("zone_fare") / pl.col("area")).alias("ratio")]')
    assert pipeline_of(tmp_path, planted(change)).feature_names == pipeline_of(tmp_path).feature_names
    assert faults_of(tmp_path, planted(change)) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2013-07-03", utc(2013, 7, 3)),
        ("2013-07-03T12:00:00+02:00", utc(2013, 7, 3, 10)),
        ("2013-07-03T12:00:00Z", utc(2013, 7, 3, 12)),
    ],
)
def test_as_of_is_utc(tmp_path: Path, text: str, expected: datetime) -> None:
    assert pipeline_of(tmp_path, planted(("trials=4),\n", f'trials=4),\n    as_of="{text}",\n'))).as_of == expected


def test_values_know_where_they_were_written_and_are_equal_all_the_same() -> None:
    first = checks.not_null("a")
    second = checks.not_null("a")
    assert first == second
    assert first.where != second.where
    assert first.where.startswith("test_values.py:")
    assert "where" not in repr(first)


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (checks.not_null("a", "b"), "not_null(a, b)"),
        (checks.not_null("a", at_least=0.99), "not_null(a, at least 99%)"),
        (checks.between("a", None, 5), "between(a, ..5)"),
        (checks.rows(10), "rows(10..)"),
        (checks.fresh(within=hours(1)), "fresh(1 h)"),
    ],
)
def test_checks_have_names(check: checks.Check, name: str) -> None:
    assert check.name == name


@pytest.mark.parametrize(
    ("aggregate", "words"),
    [
        (agg.percentile("d", 0.9, hours(3)), "percentile 0.9 of d over 3 h"),
        (agg.decayed_mean("d", half_life=hours(2)), "decayed_mean of d, half-life 2 h"),
        (agg.last("d", max_age=days(1)), "last of d, at most 1 d old"),
        (agg.count(minutes(20)), "count over 20 min"),
        (agg.since(), "since"),
        (agg.tenure(), "tenure"),
    ],
)
def test_aggregates_in_words(aggregate: agg.Aggregate, words: str) -> None:
    assert aggregate.in_words == words
