"""The smallest retraining there is: a slope and an offset on the score's log-odds, learned from recent labels.

J. Platt, "Probabilistic outputs for support vector machines", 1999. What it would have spared on later rows says how
stale a model is, whatever makes the rows of the season easy or hard: a lower bound on what training anew would gain.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from scipy.special import expit, logit

from raypipe.stats.shift import Floats

_STEPS = 12
#: Strength of the belief that scores are right as they are, in rows.
_PRIOR = 200.0
#: Cells of the log-odds, of which so many make 1.
_CELLS = 16

#: Scores with their labels, added up: the cell of the log-odds, the rows in it, and how many of them were true.
Summed: TypeAlias = list[tuple[int, int, int]]


def summed(score: Floats, truth: Floats) -> Summed:
    """Scores with their labels in little room: what `fit_summed` needs of rows that are not at hand any more.

    >>> summed(np.array([0.5, 0.5, 0.9]), np.array([0.0, 1.0, 1.0]))
    [(0, 2, 1), (35, 1, 1)]
    """
    cells, place = np.unique(np.rint(_log_odds(score) * _CELLS).astype(int), return_inverse=True)
    rows, trues = np.bincount(place), np.bincount(place, weights=truth).astype(int)
    return list(zip(cells.tolist(), rows.tolist(), trues.tolist(), strict=True))


def fit_summed(parts: Sequence[Summed]) -> tuple[float, float]:
    """As `fit`, of rows that were added up."""
    cells = np.array([cell for part in parts for cell in part], dtype=float).reshape(-1, 3)
    return fit(expit(cells[:, 0] / _CELLS), cells[:, 2] / cells[:, 1], cells[:, 1])


def fit(score: Floats, truth: Floats, count: Floats | float = 1.0) -> tuple[float, float]:
    """Slope and offset that make scores fit what came true; (1, 0) without rows.

    Args:
        score: shape (rows,).
        truth: likewise, 0 or 1, or the share that was true.
        count: how many rows each stands for.

    >>> slope, offset = fit(np.full(5_000, 0.5), np.arange(5_000) % 4 == 0)
    >>> round(float(apply(np.array([0.5]), slope, offset)[0]), 2)
    0.26
    """
    x = _log_odds(score)
    rows = np.column_stack([x, np.ones(len(x))])
    start = np.array([1.0, 0.0])
    weights = start.copy()
    for _ in range(_STEPS):
        p = expit(rows @ weights)
        gradient = rows.T @ (count * (p - truth)) + _PRIOR / 4 * (weights - start)
        curvature = (rows * (count * p * (1 - p))[:, None]).T @ rows + _PRIOR / 4 * np.eye(2)
        weights = weights - np.linalg.solve(curvature, gradient)
    return float(weights[0]), float(weights[1])


def apply(score: Floats, slope: float, offset: float) -> Floats:
    """The scores as they should have been."""
    moved: Floats = expit(slope * _log_odds(score) + offset)
    return moved


def _log_odds(score: Floats) -> Floats:
    odds: Floats = logit(np.clip(np.asarray(score, dtype=float), 1e-6, 1 - 1e-6))
    return odds
