"""How a model did on the rows that it was judged on: what its later answers are compared with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raypipe.contracts.records import Record
from raypipe.contracts.target import Target, chosen
from raypipe.stats.estimate import log_loss, point_loss

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Slices of the answer, by which it is told what came true: of a score equal ones, of a number equally many rows.
SLICES = 64
#: An answer in numbers counts as an error when it loses more than so large a share did when the model was judged.
USUAL = 0.9


class Judged(Record, frozen=True, kw_only=True):
    """How a model of truths did; a model of classes likewise, where the truth is that the class it answers is right.

    Attributes:
        loss: the mean log loss.
        error: the share on the wrong side of the threshold.
        threshold: from which score on the answer is true; of classes 0: each answer says that it is right.
        rows: how many there were in each slice of the score, see `SLICES`.
        trues: how many labels of each slice were true.
    """

    loss: float
    error: float
    threshold: float
    rows: tuple[int, ...]
    trues: tuple[int, ...]

    @classmethod
    def of(cls, truth: Floats, score: Floats, threshold: float = 0.5) -> "Judged":
        """From labels, 0 or 1, and scores; shape (rows,).

        >>> Judged.of(np.array([0.0, 1.0]), np.array([0.9, 0.9])).error
        0.5
        """
        cells = slices(score)
        trues = np.bincount(cells, weights=truth, minlength=SLICES).astype(np.int64)
        return cls(
            loss=float(log_loss(truth, score).mean()),
            error=float(((score >= threshold) != (truth > 0.5)).mean()),
            threshold=threshold,
            rows=tuple(np.bincount(cells, minlength=SLICES).tolist()),
            trues=tuple(trues.tolist()),
        )


def slices(score: Floats) -> Ints:
    """The slice of each score."""
    return np.clip((score * SLICES).astype(np.int64), 0, SLICES - 1)


class JudgedNumbers(Record, frozen=True, kw_only=True):
    """How a model that answers numbers did.

    Attributes:
        loss: the mean loss: the squared error, of a quantile the pinball loss.
        error: the share of answers that lost more than ``limit``.
        limit: what is an error: nine answers of ten lost no more.
        quantile: that is answered; None: the mean.
        starts: where each slice of the answers starts, rising; what lies below belongs to the first.
        rows: how many there were in each slice.
        losses: the mean loss of each slice,
        spreads: and the variance of its losses.
    """

    loss: float
    error: float
    limit: float
    quantile: float | None
    starts: tuple[float, ...]
    rows: tuple[int, ...]
    losses: tuple[float, ...]
    spreads: tuple[float, ...]

    @classmethod
    def of(cls, truth: Floats, answer: Floats, quantile: float | None = None) -> "JudgedNumbers":
        """From labels and answers, shape (rows,).

        >>> found = JudgedNumbers.of(np.arange(10.0), np.zeros(10))
        >>> found.loss, found.limit, found.error
        (28.5, 64.0, 0.1)
        """
        lost = point_loss(truth, answer, quantile)
        limit = float(np.quantile(lost, USUAL, method="inverted_cdf"))
        cuts = np.sort(answer)[np.arange(SLICES) * len(answer) // SLICES]
        starts = np.unique(cuts)
        place = sliced(answer, starts)
        rows = np.bincount(place, minlength=len(starts))
        means = np.bincount(place, weights=lost, minlength=len(starts)) / rows
        squares = np.bincount(place, weights=(lost - means[place]) ** 2, minlength=len(starts)) / rows
        return cls(
            loss=float(lost.mean()),
            error=float((lost > limit).mean()),
            limit=limit,
            quantile=quantile,
            starts=tuple(starts.tolist()),
            rows=tuple(rows.tolist()),
            losses=tuple(means.tolist()),
            spreads=tuple(squares.tolist()),
        )


def judged(
    target: Target,
    truth: Floats,
    scores: NDArray[np.floating],
    threshold: float = 0.5,
    costs: Sequence[Sequence[float]] = (),
) -> Judged | JudgedNumbers:
    """How a model did, whatever it predicts.

    Args:
        target: what that is.
        truth: encoded labels, shape (rows,).
        scores: shape (rows,), or of classes (rows, classes).
        threshold: from which score on an answer is true.
        costs: of classes: what each answer costs, by truth and then by answer.
    """
    if target.numeric:
        return JudgedNumbers.of(truth, scores.astype(float), target.quantile)
    if not target.classes:
        return Judged.of(truth, scores.astype(float), threshold)
    answer = chosen(scores, costs)
    # Each answer says that it is right, however sure it is.
    return Judged.of((answer == truth).astype(float), sure(scores, answer), threshold=0.0)


def sure(scores: NDArray[np.floating], answer: NDArray[np.intp]) -> Floats:
    """How sure a model is of the class that it answers, shape (rows,)."""
    return scores[np.arange(len(scores)), answer].astype(float)


def sliced(answer: Floats, starts: Floats) -> Ints:
    """The slice of each answer in numbers."""
    return np.maximum(np.searchsorted(starts, answer, side="right") - 1, 0)
