"""The smallest retraining there is: a slope and an offset on the score's log-odds, learned from recent labels.

J. Platt, "Probabilistic outputs for support vector machines", 1999. What it would have spared on later rows says how
stale a model is, whatever makes the rows of the season easy or hard: a lower bound on what training anew would gain.
"""

import numpy as np
from scipy.special import expit, logit

from raypipe.stats.shift import Floats

_STEPS = 12
#: Strength of the belief that scores are right as they are, in rows.
_PRIOR = 200.0


def fit(score: Floats, truth: Floats) -> tuple[float, float]:
    """Slope and offset that make scores fit what came true; (1, 0) without rows.

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
        gradient = rows.T @ (p - truth) + _PRIOR / 4 * (weights - start)
        curvature = (rows * (p * (1 - p))[:, None]).T @ rows + _PRIOR / 4 * np.eye(2)
        weights = weights - np.linalg.solve(curvature, gradient)
    return float(weights[0]), float(weights[1])


def apply(score: Floats, slope: float, offset: float) -> Floats:
    """The scores as they should have been."""
    moved: Floats = expit(slope * _log_odds(score) + offset)
    return moved


def _log_odds(score: Floats) -> Floats:
    odds: Floats = logit(np.clip(np.asarray(score, dtype=float), 1e-6, 1 - 1e-6))
    return odds
