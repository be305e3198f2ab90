"""The test on the holdout against scikit-learn, fairlearn's definitions by hand, and a simulation of intervals."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from raypipe.errors import TrainingError
from raypipe.spec import Finish
from raypipe.training.intervals import binary, blocks_of, intervals
from raypipe.training.judge import Judged, judge
from raypipe.training.metrics import measure
from raypipe.training.threshold import mean_class_cost
from raypipe.training.trainer import Examples


def rows(count, seed):
    """Rows whose label follows the first of two features, and a group that is treated worse."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 2)).astype(np.float32)
    y = (rng.random(count) < 1 / (1 + np.exp(-2 * x[:, 0]))).astype(np.float32)
    day = np.arange(count) // 40
    frame = pl.DataFrame(
        {
            "signal": x[:, 0],
            "noise": x[:, 1],
            "group": np.where(rng.random(count) < 0.3, "a", "b"),
            "asked_at": pl.Series(day * 86_400_000_000).cast(pl.Datetime("us", "UTC")),
        }
    )
    return Examples(x, y), frame


def predict(x):
    return (1 / (1 + np.exp(-2 * x[:, 0]))).astype(np.float32)


def test_segments_fairness_importances_and_cost():
    examples, frame = rows(2_000, 0)
    scores = predict(examples.x)
    finish = Finish(by=["group"], fair=["group"], costs={"true": {"false": 2.0}, "false": {"true": 1.0}})
    found = judge(Judged(examples, scores, predict, "auc", threshold=0.4), frame, finish)
    own = (frame["group"] == "a").to_numpy()
    segment = next(s for s in found.segments if s.value == "a")
    assert segment.rows == own.sum()
    assert segment.metrics["auc"] == pytest.approx(roc_auc_score(examples.y[own], scores[own]))
    assert segment.truth == pytest.approx(examples.y[own].mean())
    said = scores >= 0.4
    gap = abs(said[own].mean() - said[~own].mean())
    assert found.fairness[0].measures["demographic_parity_difference"] == pytest.approx(gap)
    assert [importance.feature for importance in found.importances] == ["signal", "noise"]
    assert found.importances[0].loss > 0.2 > abs(found.importances[1].loss)
    errors = (said & (examples.y < 0.5)).sum() + 2 * (~said & (examples.y > 0.5)).sum()
    assert found.cost == pytest.approx(errors / 2_000)
    assert found.blocks == 50


def test_a_column_with_one_value_cannot_be_judged_by():
    examples, frame = rows(200, 0)
    frame = frame.with_columns(group=pl.lit("a"))
    with pytest.raises(TrainingError, match="`group` is the same in all rows of the holdout"):
        judge(Judged(examples, predict(examples.x), predict, "auc"), frame, Finish(by=["group"]))


def test_weighed_measures_are_those_of_repeated_rows():
    rng = np.random.default_rng(2)
    y, scores = (rng.random(300) < 0.3).astype(np.float32), rng.integers(1, 20, 300).astype(np.float32) / 20
    weights = rng.integers(0, 4, 300)
    again = np.repeat(np.arange(300), weights)
    measures = binary(y, scores)
    assert measures["auc"](weights.astype(float)) == pytest.approx(roc_auc_score(y[again], scores[again]))
    expected = average_precision_score(y[again], scores[again])
    assert measures["average_precision"](weights.astype(float)) == pytest.approx(expected)
    for name in ("brier", "log_loss"):
        expected = measure(name, y[again], np.clip(scores[again], 1e-7, 1 - 1e-7))
        assert measures[name](weights.astype(float)) == pytest.approx(expected, rel=1e-4)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    truth = roc_auc_score(rows(200_000, 99)[0].y, predict(rows(200_000, 99)[0].x))
    inside = 0
    for seed in range(40):
        examples, _ = rows(400, seed)
        scores = predict(examples.x)
        value = {"auc": measure("auc", examples.y, scores)}
        weighed = {"auc": binary(examples.y, scores)["auc"]}
        found = intervals(value, weighed, blocks_of(None, 400))["auc"]
        assert found.low <= found.value <= found.high
        inside += found.low <= truth <= found.high
    assert inside >= 33


def test_rows_are_drawn_where_there_are_too_few_days():
    assert blocks_of(np.arange(50), 50).max() == 49
    days = np.repeat(np.arange(12), 5) * 86_400_000_000
    assert blocks_of(days, 60).max() == 11


def test_the_cost_of_classes_is_by_truth_and_then_by_answer():
    """Who is `a` and is told `b` costs 10, the other way round 1: all the doubtful are told `a`, at 1 for each `b`."""
    costs = ((0.0, 10.0), (1.0, 0.0))
    scores = np.array([[0.4, 0.6], [0.4, 0.6], [0.05, 0.95]], dtype=np.float32)
    truth = np.array([0, 1, 1], dtype=np.float32)
    assert mean_class_cost(truth, scores, costs) == pytest.approx((0 + 1 + 0) / 3)
    assert mean_class_cost(truth, scores, ()) == pytest.approx(1 / 3)
    assert mean_class_cost(np.array([-1.0], dtype=np.float32), scores[:1], costs) == 10.0
