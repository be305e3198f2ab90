"""Two workers that train one network beside Serve, on two cores: they run, or it is said what they wait for."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import ray
from ray import serve

from raypipe import models
from raypipe.training.search import prepare
from raypipe.training.trainer import Task
from raypipe.training.trainers.network import Network
from raypipe.training.waiting import PATIENCE, waits_told
from tests.training.data import pipeline, training_set
from tests.training.test_spread import PARAMS


@serve.deployment
class Answers:
    """Serves; what it holds is said when it is deployed."""

    def __call__(self, number):
        return number + 1


@pytest.fixture(scope="module")
def serving(ray_local):
    serve.start(proxy_location="Disabled")
    yield
    serve.shutdown()


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return training_set(tmp_path_factory.mktemp("set"), rows=1_500)


def deployed(replicas, cpus):
    made = Answers.options(num_replicas=replicas, ray_actor_options={"num_cpus": cpus})
    return serve.run(made.bind(), name="late", route_prefix=None)


def train(record, folder):
    """A network, trained by two workers that hold half a core each."""
    filed = prepare(pipeline(models.Network(workers=2)), record)
    told = {"scratch": folder / "scratch", "cpus": 0.5, "source": filed.source}
    model = Network()
    model.fit(Task(filed.train, filed.tune, filed.signature, "auc", 3, **told), PARAMS | {"epochs": 2})
    return model.predict(filed.tune.x)


class Heard:
    """A step that says when it is told what is waited for."""

    def __init__(self):
        self.notes, self.said = [], Event()

    def advance(self, amount=1.0, note=""):
        self.notes.append(note)
        self.said.set()


@pytest.mark.slow
def test_two_workers_train_beside_a_replica_that_goes_on_answering(serving, record, tmp_path):
    handle, over, answered = deployed(1, 0.1), Event(), []

    def ask():
        while not over.wait(0.1):
            answered.append(handle.remote(len(answered)).result(timeout_s=20))

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            scores = train(record, tmp_path)
        finally:
            over.set()
        asking.result()
    assert len(scores) == 750
    assert len(answered) > 5
    assert answered == list(range(1, len(answered) + 1))
    serve.delete("late")


@pytest.mark.slow
def test_where_serve_holds_the_cores_it_is_said_within_seconds_and_training_goes_on_when_they_are_free(
    serving, record, tmp_path
):
    deployed(2, 0.9)
    step = Heard()

    def release():
        began = time.monotonic()
        heard = step.said.wait(60)
        waited = time.monotonic() - began
        serve.delete("late")
        return heard, waited

    with ThreadPoolExecutor(1) as pool, waits_told(step):
        releasing = pool.submit(release)
        scores = train(record, tmp_path)
        heard, waited = releasing.result()
    assert heard
    # To begin takes its time too: the workers' own controller, and two looks.
    assert waited < 2 * PATIENCE + 15
    assert "2 times 0.5 CPU at once" in step.notes[0]
    assert step.notes[0].count("SERVE_REPLICA::late#Answers#") == 2
    assert "(0.9 CPU)" in step.notes[0]
    assert len(scores) == 750
    assert ray.cluster_resources()["CPU"] == 2
