"""Forecasts of the newest rows: made beside the last fit where a cluster runs, and the same ones anywhere."""

import os

import numpy as np
import pytest

from raypipe.contracts.signature import Column, Signature
from raypipe.training import ahead
from raypipe.training.trainer import Examples, Task

OWN = "tests.training.own"
LONG = 60.0


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1_000, 4)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=1_000) > 0).astype(np.float32)
    columns = tuple(Column(name=f"c{i}") for i in range(4))
    return Task(Examples(x, y), None, Signature(columns=columns), "log_loss", seed=5)


def test_long_fits_are_made_beside_each_other_and_say_the_same(ray_local, task, tmp_path):
    params = {"strength": 1.0, "folder": str(tmp_path)}
    beside = ahead.forecasts(f"{OWN}:Signs", task, params, LONG)()
    processes = {path.name for path in tmp_path.iterdir()}
    assert len(processes) == 3
    assert str(os.getpid()) not in processes
    alone = ahead.forecasts(f"{OWN}:Signs", task, params)()
    assert beside.scores.tobytes() == alone.scores.tobytes()
    assert len(np.unique(beside.scores)) > 10
    assert len(beside.scores) == len(beside.y) == len(beside.newest) == 360
    assert beside.newest.sum() == 120 == beside.newest[-120:].sum()
    assert (beside.y == task.train.y[640:]).all()


@pytest.mark.parametrize(("seconds", "workers"), [(LONG, 2), (0.1, 1)], ids=["spread", "short"])
def test_others_are_made_here(ray_local, task, tmp_path, seconds, workers):
    """Workers that a model is spread over would be asked for several times at once."""
    params = {"strength": 1.0, "folder": str(tmp_path), "workers": workers}
    ahead.forecasts(f"{OWN}:Signs", task, params, seconds)()
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]


def test_what_a_trainer_raises_there_is_raised_here(ray_local, task, monkeypatch):
    monkeypatch.setattr(ahead, "CUTS", (0.5, 1.0))
    with pytest.raises(ValueError, match=r"^too few rows$"):
        ahead.forecasts(f"{OWN}:Stumbles", task, {"strength": 1.0}, LONG)()
