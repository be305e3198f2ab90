"""The whole search on Ray: all algorithms, bad trainers, a killed driver, a killed worker."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import ray
from mlflow import MlflowClient
from ray.util import placement_group_table

from raypipe import models
from raypipe.contracts import bundle
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Candidate, Trial
from raypipe.errors import TrainingError, WorkspaceError
from raypipe.spec import fingerprint
from raypipe.spec.search import log
from raypipe.training import finish, search, tuning
from raypipe.training.data import examples, learn_signature, read
from raypipe.training.metrics import quality
from raypipe.training.onnx_model import OnnxModel
from raypipe.training.outcome import Outcome
from raypipe.training.trainers.linear import Linear
from raypipe.training.trial import Data
from tests.training.data import pipeline, training_set
from tests.training.test_room import gone

TREES = models.LightGBM(num_iterations=30, early_stopping_round=5, min_data_in_leaf=20)
NETWORK = models.Network(hidden=8, layers=1, epochs=2, batch_size=256)
LINEAR = models.Linear(C=log(0.01, 10.0))
ALL = pipeline(TREES, NETWORK, LINEAR, trials=6)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return training_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def found(ray_local, data, tracking_uri, tmp_path_factory):
    return search(ALL, data, tmp_path_factory.mktemp("searches"), tracking_uri, 2, Silent())


def runs(uri, experiment="late"):
    client = MlflowClient(tracking_uri=uri)
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def answers(folder: Path) -> dict[str, int]:
    """When each trial's outcome was written, by trial."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("late-*/trials/*/outcome.json")}


def test_every_algorithm_is_tried_and_compared(found):
    assert [trial.number for trial in found.trials] == list(range(6))
    assert {trial.algorithm for trial in found.trials[:3]} == {"lightgbm", "network", "linear"}
    assert all(trial.status == "finished" for trial in found.trials)
    assert found.reason.startswith(f"{found.algorithm} (trial ")
    winners = [trial for trial in found.trials if (trial.algorithm, trial.params) == (found.algorithm, found.params)]
    assert winners[0].metrics["auc"] == max(trial.metrics["auc"] for trial in found.trials)
    assert winners[0].metrics["auc"] == found.metrics["tune_auc"]


def test_the_record_survives_json(found):
    assert Candidate.from_json(found.to_json()) == found


def test_the_bundle_is_whole_and_its_metrics_are_those_of_the_holdout(found, data):
    folder = Path(found.folder)
    bundle.verify(folder)
    assert fingerprint(bundle.pipeline(folder)) == fingerprint(ALL)
    card, signature = bundle.card(folder), bundle.signature(folder)
    speeds = {name: value for name, value in found.metrics.items() if name[:4] in {"p50_", "p99_"}}
    assert len(speeds) == 4
    assert (card.algorithm, card.params, card.metrics | speeds) == (found.algorithm, found.params, found.metrics)
    assert bundle.evaluation(folder).metrics["auc"].value == pytest.approx(found.metrics["auc"])
    assert sum(bundle.bins(folder).prediction.counts) == bundle.evaluation(folder).rows == data.rows["holdout"]
    held_out = pl.read_parquet(Path(data.folder) / "holdout.parquet")
    scores = OnnxModel(folder).predict(signature.encode(held_out))
    for name, value in quality(held_out["label"].to_numpy().astype(np.float32), scores).items():
        assert found.metrics[name] == pytest.approx(value)
    assert found.metrics["auc_low"] < found.metrics["auc"] < found.metrics["auc_high"]
    assert found.metrics["auc"] > 0.7


def test_golden_rows_have_gaps_and_unseen_categories_and_the_scores_that_serve(found):
    folder = Path(found.folder)
    golden, signature = bundle.golden(folder), bundle.signature(folder)
    assert len(golden) == 64
    assert golden[0].drop("score").null_count().sum_horizontal().item() == len(data_features(golden))
    assert signature.unseen(golden)["carrier"] == 1
    served = OnnxModel(folder).predict(signature.encode(golden))
    assert np.abs(served - golden["score"].to_numpy()).max() < 1e-6


def data_features(golden):
    return [name for name in golden.columns if name != "score"]


def test_every_trial_is_a_run_in_mlflow(found, tracking_uri):
    by_id = {run.info.run_id: run for run in runs(tracking_uri)}
    for trial in found.trials:
        run = by_id[trial.run_id]
        assert run.data.params["algorithm"] == trial.algorithm
        assert run.data.metrics["auc"] == trial.metrics["auc"]
    parents = {by_id[trial.run_id].data.tags["mlflow.parentRunId"] for trial in found.trials}
    assert len(parents) == 1
    assert by_id[parents.pop()].data.metrics["auc"] == found.metrics["auc"]


def test_the_same_search_finds_the_same_model_to_the_bit(found, data, tracking_uri, tmp_path):
    again = search(ALL, data, tmp_path, tracking_uri, 1, Silent())
    assert [(trial.algorithm, trial.params) for trial in again.trials] == [
        (trial.algorithm, trial.params) for trial in found.trials
    ]
    assert (again.algorithm, again.params) == (found.algorithm, found.params)
    assert bundle.verify(Path(again.folder)).digest == bundle.verify(Path(found.folder)).digest


def test_a_search_that_ended_is_not_run_again(found, data, tracking_uri):
    folder = Path(found.folder).parent.parent
    before, logged = answers(folder), len(runs(tracking_uri))
    again = search(ALL, data, folder, tracking_uri, 1, Silent())
    assert answers(folder) == before
    assert len(runs(tracking_uri)) == logged
    assert again.trials == found.trials


def test_a_trial_that_fails_is_kept_with_its_error(ray_local, data, tracking_uri, tmp_path):
    mixed = pipeline(models.LightGBM(num_leaves=1, num_iterations=5), LINEAR, trials=2)
    candidate = search(mixed, data, tmp_path, tracking_uri, 1, Silent())
    trees, linear = candidate.trials
    assert (trees.status, linear.status) == ("failed", "finished")
    assert "num_leaves" in trees.error
    assert candidate.algorithm == "linear"


def test_a_search_in_which_all_trials_fail_says_why(data, tracking_uri, tmp_path, monkeypatch):
    lost = Trial(
        number=0, algorithm="linear", params={}, status="failed", metrics={}, seconds=0, error="ValueError: no"
    )
    monkeypatch.setattr(tuning, "try_all", lambda *_: [Outcome(trial=lost, goodness=None)])
    with pytest.raises(TrainingError, match=r"late: search: no trial of 1 finished: linear: ValueError: no"):
        search(pipeline(LINEAR, trials=1), data, tmp_path, tracking_uri, 2, Silent())
    failed = [run for run in runs(tracking_uri) if "raypipe.search" in run.data.tags and run.info.status == "FAILED"]
    assert len(failed) == 1


def test_no_search_starts_on_a_metric_that_is_not_known(data, tracking_uri, tmp_path):
    with pytest.raises(TrainingError, match=r"unknown metric `f2`"):
        search(pipeline(LINEAR, metric="f2"), data, tmp_path, tracking_uri, 2, Silent())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_used_is_told_before_anything_is_tried(data, tracking_uri, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match=r"file/late-\w+: cannot be used: Not a directory. Check that"):
        search(pipeline(LINEAR, trials=1), data, tmp_path / "file", tracking_uri, 1, Silent())


def test_a_winner_that_cannot_be_fitted_again_is_told(data, monkeypatch):
    monkeypatch.setattr(finish, "trainer", lambda name: Stubborn())
    trial = Trial(number=0, algorithm="linear", params={}, status="finished", metrics={}, seconds=0)
    with pytest.raises(TrainingError, match=r"linear: the winner could not be fitted again.*: ValueError: no"):
        finish.refit(Outcome(trial=trial, goodness=1.0), small_data(data), pipeline(LINEAR), Path(data.folder))


class Stubborn(Linear):
    def fit(self, task, params):
        raise ValueError("no")


def small_data(record):
    signature = learn_signature(read(record, "train"), record.features, "late")
    return Data(examples(read(record, "train"), signature), examples(read(record, "tune"), signature), signature)


class Breaks:
    """Somebody who watches and then cannot any more."""

    def __init__(self, error):
        self.error = error

    def advance(self, amount=1.0, note=""):
        raise self.error

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        return None

    def step(self, name, total=None):
        return self


@pytest.mark.parametrize(
    ("error", "said"),
    [(TrainingError("the watcher left", where="test"), r"^test: the watcher left$"), (KeyboardInterrupt(), None)],
)
def test_what_ends_the_trials_comes_out_as_it_is_and_leaves_no_group(
    ray_local, data, tracking_uri, tmp_path, error, said
):
    with pytest.raises(type(error), match=said):
        search(pipeline(LINEAR, trials=2), data, tmp_path, tracking_uri, 1, Breaks(error))
    assert gone({name for name, group in placement_group_table().items() if {"CPU": 0.5} in group["bundles"].values()})


SCRIPT = """
import sys
from contextlib import contextmanager
from pathlib import Path
import ray
folder, uri, address = sys.argv[1:]
ray.init(address=address, namespace="killed", log_to_driver=False, logging_level="error")
from raypipe.contracts.progress import Silent
from raypipe.training import search
from tests.training.data import training_set
from tests.training.test_search import FIVE
search(FIVE, training_set(Path(folder) / "set", 600), Path(folder) / "searches", uri, 1, Silent())
"""
FIVE = pipeline(LINEAR, trials=5)


class Told:
    """Progress whose open steps cannot be pickled, as that of a run cannot: Tune writes down whatever it is given."""

    @contextmanager
    def step(self, name, total=None):
        with Silent().step(name, total) as step:
            yield step


def killed_search(folder, uri, failpoint):
    """The search in a process of its own, on the session's cluster, which ends at the failpoint."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), uri, ray.get_runtime_context().gcs_address],
        env=os.environ | {"RAYPIPE_FAILPOINT": failpoint},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


@pytest.mark.slow
def test_a_killed_search_goes_on_where_it_was(ray_local, tracking_uri, tmp_path):
    killed = killed_search(tmp_path, tracking_uri, "training.after_trial=kill@2")
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2_000:]
    before = answers(tmp_path / "searches")
    assert 2 <= len(before) < 5
    candidate = search(FIVE, training_set(tmp_path / "set", 600), tmp_path / "searches", tracking_uri, 1, Told())
    after = answers(tmp_path / "searches")
    assert len(after) == 5
    assert {name: after[name] for name in before} == before, "a trial that had ended was run again"
    by_id = {run.info.run_id: run for run in runs(tracking_uri)}
    parents = {by_id[trial.run_id].data.tags["mlflow.parentRunId"] for trial in candidate.trials}
    assert len(parents) == 1
    logged = [run for run in by_id.values() if run.data.tags.get("mlflow.parentRunId") in parents]
    assert {run.info.run_id for run in logged} == {trial.run_id for trial in candidate.trials}
    assert all(run.info.status == "FINISHED" for run in logged)


@pytest.mark.slow
def test_a_worker_that_dies_amid_a_trial_is_replaced(ray_local, tracking_uri, tmp_path, monkeypatch):
    """Each worker is killed at its fourth trial; that trial is done by the next one."""
    monkeypatch.setenv("RAYPIPE_FAILPOINT", "")  # the metric is asked in this process too, which must not stay armed
    measured = pipeline(LINEAR, trials=5, metric="tests.training.arming:auc")
    candidate = search(measured, training_set(tmp_path / "set", 600), tmp_path, tracking_uri, 1, Silent())
    assert [trial.status for trial in candidate.trials] == ["finished"] * 5
