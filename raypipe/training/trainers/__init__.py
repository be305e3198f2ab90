"""The algorithms that come with raypipe, one file each. A heavy library is imported when its trainer is asked for."""

from importlib import import_module

from raypipe.training.trainer import Trainer

TRAINERS = {
    "lightgbm": "raypipe.training.trainers.lightgbm:LightGBM",
    "network": "raypipe.training.trainers.network:Network",
    "linear": "raypipe.training.trainers.linear:Linear",
}


def trainer(algorithm: str) -> Trainer:
    """A fresh trainer of an algorithm in `TRAINERS`."""
    module, _, name = TRAINERS[algorithm].partition(":")
    made: Trainer = getattr(import_module(module), name)()
    return made
