"""What answers are measured by: what each one loses, which ones count as errors, and what was to be expected.

A model of truths is measured by its log loss and the decisions that were wrong; a model of classes likewise, where the
truth is that the class it answers is right. A model of numbers is measured by its squared error, or of a quantile by
the pinball loss, and an answer counts as an error when it loses more than nine of ten did when the model was judged.
"""

import zlib
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from raypipe.contracts.judged import Judged, JudgedNumbers, sliced, slices
from raypipe.stats import offset, recalibrate
from raypipe.stats.estimate import calibrate, expected_log_loss, log_loss, log_loss_variance, point_loss
from raypipe.stats.recalibrate import Summed
from raypipe.stats.shift import Floats


class Yardstick(Protocol):
    """Measures answers; ``score`` and ``truth`` are of shape (rows,)."""

    @property
    def judged(self) -> Judged | JudgedNumbers:
        """How the model did on the rows it was judged on."""
        ...

    def wrong(self, score: Floats, truth: Floats) -> NDArray[np.bool_]:
        """Which answers count as errors."""
        ...

    def losses(self, score: Floats, truth: Floats) -> Floats:
        """What each loses."""
        ...

    def expected(self, score: Floats) -> Floats:
        """What each is expected to lose, by what such answers did when the model was judged."""
        ...

    def chance(self, score: Floats) -> Floats:
        """How far that spreads: the variance of each loss."""
        ...

    def unsure(self, score: Floats) -> float:
        """The variance of the mean expected loss of these answers that comes of the rows it was judged on."""
        ...

    def mark(self, truth: Floats) -> int:
        """Another number when a label was corrected, as good as surely."""
        ...

    def summed(self, score: Floats, truth: Floats) -> Summed:
        """Answers with their labels in little room, to learn the smallest retraining from."""
        ...

    def spared(self, score: Floats, truth: Floats, usual: Sequence[Summed]) -> float:
        """Log loss that the smallest retraining on earlier rows would have spared on these, summed."""
        ...


class Truths:
    """Of a probability that something is true.

    >>> truths = Truths(Judged.of(np.array([0.0, 1.0]), np.array([0.2, 0.9])))
    >>> truths.wrong(np.array([0.7, 0.7]), np.array([0.0, 1.0])).tolist()
    [True, False]
    """

    def __init__(self, judged: Judged) -> None:
        self.judged = judged

    @cached_property
    def _calibrated(self) -> Floats:
        return calibrate(np.array(self.judged.rows), np.array(self.judged.trues))

    def _likely(self, score: Floats) -> Floats:
        found: Floats = self._calibrated[slices(score)]
        return found

    def wrong(self, score: Floats, truth: Floats) -> NDArray[np.bool_]:
        """Whether it is on the wrong side of the threshold."""
        found: NDArray[np.bool_] = (score >= self.judged.threshold) != (truth > 0.5)
        return found

    def losses(self, score: Floats, truth: Floats) -> Floats:
        """Log loss."""
        return log_loss(truth, score)

    def expected(self, score: Floats) -> Floats:
        """Where a score of s was right in a share r of cases, it is expected to be so again."""
        return expected_log_loss(self._likely(score), score)

    def chance(self, score: Floats) -> Floats:
        """The variance of a log loss whose truth is drawn."""
        return log_loss_variance(self._likely(score), score)

    def unsure(self, score: Floats) -> float:
        """The shares r are known from few rows each."""
        expected, rows = self._calibrated, np.maximum(np.array(self.judged.rows), 1)
        weights = np.bincount(slices(score), weights=logit(score.clip(1e-7, 1 - 1e-7)), minlength=len(expected))
        return float(((weights / len(score)) ** 2 * expected * (1 - expected) / rows).sum())

    def mark(self, truth: Floats) -> int:
        """How many are true: with the errors that tells which were corrected."""
        return int(truth.sum())

    def summed(self, score: Floats, truth: Floats) -> Summed:
        """By the score's log-odds."""
        return recalibrate.summed(score, truth)

    def spared(self, score: Floats, truth: Floats, usual: Sequence[Summed]) -> float:
        """By a slope and an offset on the log-odds."""
        moved = recalibrate.apply(score, *recalibrate.fit_summed(usual))
        return float((log_loss(truth, score) - log_loss(truth, moved)).sum())


class Numbers:
    """Of an answer in the label's unit.

    >>> numbers = Numbers(JudgedNumbers.of(np.arange(10.0), np.zeros(10)))
    >>> numbers.wrong(np.array([20.0, 20.0]), np.array([12.0, 11.0])).tolist()
    [False, True]
    """

    def __init__(self, judged: JudgedNumbers) -> None:
        self.judged = judged
        self._starts, self._losses = np.array(judged.starts), np.array(judged.losses)
        self._spreads, self._rows = np.array(judged.spreads), np.array(judged.rows)
        usual = max(judged.loss, float(np.finfo(np.float32).tiny))
        # As log loss: of normal errors half the square in units of the variance, of a quantile Laplace's law.
        squared = judged.quantile is None
        self._unit: float = usual**0.5 if squared else usual
        self._nats: float = 2 * usual if squared else usual

    def wrong(self, score: Floats, truth: Floats) -> NDArray[np.bool_]:
        """Whether it loses more than nine of ten did."""
        found: NDArray[np.bool_] = self.losses(score, truth) > self.judged.limit
        return found

    def losses(self, score: Floats, truth: Floats) -> Floats:
        """Squared error, or pinball loss."""
        return point_loss(truth, score, self.judged.quantile)

    def expected(self, score: Floats) -> Floats:
        """What answers of about this size lost."""
        found: Floats = self._losses[sliced(score, self._starts)]
        return found

    def chance(self, score: Floats) -> Floats:
        """How far the losses of answers of about this size spread."""
        found: Floats = self._spreads[sliced(score, self._starts)]
        return found

    def unsure(self, score: Floats) -> float:
        """The mean loss of each size is known from few rows."""
        share = np.bincount(sliced(score, self._starts), minlength=len(self._rows)) / len(score)
        return float((share**2 * self._spreads / self._rows).sum())

    def mark(self, truth: Floats) -> int:
        """A checksum."""
        return zlib.crc32(truth.tobytes())

    def summed(self, score: Floats, truth: Floats) -> Summed:
        """By how far they are off."""
        return offset.summed(truth - score, self._unit)

    def spared(self, score: Floats, truth: Floats, usual: Sequence[Summed]) -> float:
        """By an offset on the answer."""
        moved = score + offset.fit(usual, self._unit, self.judged.quantile)
        return float((self.losses(score, truth) - self.losses(moved, truth)).sum() / self._nats)


def yardstick(judged: Judged | JudgedNumbers) -> Yardstick:
    """What the answers of a model are measured by."""
    return Truths(judged) if isinstance(judged, Judged) else Numbers(judged)
