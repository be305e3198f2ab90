"""A map of scores: what it mends, that its ONNX nodes compute the same, that it is left out where it does no good."""

import numpy as np
import pytest

from raypipe.spec import Finish
from raypipe.training.calibration import Calibration, calibrate, isotonic, platt
from raypipe.training.metrics import calibration_error
from raypipe.training.onnx_model import OnnxModel
from raypipe.training.threshold import choose_threshold, mean_cost
from tests.contracts.bundles import write_onnx


@pytest.fixture(scope="module")
def crooked():
    """Truths, and scores that are far too sure of themselves."""
    rng = np.random.default_rng(1)
    odds = rng.normal(-1, 1, 6_000)
    y = (rng.random(6_000) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    return y, (1 / (1 + np.exp(-3 * odds - 1))).astype(np.float32)


@pytest.mark.parametrize("fit", [platt, isotonic])
def test_a_map_mends_scores_that_are_too_sure_and_keeps_their_order(fit, crooked):
    y, scores = crooked
    mended = fit(y[:3_000], scores[:3_000])(scores[3_000:])
    assert calibration_error(y[3_000:], scores[3_000:]) > 0.1
    assert calibration_error(y[3_000:], mended) < 0.05
    order = np.argsort(scores[3_000:], kind="stable")
    assert (np.diff(mended[order]) >= -1e-6).all()


@pytest.mark.parametrize("fit", [platt, isotonic])
def test_the_onnx_file_computes_the_same_map(fit, crooked, tmp_path):
    write_onnx(tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(0, 30, (500, 3)).astype(np.float32)
    raw = OnnxModel(tmp_path).predict(x)
    made = fit(*crooked)
    made.put_into(tmp_path)
    mapped = OnnxModel(tmp_path).predict(x)
    assert mapped.shape == raw.shape
    np.testing.assert_allclose(mapped, made(raw), atol=1e-6)
    assert np.abs(mapped - raw).max() > 0.05


def test_auto_keeps_a_map_only_where_the_newest_rows_gain(crooked):
    y, scores = crooked
    newest = (np.arange(len(y)) > 4_500).astype(np.float32)
    assert calibrate(y, scores, newest, "auto")[1] in {"platt", "isotonic"}
    right = platt(y, scores)(scores)
    drifted = np.where(newest > 0, 1 - y, y).astype(np.float32)
    assert calibrate(drifted, np.where(newest > 0, 1 - right, scores), newest, "auto") == (None, "none")
    assert calibrate(y, scores, newest, "none") == (None, "none")
    assert isinstance(calibrate(y, scores, newest, "isotonic")[0], Calibration)


def test_the_threshold_is_the_cheapest_of_all(crooked):
    y, scores = crooked
    finish = Finish(costs={"true": {"false": 4.0}, "false": {"true": 1.0}})
    chosen = choose_threshold(y, scores, finish)
    grid = [mean_cost(y, scores, t, finish) for t in np.linspace(0, 1, 2_001)]
    assert mean_cost(y, scores, chosen, finish) <= min(grid) + 2e-3
    assert chosen < 0.5 == choose_threshold(y, scores, Finish())


def test_where_every_alarm_costs_more_than_all_that_is_missed_nothing_is_true():
    y, scores = np.array([0, 1, 0], dtype=np.float32), np.array([0.9, 0.5, 0.1], dtype=np.float32)
    finish = Finish(costs={"true": {"false": 1.0}, "false": {"true": 50.0}})
    assert choose_threshold(y, scores, finish) == 1.0
