import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.errors import TrainingError
from raypipe.training.metrics import auc_interval, calibration_error, check_metric, goodness, quality


def made(rows, seed, strength=1.0):
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, strength, rows)
    scores = 1 / (1 + np.exp(-odds))
    return (rng.random(rows) < scores).astype(np.float32), scores.astype(np.float32)


def test_quality_by_hand():
    y, scores = np.array([1, 0, 1, 0], np.float32), np.array([0.9, 0.6, 0.4, 0.1], np.float32)
    found = quality(y, scores)
    assert found["auc"] == pytest.approx(3 / 4)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.4, 0.9]).mean())
    assert found["average_precision"] == pytest.approx((1 + 2 / 3) / 2)


def test_calibrated_scores_have_little_calibration_error():
    y, scores = made(50_000, 0)
    assert calibration_error(y, scores) < 0.01
    assert calibration_error(y, (scores / 2).astype(np.float32)) == pytest.approx(scores.mean() / 2, abs=0.01)


def test_the_interval_agrees_with_the_bootstrap():
    y, scores = made(2_000, 1)
    rng = np.random.default_rng(2)
    found = []
    for _ in range(400):
        rows = rng.integers(0, len(y), len(y))
        found.append(quality(y[rows], scores[rows])["auc"])
    low, high = auc_interval(y, scores)
    assert low == pytest.approx(np.quantile(found, 0.025), abs=0.006)
    assert high == pytest.approx(np.quantile(found, 0.975), abs=0.006)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    truth = quality(*made(400_000, 3))["auc"]
    held = [low <= truth <= high for low, high in (auc_interval(*made(400, seed)) for seed in range(300))]
    assert 0.91 < np.mean(held) < 0.98


@given(st.integers(0, 1_000), st.integers(5, 60))
def test_the_interval_holds_the_auc_even_with_ties(seed, rows):
    y, scores = made(rows, seed)
    y[:2] = [0, 1]
    scores = np.round(scores, 1)
    low, high = auc_interval(y, scores)
    assert 0 <= low <= quality(y, scores)["auc"] <= high <= 1


def test_more_is_better():
    assert goodness("auc", 0.8) > goodness("auc", 0.7)
    assert goodness("log_loss", 0.4) > goodness("log_loss", 0.5)


def test_an_unknown_metric_is_named():
    with pytest.raises(TrainingError, match=r"unknown metric `acu`. Did you mean `auc`"):
        check_metric("acu", "pipeline.py:3")
