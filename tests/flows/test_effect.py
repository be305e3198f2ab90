"""The effect of a release, out of logs in which it is known."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
from raypipe.flows.effect import Release, effects, released
from raypipe.flows.measure import Measure
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from raypipe.spec import Pipeline
from tests.registry.making import lineage_of, make_candidate
from tests.spec.rides import pipeline_of

DAY = 86_400_000_000


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Pipeline:
    return pipeline_of(tmp_path_factory.mktemp("rides"))


def logs(rng, days: int, release: int, better_for):
    """300 answers a day about 500 units, hard ones and easy ones; ``better_for(unit, zone)`` says who gains 0.1."""
    ease = rng.uniform(0.0, 0.2, 500)
    rows = []
    for day in range(days):
        season = 0.05 * np.sin(day / 3)
        for _ in range(300):
            unit, zone = int(rng.integers(500)), str(rng.choice(["a", "b"]))
            new = day >= release and better_for(unit, zone)
            wrong = 0.4 + ease[unit] + season + rng.normal(0, 0.03) - (0.1 if new else 0.0)
            rows.append((day * DAY + len(rows) % 300, f"u{unit}", zone, new, wrong))
    n = len(rows)
    predictions = pl.DataFrame(
        {
            "request_id": [f"q{i}" for i in range(n)],
            "row": 0,
            "at": [row[0] for row in rows],
            "unit": [row[1] for row in rows],
            "arm": "champion",
            "answered": True,
            "version": [2 if row[3] else 1 for row in rows],
            "digest": "",
            "generation": 1,
            "watermark": 0,
            "latency": 1_000,
            "score": [row[4] for row in rows],
            "label": [row[4] >= 0.5 for row in rows],
            "request": [json.dumps({"zone": row[2]}) for row in rows],
            "features": "{}",
            "category": None,
        }
    ).cast(dict(PREDICTIONS.columns))
    # Nothing comes true, so the error is the score squared.
    told = predictions.select("request_id", "row", "at", label=False, outcomes=pl.lit("{}"), number=None, category=None)
    return predictions, told.cast(dict(FEEDBACK.columns))


def only(found):
    [measured] = found
    assert measured.figure == "squared error"
    return measured


def test_units_spread_by_chance_are_compared_with_what_they_did_before(pipeline):
    made = logs(np.random.default_rng(0), 30, 15, lambda unit, _: unit % 2 == 0)
    found = only(effects(*made, pipeline, Release(version=2, at=15 * DAY, share=0.5), DAY, Measure()))
    assert "units" in found.method
    # Half a probability of about 0.5 squared: 0.1 less of it takes away some 0.09.
    assert found.low < -0.09 < found.high
    assert found.high < -0.08
    assert found.spared > 0.5


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_another_challenger_beside_it_is_no_part_of_the_comparison(pipeline, share):
    """Version 3 answers a quarter of the units at the same time, or before, and is worse by far."""
    predictions, told = logs(np.random.default_rng(0), 30, 15, lambda unit, _: share == 1 or unit % 4 == 0)
    theirs = pl.col("unit").str.slice(1).cast(pl.Int64) % 4 == 1
    theirs &= pl.col("version") == 1 if share == 1 else pl.col("at").cast(pl.Int64) >= 15 * DAY
    three = predictions.with_columns(
        version=pl.when(theirs).then(pl.lit(3, pl.Int32)).otherwise("version"),
        arm=pl.when(theirs).then(pl.lit("challenger/3")).otherwise("arm"),
        score=pl.when(theirs).then(pl.col("score") + 0.2).otherwise("score"),
    )
    release = Release(version=2, at=15 * DAY, share=share)
    found = only(effects(three, told, pipeline, release, DAY, Measure()))
    assert found == only(effects(three.filter(pl.col("version") != 3), told, pipeline, release, DAY, Measure()))
    if share < 1:
        assert found.low < -0.094 < found.high
        assert found.low > -0.11


def test_a_segment_is_compared_with_the_others_and_with_placebo_dates(pipeline):
    made = logs(np.random.default_rng(1), 40, 30, lambda _, zone: zone == "a")
    where = (("zone", "a"),)
    found = only(effects(*made, pipeline, Release(version=2, at=30 * DAY, share=1.0, where=where), DAY, Measure()))
    assert "segment" in found.method
    assert found.estimate == pytest.approx(-0.09, abs=0.015)
    assert found.high < 0


def test_what_replaced_everything_is_compared_with_the_time_before(pipeline):
    made = logs(np.random.default_rng(2), 60, 50, lambda *_: True)
    found = only(effects(*made, pipeline, Release(version=2, at=50 * DAY, share=1.0), DAY, Measure()))
    assert found.method.startswith("before and after")
    assert found.estimate < -0.04
    assert found.rows == 5  # steps between six spans of 50 days, none of which is counted in two places


def test_without_feedback_nothing_is_told(pipeline):
    predictions, told = logs(np.random.default_rng(3), 10, 5, lambda *_: True)
    assert (
        list(effects(predictions, told[:0], pipeline, Release(version=2, at=5 * DAY, share=1.0), DAY, Measure())) == []
    )


def test_days_after_the_promotion_tell_nothing_of_two_versions_side_by_side(pipeline):
    """All are answered by the new one then, and the days are harder: that is not its doing."""
    predictions, told = logs(np.random.default_rng(4), 30, 10, lambda unit, _: unit % 2 == 0)
    later = pl.col("at").cast(pl.Int64) >= 20 * DAY
    harder = pl.when(later).then(pl.col("score") + 0.2).otherwise("score")
    everybody = pl.when(later).then(pl.lit(2, pl.Int64)).otherwise("version")
    made = predictions.with_columns(score=harder, version=everybody), told
    bounded = only(effects(*made, pipeline, Release(version=2, at=10 * DAY, share=0.5, until=20 * DAY), DAY, Measure()))
    assert bounded.low < -0.09 < bounded.high
    assert bounded.high < -0.08
    units = made[0].filter(~later)["unit"].n_unique()
    assert bounded.rows <= units


def test_a_release_ends_when_its_version_is_promoted_or_withdrawn_and_begins_anew(tmp_path):
    clock = ManualClock(0)
    registry = Registry(tmp_path / "registry", ledger := Ledger.in_folder(tmp_path, clock), "")
    for number, weight in ((1, 1.0), (2, 2.0)):
        candidate = make_candidate(tmp_path / f"made-{number}", weight, training_set=f"set-{number}")
        registry.register(candidate, lineage_of(candidate, bundle.pipeline(Path(candidate.folder))))
    registry.promote("rides", 1, expect=None, why="first", who="a test")
    version, seen = registry.get("rides", 2), []

    def at(day: int, role: str, share: float) -> None:
        clock.advance(day * DAY - clock.now())
        registry.release("rides", 2, role=role, share=share, where={}, why="a test", who="a test")
        seen.append(released(ledger, version))

    at(1, "shadow", 1.0)
    at(2, "challenger", 0.1)
    at(4, "challenger", 0.5)
    at(6, "challenger", 0.0)
    at(7, "challenger", 0.3)
    clock.advance(2 * DAY)
    registry.promote("rides", 2, expect=1, why="better", who="a test")
    seen.append(released(ledger, version))
    told = [None if one is None else (one.at // DAY, one.share, one.until and one.until // DAY) for one in seen]
    assert told == [None, (2, 0.1, None), (2, 0.5, None), (2, 0.5, 6), (7, 0.3, None), (7, 0.3, 9)]
