"""A model in memory from settled parameters: what a challenger is made by when nothing is searched anew."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from raypipe.contracts.signature import Signature
from raypipe.contracts.target import BINARY, Target
from raypipe.spec import Pipeline
from raypipe.training.data import examples, learn_signature
from raypipe.training.space import Space
from raypipe.training.trainer import Matrix, Params, Scores, Task, Trainer
from raypipe.training.trainers import trainer


@dataclass(frozen=True)
class Recipe:
    """An algorithm with parameters that need no tuning period any more."""

    algorithm: str
    params: Params


class Answers(Protocol):
    """What gives a score for each row of an encoded matrix, float32 (rows,), or of classes (rows, classes)."""

    def score(self, x: Matrix) -> Scores:
        """The scores."""
        ...


@dataclass(frozen=True)
class Fitted:
    """A model that was fitted in this process. It answers as its trainer does, with no calibration after it."""

    signature: Signature
    trainer: Trainer

    def score(self, x: Matrix) -> Scores:
        """The scores of an encoded matrix, float32 (rows,), or of classes (rows, classes)."""
        return self.trainer.predict(x)


def settle(pipeline: Pipeline, train: pl.DataFrame, tune: pl.DataFrame, target: Target) -> Recipe:
    """The recipe of a pipeline that has no champion yet: its first algorithm's own defaults, stopped early on ``tune``.

    Raises:
        TrainingError: the rows cannot teach anything, or the trainer fails.
    """
    algorithm, defaults = next(iter(Space.of(pipeline.search).algorithms.items()))
    params = {name: default.first for name, default in defaults.items()}
    signature = learn_signature(train, pipeline.feature_names, pipeline.name)
    first, then = (examples(some, signature, target) for some in (train, tune))
    task = Task(first, then, signature, pipeline.search.metric, pipeline.search.seed, target=target)
    with threadpool_limits(1):
        return Recipe(algorithm, params | trainer(algorithm).fit(task, dict(params)))


def fit(recipe: Recipe, pipeline: Pipeline, rows: pl.DataFrame, target: Target = BINARY) -> Fitted:
    """Fit on rows of features and ``label``, in order of time; the same rows and recipe give the same model.

    Raises:
        TrainingError: the rows cannot teach anything, or the trainer fails.
    """
    signature = learn_signature(rows, pipeline.feature_names, pipeline.name)
    model = trainer(recipe.algorithm)
    search = pipeline.search
    task = Task(examples(rows, signature, target), None, signature, search.metric, search.seed, target=target)
    with threadpool_limits(1):
        model.fit(task, dict(recipe.params))
    return Fitted(signature, model)


def importance(model: Answers, x: Matrix, rows: int = 500) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """By how much the score moves, on average, when one input's values change places; shape (inputs,)."""
    some = x[np.linspace(0, len(x) - 1, min(rows, len(x))).astype(int)]
    plain, order = model.score(some), np.random.default_rng(0).permutation(len(some))
    moved = np.zeros(x.shape[1])
    for i in range(x.shape[1]):
        changed = some.copy()
        changed[:, i] = some[order, i]
        moved[i] = np.abs(model.score(changed) - plain).mean(dtype=float)
    return moved
