"""What an algorithm must do to take part in a search: a Protocol of three methods."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from raypipe.contracts.signature import Signature
from raypipe.contracts.target import BINARY, Target
from raypipe.spec.search import Constant, Metric

Matrix: TypeAlias = NDArray[np.float32]
Vector: TypeAlias = NDArray[np.float32]
#: One score a row, or of classes one probability each: float32 (rows,) or (rows, classes).
Scores: TypeAlias = NDArray[np.float32]
Params: TypeAlias = dict[str, Constant]

#: Trainers that learn in steps report this many times, evenly spread over their budget.
STEPS = 10


@dataclass(frozen=True)
class Examples:
    """Rows to learn from, or to be judged on.

    ``x`` is float32 (rows, columns) as `Signature.encode` makes it, NaN where a number is missing; ``y`` is float32
    (rows,), as `Target.encode` makes it. ``w`` says how much each row counts, float32 (rows,); None: all the same.
    """

    x: Matrix
    y: Vector
    w: Vector | None = None

    def rows(self, start: int, end: int) -> "Examples":
        """Some of them, in order."""
        return Examples(self.x[start:end], self.y[start:end], None if self.w is None else self.w[start:end])


def unreported(step: int, value: float) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Task:
    """What a trainer is asked to do.

    Attributes:
        train: what to learn from.
        tune: what to stop early on. None: there is nothing to stop on, use the parameters as they are.
        signature: the columns of ``x``: which of them are categories, and how many codes each has.
        metric: what is best, for stopping early.
        seed: the same seed, task and parameters give the same model.
        target: what is predicted.
        report: takes the step, 1 to `STEPS`, and the metric on ``tune``. It may raise to stop the training.
    """

    train: Examples
    tune: Examples | None
    signature: Signature
    metric: Metric
    seed: int = 0
    report: Callable[[int, float], None] = unreported
    target: Target = BINARY


class Trainer(Protocol):
    """One model in the making. Uses one thread: trials run side by side.

    A trainer that raises, returns NaN, or whose ONNX file answers otherwise than `predict`, fails its trial.
    """

    def fit(self, task: Task, params: Params) -> Params:
        """Learn.

        Args:
            task: the data, and when to stop.
            params: every parameter by name, the algorithm's defaults included.

        Returns:
            What early stopping settled, such as the number of rounds: ``params`` to be used when the model is fitted
            again on more data with no ``tune``. Empty when nothing was settled.
        """
        ...

    def predict(self, x: Matrix) -> Scores:
        """The scores, float32, by the algorithm's own library: what `Target` says.

        Shape (rows,): the probability that the label is true, or a number; of classes (rows, classes).
        """
        ...

    def save(self, folder: Path) -> None:
        """Write ``model.onnx`` and the algorithm's own format into an empty folder.

        ``model.onnx`` takes ``x`` float32 (rows, columns) and gives ``score`` float32: what `predict` gives.
        The same model gives the same bytes. No file may run code when it is read.
        """
        ...
