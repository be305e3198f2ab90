"""What a model says of the past, each row answered once, beside what came true of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.contracts import bins
from raypipe.contracts.judged import sure
from raypipe.contracts.target import chosen
from raypipe.flows.replay.past import Past
from raypipe.stats.shift import Floats
from raypipe.training.trainer import Scores


class Answers(NamedTuple):
    """Of some rows, each of shape (rows,).

    Attributes:
        score: the probability, the number, or how sure it was of the class that it answered.
        truth: 0 or 1, the number, or whether that class was right.
        counted: as the answer is counted, see `raypipe.contracts.bins.answers`.
    """

    score: Floats
    truth: Floats
    counted: NDArray[np.float32]


class Answered:
    """The answers of one model.

    Args:
        past: what was asked.
        costs: of classes: what each answer costs, by truth and then by answer.
    """

    def __init__(self, past: Past, costs: Sequence[Sequence[float]] = ()) -> None:
        self._past, self._costs = past, costs
        self._score, self._counted = np.full(len(past.at), np.nan), np.zeros(len(past.at), np.float32)
        self._truth = past.truth.copy()

    def of(self, rows: slice, score: Callable[[], Scores]) -> Answers:
        """Its answers; ``score`` gives its scores of them if they are needed, (rows,) or of classes (rows, classes)."""
        if np.isnan(self._score[rows]).any():
            self._fill(rows, score())
        return Answers(self._score[rows].copy(), self._truth[rows].copy(), self._counted[rows].copy())

    def _fill(self, rows: slice, scores: Scores) -> None:
        self._counted[rows] = bins.answers(scores)
        if self._past.target.classes:
            answer = chosen(scores, self._costs)
            self._score[rows], self._truth[rows] = sure(scores, answer), answer == self._past.truth[rows]
        else:
            self._score[rows] = scores
