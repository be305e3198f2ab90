"""How good a model is while labels are missing: what its calibrated scores expect, corrected by the labels there are.

Confidence-based estimation: where a score of s was right in a share r of cases, it is expected to be so again. That is
blind to a change of what the inputs mean, so the labels that are there correct it. A. Angelopoulos et al.,
"Prediction-powered inference", Science 382, 2023: unbiased whatever the scores are worth.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from raypipe.stats.arrays import Ints

Floats: TypeAlias = NDArray[np.float64]
#: So many labels is the spread of losses worth that the scores lead to expect.
_KNOWN = 4


@dataclass(frozen=True)
class Estimate:
    """A mean with the interval that holds it 19 times out of 20, from so many rows."""

    value: float
    low: float
    high: float
    rows: int


def wilson(wrong: int, rows: int, level: float = 0.95) -> Estimate:
    """A share and its interval. E. B. Wilson, JASA 22, 1927.

    >>> round(wilson(0, 10).low, 3), round(wilson(0, 10).high, 3)
    (0.0, 0.278)
    """
    if not rows:
        return Estimate(float("nan"), 0.0, 1.0, 0)
    z, p = NormalDist().inv_cdf((1 + level) / 2), wrong / rows
    middle, half = p + z * z / (2 * rows), z * sqrt(p * (1 - p) / rows + z * z / (4 * rows * rows))
    scale = 1 + z * z / rows
    return Estimate(p, max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale), rows)


def mean(values: Floats, level: float = 0.95) -> Estimate:
    """A mean and its interval by the normal law."""
    return _interval(float(values.mean()), float(values.var()) / max(len(values), 1), len(values), level)


def calibrate(rows: Ints, trues: Ints) -> Floats:
    """The probability of a true label in each cell of the score, never falling from cell to cell.

    Isotonic regression by pooling adjacent violators. Cells without rows take the value of the ones around them.

    Args:
        rows: how many rows of the reference lie in each cell, in rising order of the score.
        trues: how many of them were true.

    >>> calibrate(np.array([10, 0, 10, 10]), np.array([1, 0, 5, 3])).tolist()
    [0.1, 0.25, 0.4, 0.4]
    """
    blocks: list[list[float]] = []
    at = np.flatnonzero(rows)
    for place in at:
        blocks.append([float(rows[place]), float(trues[place]), 1])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][0] >= blocks[-1][1] * blocks[-2][0]:
            n, k, size = blocks.pop()
            blocks[-1] = [blocks[-1][0] + n, blocks[-1][1] + k, blocks[-1][2] + size]
    values = np.concatenate([np.full(int(size), k / n) for n, k, size in blocks]) if blocks else np.zeros(0)
    return np.interp(np.arange(len(rows)), at, values) if len(at) else np.full(len(rows), 0.5)


def expected_log_loss(probability: Floats, score: Floats) -> Floats:
    """The log loss that a score is expected to have, were the label true with this probability.

    >>> expected_log_loss(np.array([0.5]), np.array([0.5])).round(4).tolist()
    [0.6931]
    """
    score = np.clip(score, 1e-7, 1 - 1e-7)
    return -(probability * np.log(score) + (1 - probability) * np.log1p(-score))


def log_loss_variance(probability: Floats, score: Floats) -> Floats:
    """How far the log loss of a score spreads about what is expected, were the label true with this probability.

    >>> log_loss_variance(np.array([0.25]), np.array([0.5])).tolist()
    [0.0]
    """
    score = np.clip(score, 1e-7, 1 - 1e-7)
    spread: Floats = probability * (1 - probability) * (np.log(score) - np.log1p(-score)) ** 2
    return spread


def corrected(
    expected: Floats, labelled: Floats, realised: Floats, chance: Floats, unsure: float = 0.0, level: float = 0.95
) -> Estimate:
    """The mean loss of rows such as these: the expected one, moved by how wrong it was where labels are known.

    A few labels that happen to agree do not make it certain: their losses are taken to spread at least as far as chance
    alone would have them, and the interval is Student's.

    Args:
        expected: of every row, shape (n,).
        labelled: the same of the rows that have a label, shape (m,).
        realised: what these turned out to lose.
        chance: the variance that each of these losses was expected to have, see `log_loss_variance`.
        unsure: the variance of the mean of ``expected`` because it was learned from rows; labels make up for that.
        level: of the interval.
    """
    if not len(expected):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    value, variance, m = float(expected.mean()), float(expected.var()) / len(expected), len(labelled)
    if not m:
        return _interval(value, variance + unsure, len(expected), level)
    gap = realised - labelled
    seen = float(gap.var(ddof=1)) if m > 1 else 0.0
    # What is known of the spread before any label counts as much as a few of them.
    half = float(stdtrit(m - 1 + _KNOWN, (1 + level) / 2)) * sqrt(variance + max(seen, float(chance.mean())) / m)
    value += float(gap.mean())
    return Estimate(value, value - half, value + half, len(expected))


def log_loss(truth: Floats, score: Floats) -> Floats:
    """Of each row; scores are kept 1e-7 away from certainty, as float32 has no more digits."""
    return expected_log_loss(truth, score)


def point_loss(truth: Floats, answer: Floats, quantile: float | None = None) -> Floats:
    """What answers in numbers lose, each: the squared error, or of a quantile the pinball loss.

    R. Koenker, G. Bassett, "Regression quantiles", Econometrica 46, 1978.

    >>> point_loss(np.array([3.0, 1.0]), np.array([1.0, 3.0])).tolist()
    [4.0, 4.0]
    >>> point_loss(np.array([3.0, 1.0]), np.array([1.0, 3.0]), quantile=0.75).tolist()
    [1.5, 0.5]
    """
    gap = truth - answer
    return gap**2 if quantile is None else np.maximum(quantile * gap, (quantile - 1) * gap)


def _interval(value: float, variance: float, rows: int, level: float) -> Estimate:
    half = NormalDist().inv_cdf((1 + level) / 2) * sqrt(variance)
    return Estimate(value, value - half, value + half, rows)
