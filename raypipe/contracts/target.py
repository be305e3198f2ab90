"""What a model predicts: truths, classes or numbers, and how they are written as numbers to learn from."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raypipe.contracts.records import Record

Task: TypeAlias = Literal["binary", "multiclass", "regression", "quantile", "count"]


class Target(Record, frozen=True, kw_only=True):
    """What is predicted.

    A model of ``binary`` gives the probability that the label is true, of ``multiclass`` one probability for each of
    ``classes``, and of the other tasks a number in the label's unit: its mean, the value that it stays below with the
    probability ``quantile``, or a mean count that is never negative.
    """

    task: Task = "binary"
    classes: tuple[str, ...] = ()
    quantile: float | None = None

    @property
    def numeric(self) -> bool:
        """True when labels are numbers, False when they are classes or truths."""
        return self.task not in {"binary", "multiclass"}

    def encode(self, labels: pl.Series) -> NDArray[np.float32]:
        """The labels as float32, shape (rows,): 0 or 1, the number of the class (-1: not among them), or themselves.

        >>> Target(task="multiclass", classes=("late", "on time")).encode(pl.Series(["on time", "late", "?"])).tolist()
        [1.0, 0.0, -1.0]
        """
        if self.task == "multiclass":
            codes = pl.Series(range(len(self.classes)), dtype=pl.Float32)
            labels = labels.cast(pl.String)
            return labels.replace_strict(list(self.classes), codes, default=-1.0, return_dtype=pl.Float32).to_numpy()
        return labels.cast(pl.Float32).to_numpy()


BINARY = Target()


def chosen(scores: NDArray[np.floating], costs: Sequence[Sequence[float]] = ()) -> NDArray[np.intp]:
    """The class of least expected cost of each row; without costs the most probable one.

    Args:
        scores: of shape (rows, classes).
        costs: what each answer costs, by truth and then by answer.

    >>> chosen(np.array([[0.4, 0.6]])).tolist(), chosen(np.array([[0.4, 0.6]]), [[0.0, 9.0], [1.0, 0.0]]).tolist()
    ([1], [0])
    """
    matrix = np.asarray(costs) if costs else 1 - np.eye(scores.shape[1])
    return np.asarray((scores.astype(float) @ matrix).argmin(axis=1))
