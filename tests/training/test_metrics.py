import numpy as np
import pytest

from raypipe.errors import TrainingError
from raypipe.training.metrics import calibration_error, check_metric, goodness, quality


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


def test_more_is_better():
    assert goodness("auc", 0.8) > goodness("auc", 0.7)
    assert goodness("log_loss", 0.4) > goodness("log_loss", 0.5)


def test_an_unknown_metric_is_named():
    with pytest.raises(TrainingError, match=r"unknown metric `acu`. Did you mean `auc`"):
        check_metric("acu", "pipeline.py:3")
