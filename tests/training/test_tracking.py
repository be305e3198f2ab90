from itertools import count

import pytest
from mlflow import MlflowClient

from raypipe.contracts.records import Trial
from raypipe.errors import TrainingError
from raypipe.training.outcome import Outcome
from raypipe.training.tracking import Tracking

_names = count()


def outcome(number, status="finished", error="", **params):
    metrics = {"auc": 0.7} if status == "finished" else {}
    trial = Trial(
        number=number,
        algorithm="linear",
        params={"C": 1.0, **params},
        status=status,
        metrics=metrics,
        seconds=2.0,
        error=error,
    )
    return Outcome(trial=trial, goodness=metrics.get("auc"), curve=((1, 0.6), (2, 0.7)) if metrics else ())


@pytest.fixture
def experiment():
    return f"late{next(_names)}"


def children(uri, experiment, parent):
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment).experiment_id
    return client.search_runs([found], f"tags.`mlflow.parentRunId` = '{parent}'", order_by=["attribute.run_name"])


def test_a_search_is_a_run_with_a_nested_run_for_each_trial(tracking_uri, experiment):
    tracking = Tracking(tracking_uri, experiment, "a" * 16)
    tracking.start("linear-1", 0)
    tracking.end("linear-1", outcome(0))
    tracking.start("linear-2", 1)
    tracking.end("linear-2", outcome(1, "failed", "ValueError: no"))
    tracking.finish({"auc": 0.75}, {"reason": "it is the best"})
    good, bad = children(tracking_uri, experiment, tracking.run_id)
    assert (good.info.run_name, good.info.status) == ("00 linear-1", "FINISHED")
    assert good.data.params == {"algorithm": "linear", "C": "1.0"}
    assert good.data.metrics == {"auc": 0.7, "seconds": 2.0, "goodness": 0.7}
    assert (bad.info.status, bad.data.tags["error"]) == ("FAILED", "ValueError: no")
    client = MlflowClient(tracking_uri=tracking_uri)
    assert [(m.step, m.value) for m in client.get_metric_history(good.info.run_id, "goodness")] == [(1, 0.6), (2, 0.7)]
    parent = client.get_run(tracking.run_id)
    assert (parent.info.status, parent.data.metrics) == ("FINISHED", {"auc": 0.75})
    assert parent.data.tags["reason"] == "it is the best"


def test_a_search_that_starts_again_logs_no_trial_twice(tracking_uri, experiment):
    first = Tracking(tracking_uri, experiment, "b" * 16)
    first.start("linear-1", 0)
    run_id = first.end("linear-1", outcome(0))
    first.start("linear-2", 1)  # and the process is killed
    again = Tracking(tracking_uri, experiment, "b" * 16)
    assert again.run_id == first.run_id
    for number, name in enumerate(("linear-1", "linear-2")):
        again.start(name, number)
        again.end(name, outcome(number))
    runs = children(tracking_uri, experiment, first.run_id)
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert runs[0].info.run_id == run_id
    assert len(MlflowClient(tracking_uri=tracking_uri).get_metric_history(run_id, "auc")) == 1


def test_a_trial_that_was_logged_but_not_closed_is_closed(tracking_uri, experiment):
    first = Tracking(tracking_uri, experiment, "c" * 16)
    first.start("linear-1", 0)
    run_id = first.end("linear-1", outcome(0, num_iterations=400))
    MlflowClient(tracking_uri=tracking_uri).update_run(run_id, status="RUNNING")
    again = Tracking(tracking_uri, experiment, "c" * 16)
    again.start("linear-1", 0)
    again.end("linear-1", outcome(0, num_iterations=200))
    assert [run.info.status for run in children(tracking_uri, experiment, first.run_id)] == ["FINISHED"]


def test_a_trial_that_is_started_twice_has_one_run(tracking_uri, experiment):
    tracking = Tracking(tracking_uri, experiment, "f" * 16)
    tracking.start("linear-1", 0)
    tracking.start("linear-1", 0)  # its worker died
    tracking.end("linear-1", outcome(0))
    assert len(children(tracking_uri, experiment, tracking.run_id)) == 1


def test_another_try_of_a_failed_trial_has_a_run_of_its_own(tracking_uri, experiment):
    first = Tracking(tracking_uri, experiment, "d" * 16)
    first.start("linear-1", 0)
    first.end("linear-1", outcome(0, "failed", "no memory"))
    again = Tracking(tracking_uri, experiment, "d" * 16)
    again.start("linear-1", 0)
    again.end("linear-1", outcome(0))
    statuses = [run.info.status for run in children(tracking_uri, experiment, first.run_id)]
    assert sorted(statuses) == ["FAILED", "FINISHED"]


def test_mlflow_that_does_not_answer_is_a_sentence(monkeypatch, free_port):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TrainingError, match=rf"{uri}: MLflow: .*raypipe up"):
        Tracking(uri, "late", "e" * 16)
