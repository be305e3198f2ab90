"""Definitions go to JSON and back unchanged, equal ones have equal names, and what is no definition is refused."""

import json
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.errors import RaypipeError
from raypipe.spec import (
    Choice,
    FrozenMap,
    Model,
    Pipeline,
    Range,
    Search,
    agg,
    checks,
    csv,
    fingerprint,
    from_json,
    load,
    to_json,
)
from raypipe.spec.agg import Aggregate
from raypipe.spec.checks import Check
from tests.architecture.source import ROOT
from tests.spec.rides import pipeline_of, planted

EXAMPLE = ROOT / "examples/flights/pipeline.py"

constants = st.one_of(st.text(max_size=8), st.integers(-(2**60), 2**60), st.floats(allow_nan=False))
ranges = st.builds(Range, low=st.floats(allow_nan=False), high=st.floats(allow_nan=False), log=st.booleans())
choices = st.builds(Choice, st.lists(constants, max_size=4).map(tuple))
params = st.dictionaries(st.text(min_size=1, max_size=8), st.one_of(constants, ranges, choices), max_size=4)
searches = st.builds(
    Search,
    st.lists(st.builds(Model, st.sampled_from(["lightgbm", "linear"]), params.map(FrozenMap)), max_size=3),
    trials=st.integers(1, 100),
    p99_ms=st.none() | st.floats(0.001, 1e6),
)
lengths = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=4000))
aggregates = st.one_of(
    st.builds(agg.mean, st.text(min_size=1, max_size=8), lengths),
    st.builds(agg.percentile, st.sampled_from(["a", "b"]), st.floats(0, 1), lengths),
    st.builds(agg.last, st.just(pl.col("a") + 1), max_age=st.none() | lengths),
)
check_values = st.one_of(
    st.builds(checks.between, st.just("a"), st.none() | st.floats(allow_nan=False), st.none() | st.integers()),
    st.builds(checks.one_of, st.just("a"), st.text(), st.text()),
    st.builds(checks.not_null, st.just("a"), at_least=st.floats(0, 1)).map(Check.quarantine),
    st.builds(checks.rows, st.integers(0, 10)).map(Check.warn),
    st.builds(checks.quantile, st.just("a"), st.floats(0, 1), st.none() | st.integers(), st.none() | st.integers()),
    st.builds(checks.drift, st.just("a"), st.floats(0, 1)),
)


@given(st.one_of(searches.map(lambda v: (v, Search)), aggregates.map(lambda v: (v, Aggregate)),
                 check_values.map(lambda v: (v, Check))))  # fmt: skip
def test_round_trip(case: tuple[object, type]) -> None:
    value, kind = case
    text = to_json(value)
    back = from_json(text, kind)
    assert back == value
    assert to_json(back) == text
    assert fingerprint(back) == fingerprint(value)


@given(searches, searches)
def test_names_are_equal_when_values_are(first: Search, second: Search) -> None:
    assert (fingerprint(first) == fingerprint(second)) == (first == second)


def test_the_example_goes_there_and_back() -> None:
    pipeline = load(EXAMPLE)
    back = from_json(to_json(pipeline), Pipeline)
    assert back == pipeline
    assert hash(back) == hash(pipeline)
    assert back.feature_names == pipeline.feature_names
    assert [source.name for source in back.sources] == [source.name for source in pipeline.sources]


def test_a_pipeline_crosses_processes() -> None:
    pipeline = load(EXAMPLE)
    _ = pipeline.inputs[0].features["minute_of_day"].polars  # a cached expression goes with it
    assert pickle.loads(pickle.dumps(pipeline)) == pipeline


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_name_is_the_same_in_every_process(seed: str) -> None:
    code = f"from raypipe.spec import load, fingerprint; print(fingerprint(load({str(EXAMPLE)!r})))"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == fingerprint(load(EXAMPLE))


def test_the_name_does_not_depend_on_where_it_is_written(tmp_path: Path) -> None:
    moved = planted(("zones = Table(", "\n\n# a remark\nzones = Table("))
    assert fingerprint(pipeline_of(tmp_path)) == fingerprint(pipeline_of(tmp_path, moved))


@pytest.mark.parametrize(
    "change",
    [
        ('csv("rides.csv")', 'csv("others.csv")'),
        ('agg.mean("fare", hours(3))', 'agg.mean("fare", hours(4))'),
        ('pl.col("zone_fare") /', 'pl.col("zone_fare") *'),
        ("trials=4", "trials=5"),
        ("between(\"fare\", 0, 500)", 'between("fare", 0, 501)'),
        ("[asked, by_zone, place, ratio]", "[by_zone, asked, place, ratio]"),
        ("settled_after=days(1)", "settled_after=days(2)"),
    ],
)  # fmt: skip
def test_the_name_depends_on_what_is_meant(tmp_path: Path, change: tuple[str, str]) -> None:
    assert fingerprint(pipeline_of(tmp_path)) != fingerprint(pipeline_of(tmp_path, planted(change)))


def test_a_number_has_one_name_however_it_is_written() -> None:
    """Which of two equal values was named first must not decide: 1 == 1.0, and their texts would differ."""
    whole, real = checks.between("a", 1, 2), checks.between("a", 1.0, 2.0)
    assert whole == real
    assert fingerprint(real) == fingerprint(whole)
    assert to_json(checks.between("a", 1.5, 1e300)) != to_json(checks.between("a", 1.5, 1e299))


GOOD = json.loads(to_json(csv("a.csv")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"Pipeline"',
        '{"is":"Pipeline"}',
        '{"is":"Files","format":"csv"}',
        json.dumps(GOOD | {"more": 1}),
        json.dumps(GOOD | {"__class__": {"is": "type", "name": "str"}}),
        json.dumps(GOOD | {"is": "Popen"}),
        json.dumps(GOOD | {"is": ["Files"]}),
        json.dumps(GOOD | {"path": {"is": "type", "name": "Popen"}}),
        json.dumps(GOOD | {"path": {"no": "kind"}}),
        json.dumps(GOOD | {"path": {"is": "duration", "us": "soon"}}),
        json.dumps(GOOD | {"path": {"is": "duration", "us": 10**30}}),
        json.dumps(GOOD | {"path": {"is": "time", "utc": "soon"}}),
        json.dumps(GOOD | {"path": {"is": "map", "items": [[1]]}}),
        "[" * 100_000,
        '{"is":"duration","us":1}',
    ],
)
def test_what_is_no_definition_is_refused(text: str) -> None:
    with pytest.raises(RaypipeError, match="stored definition"):
        from_json(text, type(csv("a.csv")))


@given(st.text(max_size=40) | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(json.dumps))
def test_nothing_else_is_ever_raised(text: str) -> None:
    with pytest.raises(RaypipeError):
        from_json(text, Pipeline)


def test_a_definition_from_before_a_field_was_added_can_be_read() -> None:
    check = Check("between", ("fare",), low=0.0, high=100.0)
    stored = json.loads(to_json(check))
    for field in ("action", "pattern", "within"):
        del stored[field]
    assert from_json(json.dumps(stored), type(check)) == check
