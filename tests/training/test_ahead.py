"""Forecasts of the newest rows: made beside the last fit where a cluster runs, and the same ones anywhere."""

import os

import numpy as np
import pytest

from raypipe.contracts.signature import Column, Signature
from raypipe.training import ahead
from raypipe.training.trainer import Examples, Task

OWN = "tests.training.own"
LONG = 60.0
PARAMS = {
    "lightgbm": {"num_iterations": 10, "early_stopping_round": 5, "num_leaves": 7},
    "network": {
        "hidden": 8,
        "layers": 1,
        "dropout": 0.1,
        "epochs": 1,
        "batch_size": 64,
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "patience": 1,
    },
}


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1_000, 4)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=1_000) > 0).astype(np.float32)
    columns = tuple(Column(name=f"c{i}") for i in range(4))
    return Task(Examples(x, y), None, Signature(columns=columns), "log_loss", seed=5)


@pytest.mark.parametrize("algorithm", list(PARAMS))
def test_the_cluster_forecasts_what_one_process_does(ray_local, task, algorithm):
    beside = ahead.forecasts(algorithm, task, PARAMS[algorithm], LONG)()
    alone = ahead.forecasts(algorithm, task, PARAMS[algorithm])()
    assert beside.scores.tobytes() == alone.scores.tobytes()
    assert len(np.unique(beside.scores)) > 10
    assert len(beside.scores) == len(beside.y) == len(beside.newest) == 360
    assert beside.newest.sum() == 120 == beside.newest[-120:].sum()
    assert (beside.y == task.train.y[640:]).all()


@pytest.mark.parametrize(
    ("seconds", "workers", "processes"), [(LONG, 1, 3), (LONG, 2, 0), (0.1, 1, 0)], ids=["long", "spread", "short"]
)
def test_long_fits_are_made_beside_each_other_in_other_processes(ray_local, task, seconds, workers, processes):
    """Workers that a model is spread over would be asked for several times at once: that is fitted here too."""
    found = ahead.forecasts(f"{OWN}:Where", task, {"strength": 1.0, "workers": workers}, seconds)()
    assert len(set(found.scores.tolist()) - {os.getpid()}) == processes


def test_what_a_trainer_raises_there_is_raised_here(ray_local, task):
    with pytest.raises(ValueError, match=r"^too few rows$"):
        ahead.forecasts(f"{OWN}:Stumbles", task, {"strength": 1.0}, LONG)()
