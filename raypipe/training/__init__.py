"""From a training set to the best model: one search over all algorithms, and one honest judgement at its end."""

from raypipe.training.again import refit, rehearse
from raypipe.training.search import search
from raypipe.training.trainer import Examples, Task, Trainer

__all__ = ["Examples", "Task", "Trainer", "refit", "rehearse", "search"]
