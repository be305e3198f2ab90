"""Every task through every trainer: what is learned, its ONNX file, the bundle, and what callers are told."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from raypipe.contracts import bundle
from raypipe.contracts.signature import Signature
from raypipe.contracts.target import Target
from raypipe.errors import TrainingError
from raypipe.registry.examine import _score_golden_rows
from raypipe.serving.answers import Answers
from raypipe.spec import Finish, Label, Search
from raypipe.training import refit
from raypipe.training.data import class_weights, examples, learn_target
from raypipe.training.metrics import measure, quality
from raypipe.training.onnx_model import OnnxModel, difference
from raypipe.training.trainer import Examples, Task
from raypipe.training.trainers import trainer
from tests.training.data import FEATURES, frame, pipeline, training_set

PARAMS = {
    "lightgbm": {"learning_rate": 0.1, "num_leaves": 15, "min_data_in_leaf": 20, "num_iterations": 60},
    "network": {"hidden": 32, "layers": 1, "dropout": 0.0, "learning_rate": 0.01, "weight_decay": 0.01},
    "linear": {"C": 1.0, "max_iter": 300},
}
PARAMS["lightgbm"]["early_stopping_round"] = 10
PARAMS["network"] |= {"batch_size": 128, "epochs": 12, "patience": 12}
TARGETS = {
    "multiclass": Target(task="multiclass", classes=("high", "low", "middle")),
    "regression": Target(task="regression"),
    "quantile": Target(task="quantile", quantile=0.9),
    "count": Target(task="count"),
}
METRIC = {"multiclass": "log_loss", "regression": "rmse", "quantile": "pinball", "count": "poisson_deviance"}


def labelled(rows, seed, task):
    """The rows of all training tests with another label."""
    found, rng = frame(rows, seed), np.random.default_rng(seed + 100)
    signal = found["delay"].fill_null(20).to_numpy() / 20 + (found["carrier"] == "B6").to_numpy() * 1.5
    noisy = signal + rng.normal(0, 0.4, rows)
    labels = {
        "multiclass": np.select([noisy < 0.7, noisy < 1.5], ["low", "middle"], "high"),
        "regression": 300 + 40 * noisy,
        "quantile": 300 + 40 * noisy,
        "count": rng.poisson(signal),
    }
    return found.with_columns(label=pl.Series(labels[task]))


@pytest.fixture(scope="module")
def sets():
    return {task: [labelled(rows, seed, task) for seed, rows in enumerate((1_500, 700))] for task in TARGETS}


CASES = [(a, t) for a in PARAMS for t in TARGETS if (a, t) != ("linear", "quantile")]


@pytest.mark.parametrize(("algorithm", "task"), CASES)
def test_it_learns_and_its_onnx_file_answers_the_same(algorithm, task, sets, tmp_path):
    target, metric = TARGETS[task], METRIC[task]
    train, fresh = sets[task]
    signature = Signature.fit(train, FEATURES)
    rows, later = (examples(part, signature, target) for part in (train, fresh))
    half = Task(rows.rows(0, 1_000), rows.rows(1_000, 1_500), signature, metric, target=target)
    model = trainer(algorithm)
    settled = model.fit(half, dict(PARAMS[algorithm]))
    model.fit(replace(half, train=rows, tune=None), PARAMS[algorithm] | settled)
    scores = model.predict(later.x)
    naive = np.repeat(np.atleast_1d(_naive(rows.y, target))[None], len(later.y), 0).squeeze()
    assert measure(metric, later.y, scores, target) < 0.85 * measure(metric, later.y, naive, target)
    if task == "quantile":
        assert 0.8 < quality(later.y, scores, target)["below"] < 0.97
    model.save(tmp_path)
    hard = np.concatenate([later.x, np.where(np.arange(later.x.shape[1]) < 2, 0, np.nan)[None].astype(np.float32)])
    assert difference(model, OnnxModel(tmp_path), hard, algorithm, target) < 1e-5
    alone = OnnxModel(tmp_path).predict(hard[:1])
    np.testing.assert_allclose(alone[0], OnnxModel(tmp_path).predict(hard)[0], rtol=1e-5)


def _naive(y, target):
    """The best that can be said without looking at a row."""
    if target.task == "multiclass":
        return np.bincount(y.astype(int)).astype(np.float32) / len(y)
    return np.float32(np.quantile(y, 0.9) if target.task == "quantile" else y.mean())


def task_pipeline(task, **finish):
    made = pipeline()
    label = Label(made.label.stream, made.label.truth, made.label.settled_after, task)
    object.__setattr__(made, "label", label)
    object.__setattr__(made, "search", Search([], metric=METRIC[task]))
    object.__setattr__(made, "finish", Finish(**finish))
    return made


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_bundle_of_the_task_is_judged_sealed_and_examined(task, sets, tmp_path):
    train, fresh = sets[task]
    record = training_set(tmp_path / "set", train=train, tune=fresh, holdout=labelled(500, 7, task))
    costs = {"high": {"low": 9.0}, "middle": {"low": 1.0, "high": 1.0}, "low": {"high": 1.0}}
    wish = {"by": ["carrier"], "fair": ["carrier"]} | ({"costs": costs} if task == "multiclass" else {})
    metrics = refit(task_pipeline(task, **wish), record, "lightgbm", PARAMS["lightgbm"], {}, tmp_path / "made")
    card, evaluation = bundle.card(tmp_path / "made"), bundle.evaluation(tmp_path / "made")
    assert card.target.task == task
    assert evaluation.metrics[METRIC[task]].low <= metrics[METRIC[task]] <= evaluation.metrics[METRIC[task]].high
    assert {segment.value for segment in evaluation.segments} == {"AA", "UA", "B6", "WN"}
    assert (evaluation.cost is None) == (task == "regression")
    reference = bundle.bins(tmp_path / "made")
    assert sum(reference.prediction.counts) == 500
    judged = reference.numbers if task == "regression" else reference.judged
    assert sum(judged.rows) == 500
    if task == "regression":
        assert judged.error == pytest.approx(0.1)
        assert judged.loss == pytest.approx(evaluation.metrics["rmse"].value ** 2, rel=1e-4)
    else:
        # The answer of least cost is right less often than the likeliest would be.
        frame, rank = labelled(500, 7, task), card.target.classes
        scores = OnnxModel(tmp_path / "made").predict(bundle.signature(tmp_path / "made").encode(frame)).tolist()
        dear = [[sum(p * costs[t].get(a, 0.0) for t, p in zip(rank, row, strict=True)) for a in rank] for row in scores]
        right = [rank[row.index(min(row))] == true for row, true in zip(dear, frame["label"], strict=True)]
        assert judged.error == pytest.approx(1 - sum(right) / 500)
    _score_golden_rows(tmp_path / "made")
    golden = bundle.golden(tmp_path / "made")[bundle.SCORE].to_numpy()
    told = Answers(card).told(golden)
    if task == "regression":
        assert told[3] == {"value": pytest.approx(float(golden[3]), rel=1e-6)}
    else:
        matrix = np.array([[costs.get(t, {}).get(a, 0.0) for a in card.target.classes] for t in card.target.classes])
        wanted = [card.target.classes[k] for k in (golden.astype(float) @ matrix).argmin(axis=1)]
        assert [row["label"] for row in told] == wanted
        assert told[0]["probabilities"].keys() == set(card.target.classes)
        assert told[0]["probability"] == told[0]["probabilities"][told[0]["label"]]


def test_costs_of_a_class_that_there_is_not_are_told(sets, tmp_path):
    train, fresh = sets["multiclass"]
    record = training_set(tmp_path / "set", train=train, tune=fresh, holdout=fresh)
    made = task_pipeline("multiclass", costs={"hihg": {"low": 1.0}})
    with pytest.raises(TrainingError, match=r"the costs name a class `hihg` that there is not. Did you mean `high`"):
        refit(made, record, "lightgbm", PARAMS["lightgbm"], {}, tmp_path / "made")


def test_class_weights_let_rare_classes_count(sets):
    y = np.array([0, 0, 0, 1], dtype=np.float32)
    target = Target()
    np.testing.assert_allclose(class_weights(y, target, Search([], class_weights="balanced")), [2 / 3] * 3 + [2])
    np.testing.assert_allclose(class_weights(y, target, Search([], class_weights={"true": 5})), [1, 1, 1, 5])
    with pytest.raises(TrainingError, match=r"no class `ture` to weigh. Did you mean `true`"):
        class_weights(y, target, Search([], class_weights={"ture": 5}))


@pytest.mark.parametrize("algorithm", PARAMS)
def test_trainers_heed_weights(algorithm):
    train = frame(1_500, 0)
    signature = Signature.fit(train, FEATURES)
    plain = examples(train, signature)
    heavy = Examples(plain.x, plain.y, np.where(plain.y > 0, 8, 1).astype(np.float32))
    means = []
    for rows in (plain, heavy):
        model = trainer(algorithm)
        model.fit(Task(rows, None, signature, "auc"), dict(PARAMS[algorithm]))
        means.append(model.predict(plain.x).mean())
    assert means[1] > means[0] + 0.15


def test_a_metric_of_ones_own_decides_when_to_stop(sets):
    train = frame(1_500, 0)
    signature = Signature.fit(train, FEATURES)
    rows = examples(train, signature)
    own = "tests.training.test_tasks:gain"
    for algorithm, params in PARAMS.items():
        task = Task(rows.rows(0, 1_000), rows.rows(1_000, 1_500), signature, own)
        model = trainer(algorithm)
        model.fit(task, dict(params))
        assert quality(rows.y, model.predict(rows.x), metric=own)[own] > 0


def gain(y, scores):
    """What is earned by acting on scores above 0.4: 3 for each true, -1 for each false."""
    return float(np.mean(np.where(scores > 0.4, np.where(y > 0.5, 3, -1), 0)))


def test_a_metric_that_is_not_there_is_told():
    with pytest.raises(TrainingError, match=r"the metric `tests.training.nowhere:gain` cannot be used"):
        measure("tests.training.nowhere:gain", np.array([0.0, 1.0]), np.array([0.1, 0.2]))


def test_the_classes_are_those_of_the_training_period():
    label = Label(None, None, None, "multiclass")
    target = learn_target(pl.Series(["b", "a", "b"]), label)
    assert target.classes == ("a", "b")
