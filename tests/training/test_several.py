"""Models made of models: what they answer, how they are stored, and that they are kept only where they win."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from raypipe import Search, models
from raypipe.contracts import bundle
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Trial
from raypipe.contracts.target import Target
from raypipe.errors import TrainingError
from raypipe.training import refit, search
from raypipe.training.front import front
from raypipe.training.further import BEST, _wins, certain, ensemble
from raypipe.training.onnx_model import OnnxModel, difference
from raypipe.training.outcome import Outcome, keep_scores
from raypipe.training.search import prepare
from raypipe.training.space import DEFAULTS
from raypipe.training.trainer import Task
from raypipe.training.trainers import trainer
from raypipe.training.trainers.several import Ensemble, Segments, code_of, pack, unpack
from raypipe.training.trial import Data, Plan
from tests.training.data import FEATURES, frame, pipeline, training_set
from tests.training.trainer_contract import TrainerContract


def defaults(algorithm, **more):
    return {"algorithm": algorithm} | {name: d.first for name, d in DEFAULTS[algorithm].items()} | more


TREES = defaults("lightgbm", num_iterations=20, min_data_in_leaf=20)
NETWORK = defaults("network", hidden=8, layers=1, epochs=2, batch_size=256)
LINEAR = defaults("linear")
MIXED = pack([TREES | {"share": 0.5}, NETWORK | {"share": 0.2}, LINEAR | {"share": 0.3}])
QUICK = pack([TREES | {"share": 0.7}, LINEAR | {"share": 0.3}])


class TestEnsemble(TrainerContract):
    make = Ensemble
    params = MIXED


class TestSegments(TrainerContract):
    """With a part that is itself made of parts."""

    make = Segments
    params = {"by": "carrier"} | pack([{"algorithm": "ensemble"} | QUICK, LINEAR | {"value": "UA"}])
    test_it_does_without_categories_and_without_numbers = None  # a segment is a category


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    data = prepare(pipeline(models.Linear()), training_set(tmp_path_factory.mktemp("set")))
    return Task(data.train, data.tune, data.signature, "auc", 1)


def fitted(algorithm, params, task):
    model = trainer(algorithm)
    model.fit(task, {name: value for name, value in params.items() if name != "algorithm"})
    return model


def test_an_ensemble_is_the_mean_of_its_parts(task):
    parts = [fitted(str(part["algorithm"]), part, task).predict(task.tune.x) for part in (TREES, NETWORK, LINEAR)]
    expected = 0.5 * parts[0] + 0.2 * parts[1] + 0.3 * parts[2]
    assert fitted("ensemble", MIXED, task).predict(task.tune.x) == pytest.approx(expected, abs=1e-6)


def test_each_row_is_answered_by_the_model_of_its_segment(task, tmp_path):
    params = {"by": "carrier"} | pack([TREES, LINEAR | {"value": "UA"}, LINEAR | {"value": "B6"}])
    model = fitted("segments", params, task)
    model.save(tmp_path)
    served, x = OnnxModel(tmp_path), task.tune.x
    expected = fitted("lightgbm", TREES, task).predict(x)
    for value in ("UA", "B6"):
        code = task.signature.columns[0].vocabulary.index(value) + 1
        mine = task.train.x[:, 0] == code
        alone = fitted("linear", LINEAR, replace(task, train=task.train.where(mine), tune=None))
        expected[x[:, 0] == code] = alone.predict(x[x[:, 0] == code])
    assert served.predict(x) == pytest.approx(expected, abs=1e-6)
    one_by_one = np.concatenate([served.predict(x[i : i + 1]) for i in range(40)])
    assert one_by_one == pytest.approx(expected[:40], abs=1e-6)
    assert bundle.ALLOWED.fullmatch("part1_model.skops")
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.onnx", "part0_model.txt", "part1_model.skops", "part2_model.skops",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_classes_and_numbers_too(task, kind, tmp_path):
    target = Target(task=kind, classes=("a", "b", "c") if kind == "multiclass" else ())
    labels = (task.train.y + (task.train.x[:, 3] > 10)) if target.classes else task.train.x[:, 3]
    own = replace(task, train=replace(task.train, y=labels.astype(np.float32)), tune=None, target=target)
    for name, params in (
        ("ensemble", QUICK),
        ("segments", {"by": "carrier"} | pack([TREES, LINEAR | {"value": "UA"}])),
    ):
        folder = tmp_path / name
        folder.mkdir()
        model = fitted(name, params, own)
        model.save(folder)
        difference(model, OnnxModel(folder), task.tune.x, name, target)


def test_a_segment_that_is_no_category_is_told(task):
    with pytest.raises(TrainingError, match="no model for each value of `delay`"):
        fitted("segments", {"by": "delay"} | pack([LINEAR]), task)


def test_what_wins_by_chance_is_not_kept(task):
    rng = np.random.default_rng(0)
    y = (rng.random(700) < 0.4).astype(np.float32)
    good = (y * 0.5 + rng.random(700)).astype(np.float32)
    same, noise = good + rng.normal(0, 0.02, 700).astype(np.float32), rng.random(700).astype(np.float32)
    data = prepare_like(task)
    assert certain(y, good, noise, "auc", data) >= 95
    assert certain(y, noise, good, "auc", data) <= 5
    assert 0 < certain(y, same, good, "auc", data) < 95


def test_a_segment_wins_by_its_own_rows_and_not_by_chance(task, tmp_path):
    """Its own scores are good, as good as those of all, or worse; scores of other rows decide nothing."""
    data, plan = prepare_like(task), Plan(tmp_path, "auc", 0)
    mine = data.tune.x[:, 0] == code_of(data.signature, 0, "UA")
    rng = np.random.default_rng(0)
    good = (data.tune.y * 0.5 + rng.random(len(data.tune.y))).astype(np.float32)
    noise = rng.random(len(good)).astype(np.float32)
    trial = Trial(number=0, algorithm="linear", params={"value": "UA"}, status="part", metrics={}, seconds=0.0)
    part = Outcome(trial=trial, goodness=0.7, folder="own")

    def wins(own, base):
        keep_scores(tmp_path / "trials" / "own", own[mine])
        return _wins(part, np.where(mine, base, 1 - base), "carrier", data, plan)

    assert wins(good, noise)
    assert not wins(noise, good)
    assert not wins(good, good)
    failed = msgspec.structs.replace(part, trial=msgspec.structs.replace(trial, status="failed"))
    assert not _wins(failed, noise, "carrier", data, plan)


def prepare_like(task):
    return Data(task.train, task.tune, task.signature)


def turned(rows: int, seed: int) -> pl.DataFrame:
    """For one carrier the wind means the opposite: no linear model of all rows can say so."""
    made = frame(rows, seed)
    rng = np.random.default_rng(seed)
    sign = np.where(made["carrier"].to_numpy() == "UA", -1.0, 1.0)
    odds = sign * (made["wind"].to_numpy() - 10)
    return made.with_columns(label=pl.Series(rng.random(rows) < 1 / (1 + np.exp(-odds))))


def asking(**more):
    made = pipeline(models.Linear())
    object.__setattr__(made, "search", Search([models.Linear()], trials=2, **more))
    return made


def test_a_segment_keeps_its_own_model_where_it_wins(ray_local, tracking_uri, tmp_path):
    data = training_set(tmp_path / "set", tune=turned(900, 1), train=turned(2_000, 0), holdout=turned(900, 2))
    wish = asking(by="carrier")
    found = search(wish, data, tmp_path / "searches", tracking_uri, 1, Silent())
    assert found.algorithm == "segments"
    parts = [trial for trial in found.trials if trial.status == "part"]
    assert [trial.params["value"] for trial in parts] == ["AA", "UA", "B6", "WN"][: len(parts)]
    kept = [value for name, value in found.params.items() if name.endswith(".value")]
    assert "UA" in kept
    assert "keep a model of their own" in found.reason
    assert found.metrics["auc"] > max(
        t.metrics["auc"] for t in found.trials if t.algorithm == "linear" and t.status == "finished"
    )
    # One bundle answers for all, and is made again to the bit.
    folder = Path(found.folder)
    digest = bundle.verify(folder).digest
    held = pl.read_parquet(Path(data.folder) / "holdout.parquet")
    scores = OnnxModel(folder).predict(bundle.signature(folder).encode(held.select(FEATURES)))
    assert roc_auc_score(held["label"], scores) == pytest.approx(found.metrics["auc"])
    tuned = {name.removeprefix("tune_"): value for name, value in found.metrics.items() if name.startswith("tune_")}
    refit(wish, data, found.algorithm, dict(found.params), tuned, tmp_path / "again")
    assert bundle.verify(tmp_path / "again").digest == digest
    # Asked again, no trial is run again.
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "searches").glob("*/**/outcome.json")}
    assert search(wish, data, tmp_path / "searches", tracking_uri, 1, Silent()).params == found.params
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_a_mean_may_have_good_trials_that_are_not_on_the_front(task, tmp_path):
    rng, outcomes = np.random.default_rng(0), []
    for number, noise in enumerate((0.8, 0.9, 50.0)):
        metrics = {"auc": 0.9 - 0.1 * number, "p99_ms_1": 1.0 + number}
        trial = Trial(
            number=number, algorithm="linear", params={"C": number}, status="finished", metrics=metrics, seconds=0.0
        )
        outcomes.append(Outcome(trial=trial, goodness=metrics["auc"], folder=f"linear-{number}"))
        keep_scores(
            tmp_path / "trials" / f"linear-{number}", task.tune.y + rng.normal(0, noise, len(task.tune.y)).astype("f4")
        )
    assert front(outcomes) == outcomes[:1]
    found = unpack(ensemble(outcomes, Data(task.train, task.tune, task.signature), Plan(tmp_path, "auc", 0)))
    assert [part["C"] for part in found] == [0, 1]
    assert sum(part["share"] for part in found) == pytest.approx(1)


def test_a_mean_may_have_the_best_of_an_algorithm_that_is_worse_than_the_others(task, tmp_path):
    """The eight best and the front err alike; what is worse alone errs apart."""
    rng, outcomes, truth = np.random.default_rng(0), [], task.tune.y
    shared = rng.normal(0, 0.8, len(truth))
    for number in range(BEST + 3):
        algorithm = "lightgbm" if number <= BEST else "network"
        metrics = {"auc": 0.9 - 0.01 * number, "p99_ms_1": 1.0 + number}
        trial = Trial(
            number=number, algorithm=algorithm, params={"seed": number}, status="finished", metrics=metrics, seconds=0.0
        )
        outcomes.append(Outcome(trial=trial, goodness=metrics["auc"], folder=str(number)))
        noise = shared if algorithm == "lightgbm" else rng.normal(0, 1.0, len(truth))
        keep_scores(tmp_path / "trials" / str(number), (truth + noise).astype("f4"))
    found = unpack(ensemble(outcomes, Data(task.train, task.tune, task.signature), Plan(tmp_path, "auc", 0)))
    assert {(part["algorithm"], part["seed"]) for part in found} == {("lightgbm", 0), ("network", BEST + 1)}


@pytest.mark.parametrize("statuses", [[], ["failed", "failed"], ["finished"]])
def test_there_is_no_mean_of_fewer_than_two(task, tmp_path, statuses):
    outcomes = []
    for number, status in enumerate(statuses):
        good = status == "finished"
        trial = Trial(
            number=number,
            algorithm="linear",
            params={},
            status=status,
            metrics={"p99_ms_1": 1.0} if good else {},
            seconds=0.0,
        )
        outcomes.append(Outcome(trial=trial, goodness=0.7 if good else None, folder=str(number)))
    assert ensemble(outcomes, Data(task.train, task.tune, task.signature), Plan(tmp_path, "auc", 0)) is None


def test_the_mean_of_the_front_competes(ray_local, tracking_uri, tmp_path):
    wish = asking()
    both = [models.LightGBM(num_iterations=30, min_data_in_leaf=20), models.Linear()]
    object.__setattr__(wish, "search", Search(both, trials=4, ensemble=True))
    found = search(wish, training_set(tmp_path / "set"), tmp_path / "searches", tracking_uri, 1, Silent())
    best = max(t.metrics["auc"] for t in found.trials if t.algorithm != "ensemble")
    together = [t for t in found.trials if t.algorithm == "ensemble"]
    if together:
        assert together[0].metrics["auc"] >= best - 1e-4
        assert sum(v for n, v in together[0].params.items() if n.endswith("share")) == pytest.approx(1)
    else:
        assert "no mean of trials is better" in found.reason
