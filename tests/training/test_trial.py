"""One trial, in this process: what a trainer does wrong is an outcome, and an outcome is kept."""

import numpy as np
import pytest

from raypipe.contracts.signature import Signature
from raypipe.training import speed, trial
from raypipe.training.data import examples
from raypipe.training.onnx_model import OnnxModel
from raypipe.training.outcome import kept, kept_scores, trial_folder
from raypipe.training.trainers.linear import Linear
from raypipe.training.trainers.several import pack
from raypipe.training.trial import Data, Plan, Point, answer
from tests.training.data import FEATURES, frame
from tests.training.test_lightgbm import PARAMS
from tests.training.test_network import PARAMS as NETWORK


@pytest.fixture(scope="module")
def data():
    train = frame(800, 0)
    signature = Signature.fit(train, FEATURES)
    return Data(examples(train, signature), examples(frame(400, 1), signature), signature)


@pytest.fixture
def plan(tmp_path):
    return Plan(tmp_path, "auc", 0)


LINEAR = Point(2, "linear", {"C": 1.0, "max_iter": 100}, {})


def using(monkeypatch, made):
    monkeypatch.setattr(trial, "trainer", lambda algorithm: made)


def test_an_outcome_holds_quality_speed_and_size(data, plan):
    outcome = answer(LINEAR, data, plan)
    assert outcome.trial.status == "finished"
    assert outcome.trial.number == 2
    assert outcome.trial.metrics.keys() >= {
        *("auc", "log_loss", "brier", "average_precision", "ece", "bytes", "onnx_difference", "fit_seconds"),
        *("p50_ms_1", "p99_ms_1", "p50_ms_1000", "p99_ms_1000"),
    }
    assert outcome.goodness == outcome.trial.metrics["auc"] > 0.7
    assert 0 < outcome.trial.metrics["p50_ms_1"] <= outcome.trial.metrics["p99_ms_1"]
    assert 0 < outcome.trial.metrics["p50_ms_1"] < outcome.trial.metrics["p50_ms_1000"]


def test_with_a_price_it_says_what_a_million_predictions_cost(data, tmp_path):
    metrics = answer(LINEAR, data, Plan(tmp_path, "auc", 0, cpu_hour=0.05)).trial.metrics
    hours = metrics["p50_ms_1"] * 1_000_000 / 1_000 / 60 / 60
    assert metrics["money_per_million"] == pytest.approx(hours * 0.05)
    assert metrics["money_per_million_1000"] == pytest.approx(metrics["p50_ms_1000"] / 3_600 * 0.05)


def test_a_kept_outcome_is_not_worked_for_again(data, plan, monkeypatch):
    first = answer(LINEAR, data, plan)
    using(monkeypatch, None)
    assert answer(LINEAR, data, plan) == first


def test_what_early_stopping_found_is_among_the_parameters(data, plan):
    outcome = answer(Point(0, "lightgbm", PARAMS, {}), data, plan)
    assert 1 <= outcome.trial.params["num_iterations"] <= 40
    assert outcome.trial.params | {"num_iterations": 40} == PARAMS
    assert [step for step, _ in outcome.curve] == sorted(step for step, _ in outcome.curve)


def test_a_trial_below_a_bar_is_stopped_there(data, plan):
    outcome = answer(Point(0, "lightgbm", PARAMS, {3: 0.99}), data, plan)
    assert outcome.trial.status == "stopped"
    assert [step for step, _ in outcome.curve] == [1, 2, 3]
    assert outcome.goodness == outcome.curve[-1][1] == outcome.trial.metrics["auc"]


def test_a_trial_above_its_bars_is_not_stopped(data, plan):
    assert answer(Point(0, "lightgbm", PARAMS, {3: 0.5}), data, plan).trial.status == "finished"


class Raises(Linear):
    def fit(self, task, params):
        raise ValueError("the matrix is\nsingular")


class SaysNaN(Linear):
    def predict(self, x):
        return np.full(len(x), np.nan, dtype=np.float32)


class Lies(Linear):
    def predict(self, x):
        return super().predict(x) * np.float32(0.99)


class SaysTwoColumns(Linear):
    def predict(self, x):
        return np.stack([super().predict(x)] * 2)


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        (Raises, "ValueError: the matrix is"),
        (SaysNaN, "linear: the trainer gave scores of shape (400,), 400 of them NaN"),
        (SaysTwoColumns, "linear: the trainer gave scores of shape (2, 400)"),
        (Lies, "linear: the ONNX file answers 0."),
    ],
)
def test_what_a_trainer_does_wrong_is_said_and_the_search_goes_on(data, plan, monkeypatch, trainer, said):
    using(monkeypatch, trainer())
    outcome = answer(LINEAR, data, plan)
    assert outcome.trial.status == "failed"
    assert outcome.trial.error.startswith(said)
    assert outcome.goodness is None


def test_a_trial_that_failed_gets_another_try(data, plan, monkeypatch):
    with monkeypatch.context() as patch:
        using(patch, Raises())
        assert answer(LINEAR, data, plan).trial.status == "failed"
    assert answer(LINEAR, data, plan).trial.status == "finished"


def test_a_network_that_diverges_says_so(data, plan):
    params = NETWORK | {"learning_rate": 1e35}
    outcome = answer(Point(0, "network", params, {}), data, plan)
    assert "scores are NaN or infinite" in outcome.trial.error
    assert "lower learning rate" in outcome.trial.error


def test_a_half_written_outcome_is_none(data, plan):
    folder = trial_folder(plan.folder, LINEAR.algorithm, LINEAR.params)
    folder.mkdir(parents=True)
    (folder / "outcome.json.17").write_text('{"trial":')
    assert kept(folder) is None
    assert answer(LINEAR, data, plan).trial.status == "finished"


def scored_as_served(data, plan, point, monkeypatch, made=None):
    """What a trial kept of the tuning period, and what its ONNX file says of it; a call is of forty rows here."""
    monkeypatch.setattr(speed, "MANY", 40)
    served = []
    monkeypatch.setattr(trial, "OnnxModel", lambda folder: served.append(OnnxModel(folder)) or served[-1])
    if made is not None:
        using(monkeypatch, made)
    outcome = answer(point, data, plan)
    assert outcome.trial.status == "finished", outcome.trial.error
    return kept_scores(plan.folder, outcome), served[0].predict(data.tune.x)


class Tells(Linear):
    """Tells what it says of the tuning period, and something else if it is bent."""

    bent = 0.0

    def fit(self, task, params):
        settled = super().fit(task, params)
        told = self.predict(task.tune.x)
        told[:10] += self.bent
        task.scored(told)
        return settled


class TellsALie(Tells):
    bent = 0.01


class TellsNaN(Tells):
    bent = np.nan


class TellsLess(Linear):
    def fit(self, task, params):
        task.scored(np.zeros(7, dtype=np.float32))
        return super().fit(task, params)


@pytest.mark.parametrize("made", [None, Tells, TellsALie, TellsNaN, TellsLess])
def test_what_is_kept_of_a_trial_is_what_its_file_says(data, plan, monkeypatch, made):
    kept_of, said = scored_as_served(data, plan, LINEAR, monkeypatch, made and made())
    assert kept_of.dtype == np.float32
    np.testing.assert_allclose(kept_of, said, atol=1e-6)


@pytest.mark.parametrize("patience", [3, 40])
def test_trees_tell_what_those_up_to_the_best_say(data, plan, monkeypatch, patience):
    asked = []
    predict = OnnxModel.predict
    monkeypatch.setattr(OnnxModel, "predict", lambda self, x: asked.append(len(x)) or predict(self, x))
    params = PARAMS | {"early_stopping_round": patience}
    kept_of, said = scored_as_served(data, plan, Point(0, "lightgbm", params, {}), monkeypatch)
    np.testing.assert_allclose(kept_of, said, atol=1e-6)
    # The last call is this test's own: the rest of the rows were not asked for.
    assert max(asked[1:-1]) == 40


@pytest.mark.parametrize("algorithm", ["ensemble", "segments"])
def test_a_part_of_a_model_does_not_tell_for_the_whole(data, plan, monkeypatch, algorithm):
    trees = {"algorithm": "lightgbm", **PARAMS}
    linear = {"algorithm": "linear", "C": 1.0, "max_iter": 100}
    params = (
        pack([trees | {"share": 0.5}, linear | {"share": 0.5}])
        if algorithm == "ensemble"
        else {"by": "carrier"} | pack([trees, linear | {"value": "UA"}])
    )
    kept_of, said = scored_as_served(data, plan, Point(0, algorithm, params, {}), monkeypatch)
    np.testing.assert_allclose(kept_of, said, atol=1e-6)
