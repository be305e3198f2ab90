"""A map of scores: what it mends, that its ONNX nodes compute the same, that it is left out where it does no good."""

import numpy as np
import polars as pl
import pytest

from raypipe import models
from raypipe.contracts import bundle
from raypipe.contracts.records import Trial
from raypipe.spec import Finish
from raypipe.training import finish
from raypipe.training.again import refit
from raypipe.training.ahead import Forecasts
from raypipe.training.calibration import Calibration, calibrate, isotonic, platt
from raypipe.training.metrics import calibration_error
from raypipe.training.onnx_model import OnnxModel
from raypipe.training.outcome import Outcome
from raypipe.training.search import prepare
from raypipe.training.threshold import choose_threshold, mean_cost
from tests.contracts.bundles import write_onnx
from tests.training.data import frame, pipeline, training_set


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


@pytest.mark.parametrize("fit", [platt, isotonic])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_last_bits_of_a_score_stay_last_bits(fit, noise):
    """Scores close to 0 and 1 for labels that one threshold parts: a curve through them would be a step."""
    rng = np.random.default_rng(7)
    truth = rng.random(900) < 0.5
    y = (truth ^ (rng.random(900) < noise)).astype(np.float32)
    scores = (1 / (1 + np.exp(rng.normal(0, 2, 900) - np.where(truth, 9, -9)))).astype(np.float32)
    made = fit(y, scores)
    steps = np.linspace(0, 1, 200_001, dtype=np.float32)
    assert np.abs(made(np.nextafter(steps, np.float32(2))) - made(steps)).max() < bundle.TOLERANCE
    # It goes all the way up still, in order.
    ends = made(np.array([scores.min(), scores.max()], dtype=np.float32))
    assert ends[1] - ends[0] > 0.85
    assert (np.diff(made(np.sort(scores))) >= -1e-6).all()


@pytest.mark.parametrize("algorithm", ["linear", "tests.training.own:Means"])
def test_a_model_and_its_file_are_compared_before_the_map(algorithm, tmp_path):
    """A trainer may answer in another last bit than its ONNX file, which a steep map makes more of."""
    sets = {name: parted(rows, seed) for seed, (name, rows) in enumerate({"train": 900, "tune": 450}.items())}
    record = training_set(tmp_path / "set", 900, **sets, holdout=parted(450, 2))
    wish = pipeline(models.Linear())
    object.__setattr__(wish, "finish", Finish(calibrate="auto"))
    params = {"C": 10.0, "max_iter": 2000, "strength": 5.0}
    metrics = refit(wish, record, algorithm, params, {}, tmp_path / "bundle")
    assert metrics["onnx_difference"] < bundle.TOLERANCE
    assert bundle.card(tmp_path / "bundle").calibration in {"platt", "isotonic"}
    golden = bundle.golden(tmp_path / "bundle")
    served = OnnxModel(tmp_path / "bundle").predict(bundle.signature(tmp_path / "bundle").encode(golden))
    assert bundle.agree(served, golden["score"].to_numpy()).all()


def parted(rows, seed):
    """The label is one threshold on one feature, wrong for one row in twenty."""
    period = frame(rows, seed)
    wrong = pl.Series(np.random.default_rng(seed + 9).random(rows) < 0.05)
    return period.with_columns(label=(period["delay"].fill_null(20.0) > 15) ^ wrong)


def test_auto_keeps_a_map_only_where_the_newest_rows_gain(crooked):
    y, scores = crooked
    newest = (np.arange(len(y)) > 4_500).astype(np.float32)
    assert calibrate(y, scores, newest, "auto")[1] in {"platt", "isotonic"}
    right = platt(y, scores)(scores)
    drifted = np.where(newest > 0, 1 - y, y).astype(np.float32)
    assert calibrate(drifted, np.where(newest > 0, 1 - right, scores), newest, "auto") == (None, "none")
    assert calibrate(y, scores, newest, "none") == (None, "none")
    assert isinstance(calibrate(y, scores, newest, "isotonic")[0], Calibration)


def test_the_threshold_is_chosen_on_what_the_map_makes_of_the_scores(crooked, tmp_path, monkeypatch):
    """Scores that are three times too sure: the cheapest cut lies elsewhere before the map and after it."""
    y, scores = crooked
    ahead = Forecasts(y, scores, (np.arange(len(y)) > 4_500).astype(np.float32))
    monkeypatch.setattr(finish, "forecasts", lambda *of: lambda: ahead)
    wish = pipeline(models.Linear())
    costs = {"true": {"false": 4.0}, "false": {"true": 1.0}}
    object.__setattr__(wish, "finish", Finish(calibrate="platt", costs=costs))
    trial = Trial(number=0, algorithm="linear", params={"C": 1.0, "max_iter": 200}, status="", metrics={}, seconds=0.0)
    data = prepare(wish, training_set(tmp_path, 300))
    made = finish.refit(Outcome(trial=trial, goodness=None), data, wish, tmp_path)
    # Of right probabilities the cheapest threshold is known: 1 / (1 + 4).
    assert made.threshold == pytest.approx(0.2, abs=0.05)
    raw = choose_threshold(y, scores, wish.finish)
    assert abs(raw - 0.2) > 0.1


def test_the_threshold_is_the_cheapest_of_all(crooked):
    y, scores = crooked
    wish = Finish(costs={"true": {"false": 4.0}, "false": {"true": 1.0}})
    chosen = choose_threshold(y, scores, wish)
    grid = [mean_cost(y, scores, t, wish) for t in np.linspace(0, 1, 2_001)]
    assert mean_cost(y, scores, chosen, wish) <= min(grid) + 2e-3
    assert chosen < 0.5 == choose_threshold(y, scores, Finish())


def test_where_every_alarm_costs_more_than_all_that_is_missed_nothing_is_true():
    y, scores = np.array([0, 1, 0], dtype=np.float32), np.array([0.9, 0.5, 0.1], dtype=np.float32)
    wish = Finish(costs={"true": {"false": 1.0}, "false": {"true": 50.0}})
    assert choose_threshold(y, scores, wish) == 1.0
