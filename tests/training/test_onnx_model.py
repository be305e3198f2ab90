import time

import numpy as np

from raypipe.training import onnx_model
from raypipe.training.onnx_model import OnnxModel


class Interrupted(OnnxModel):
    """A model whose thread loses its core amid each call."""

    def __init__(self):
        self.asked = []

    def predict(self, x):
        self.asked.append(x.shape)
        time.sleep(0.02)
        return x[:, 0]


class Slow(Interrupted):
    def predict(self, x):
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            pass
        return x[:, 0]


def test_waiting_for_a_core_is_not_the_models_time(monkeypatch):
    monkeypatch.setattr(onnx_model, "CALLS", {1: 4, 1_000: 2})
    model = Interrupted()
    speed = model.speed(np.zeros((50, 3), dtype=np.float32))
    assert set(model.asked) == {(1, 3), (1_000, 3)}
    assert all(0 <= milliseconds < 5 for milliseconds in speed.values())


def test_computing_is(monkeypatch):
    monkeypatch.setattr(onnx_model, "CALLS", {1: 3})
    speed = Slow().speed(np.zeros((50, 3), dtype=np.float32))
    assert 10 <= speed["p50_ms_1"] <= speed["p99_ms_1"]


class Counted(Interrupted):
    def predict(self, x):
        self.asked.append(len(x))
        return x[:, 0]


def test_what_is_asked_anyway_is_timed(monkeypatch):
    monkeypatch.setattr(onnx_model, "CALLS", {1: 4, 1_000: 2})
    monkeypatch.setattr(onnx_model, "ROUNDS", 1)
    x = np.arange(2_500, dtype=np.float32)[:, None]
    enough, few = Counted(), Counted()
    scores, speed = enough.timed(x)
    assert np.array_equal(scores, x[:, 0])
    assert enough.asked == [1_000, 1_000, 500, 1, 1, 1, 1]
    assert set(speed) == {"p50_ms_1", "p99_ms_1", "p50_ms_1000", "p99_ms_1000"} == set(few.timed(x[:700])[1])
    assert few.asked == [700, 1_000, 1_000, 1, 1, 1, 1]
