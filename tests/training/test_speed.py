"""The speed of a model, from plain values to scores."""

import time

import numpy as np
import polars as pl
import pytest

from raypipe.contracts.encode import Encoder
from raypipe.contracts.signature import Column, Signature
from raypipe.training import speed as module
from raypipe.training.speed import timed_scores, values
from tests.training.data import FEATURES, frame

SIGNATURE = Signature(columns=(Column(name="kind", vocabulary=("p", "q")), Column(name="a")))
X = np.array([[1, 0.5], [2, np.nan], [0, 1.5]], dtype=np.float32)


class Model:
    """Takes a while, asleep or at work, and tells what it was asked."""

    def __init__(self, asleep=0.0, busy=0.0):
        self.asked, self.asleep, self.busy = [], asleep, busy

    def predict(self, x):
        self.asked.append(x.copy())
        time.sleep(self.asleep)
        end = time.thread_time() + self.busy
        while time.thread_time() < end:
            pass
        return x[:, 0]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(module, "CALLS", 6)
    monkeypatch.setattr(module, "FEWEST", 3)


def test_values_are_encoded_to_the_same_matrix():
    rows = frame(300, 0)
    signature = Signature.fit(rows, FEATURES)
    x = signature.encode(rows)
    made = values(x, signature)
    assert np.array_equal(signature.encode(made), x, equal_nan=True)
    assert np.array_equal(Encoder(signature).rows(made.rows()), x, equal_nan=True)
    assert made.schema["carrier"] == pl.String


def speed(model, x, signature):
    return timed_scores(model, x, signature)[1]


def test_the_first_rows_are_scored_in_the_calls_that_are_timed():
    x = np.resize(X, (4_500, 2))
    model = Model()
    scores, _ = timed_scores(model, x, SIGNATURE)
    assert np.array_equal(scores, x[:4_000, 0])
    assert [len(asked) for asked in model.asked] == [1] * 6 + [1_000] * 4
    assert np.array_equal(np.concatenate(model.asked[6:]), x[:4_000], equal_nan=True)


def test_one_row_and_a_thousand_are_asked_and_the_model_sees_what_it_would_see_in_service():
    model = Model()
    found = speed(model, X, SIGNATURE)
    assert [len(x) for x in model.asked] == [1] * 6 + [1_000] * 4
    assert np.array_equal(np.concatenate(model.asked[:3]), X, equal_nan=True)
    assert np.array_equal(model.asked[6][:3], X, equal_nan=True)
    assert set(found) == {"p50_ms_1", "p99_ms_1", "p50_ms_1000", "p99_ms_1000"}


def test_encoding_counts(monkeypatch):
    rows = Encoder.rows

    def slow(self, asked):
        time.sleep(0.005)
        return rows(self, asked)

    monkeypatch.setattr(Encoder, "rows", slow)
    monkeypatch.setattr(module, "_interruptions", lambda: 0)
    found = speed(Model(), X, SIGNATURE)
    assert found["p50_ms_1"] >= 5 > found["p50_ms_1000"]


def test_it_is_the_time_on_the_clock_unless_the_core_was_taken_away(monkeypatch):
    monkeypatch.setattr(module, "_interruptions", lambda: 0)
    assert speed(Model(asleep=0.01), X, SIGNATURE)["p50_ms_1"] >= 10
    seen = iter(range(10_000))
    monkeypatch.setattr(module, "_interruptions", lambda: next(seen))
    waited = speed(Model(asleep=0.01, busy=0.002), X, SIGNATURE)
    assert 2 <= waited["p50_ms_1"] < 10
    assert 2 <= waited["p99_ms_1000"] < 10


def test_a_slow_model_is_asked_less_often(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.01)
    model = Model(asleep=0.01)
    speed(model, X, SIGNATURE)
    assert [len(x) for x in model.asked].count(1) == 4
