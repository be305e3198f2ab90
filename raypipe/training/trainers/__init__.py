"""The algorithms that come with raypipe, one file each. A heavy library is imported when its trainer is asked for."""

from importlib import import_module

from raypipe.errors import TrainingError
from raypipe.training.trainer import Trainer

TRAINERS = {
    "lightgbm": "raypipe.training.trainers.lightgbm:LightGBM",
    "network": "raypipe.training.trainers.network:Network",
    "linear": "raypipe.training.trainers.linear:Linear",
    "ensemble": "raypipe.training.trainers.several:Ensemble",
    "segments": "raypipe.training.trainers.several:Segments",
}


def trainer(algorithm: str) -> Trainer:
    """A fresh trainer of an algorithm in `TRAINERS`, or of a user's own, named ``module:Class``.

    Raises:
        TrainingError: a user's own cannot be imported or made.
    """
    module, _, name = TRAINERS.get(algorithm, algorithm).partition(":")
    try:
        made: Trainer = getattr(import_module(module), name)()
    except (ImportError, AttributeError, TypeError) as error:
        cure = "It must be importable wherever trials run, and be made without arguments"
        raise TrainingError(f"the trainer cannot be used: {error}", where=algorithm, cure=cure) from None
    return made
