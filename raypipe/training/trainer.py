"""What an algorithm must do to take part in a search: a Protocol of three methods."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from raypipe.contracts.signature import Signature
from raypipe.contracts.target import BINARY, Target
from raypipe.spec.search import Constant, Metric

if TYPE_CHECKING:
    from raypipe.training.rows import Source

Matrix: TypeAlias = NDArray[np.float32]
Vector: TypeAlias = NDArray[np.float32]
#: One score a row, or of classes one probability each: float32 (rows,) or (rows, classes).
Scores: TypeAlias = NDArray[np.float32]
Params: TypeAlias = dict[str, Constant]

#: A model keeps one core busy but asks for half, so that as many trials as cores run beside Serve replicas, which hold
#: a tenth each for good. How many run at once is bounded by the search.
CPUS = 0.5
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

    def where(self, own: NDArray[np.bool_]) -> "Examples":
        """Those for which ``own``, shape (rows,), is true."""
        return Examples(self.x[own], self.y[own], None if self.w is None else self.w[own])


def unreported(step: int, value: float) -> None:
    """Nobody listens."""


def untold(scores: Scores) -> None:
    """Nobody asks."""


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
        source: rows that are not in memory, to learn from in place of ``train``, which is empty then. Given only to
            trainers that spread over workers.
        cpus, gpus: what the model may use; of several workers, each of them.
        scratch: where a training that is spread keeps what it needs to go on; every node sees it under this path.
        scored: takes what the model says of ``tune``, where a trainer knows it without predicting. It need not be told.
    """

    train: Examples
    tune: Examples | None
    signature: Signature
    metric: Metric
    seed: int = 0
    report: Callable[[int, float], None] = unreported
    target: Target = BINARY
    source: "Source | None" = None
    cpus: float = CPUS
    gpus: float = 0.0
    scratch: Path | None = None
    scored: Callable[[Scores], None] = untold


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
