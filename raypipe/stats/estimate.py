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

from raypipe.stats.exact import Ints

Floats: TypeAlias = NDArray[np.float64]


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


def corrected(expected: Floats, labelled: Floats, realised: Floats, level: float = 0.95) -> Estimate:
    """The mean loss of all rows: the expected one, moved by how wrong it was where labels are known.

    Args:
        expected: of every row, shape (n,).
        labelled: the same of the rows that have a label, shape (m,).
        realised: what these turned out to lose.
        level: of the interval.
    """
    if not len(expected):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    value, variance = float(expected.mean()), float(expected.var()) / len(expected)
    if len(labelled):
        gap = realised - labelled
        value, variance = value + float(gap.mean()), variance + float(gap.var()) / len(gap)
    return _interval(value, variance, len(expected), level)


def log_loss(truth: Floats, score: Floats) -> Floats:
    """Of each row; scores are kept 1e-7 away from certainty, as float32 has no more digits."""
    return expected_log_loss(truth, score)


def _interval(value: float, variance: float, rows: int, level: float) -> Estimate:
    half = NormalDist().inv_cdf((1 + level) / 2) * sqrt(variance)
    return Estimate(value, value - half, value + half, rows)
