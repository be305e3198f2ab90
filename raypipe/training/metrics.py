"""How good scores are: measures on pairs of truth and probability, and the uncertainty of the AUC."""

from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from raypipe.errors import TrainingError, did_you_mean
from raypipe.spec.search import HIGHER_IS_BETTER
from raypipe.training.trainer import Vector

#: Groups of equally many rows that `calibration_error` compares.
BINS = 15


def calibration_error(y: Vector, scores: Vector) -> float:
    """Expected calibration error: how far the mean score is from the share of trues, over groups of equal size.

    >>> y = np.array([0, 0, 0, 1], dtype=np.float32)
    >>> calibration_error(y, np.full(4, 0.25, dtype=np.float32)) < 0.4
    True
    """
    order = np.argsort(scores, kind="stable")
    groups = [group for group in np.array_split(order, BINS) if len(group)]
    gaps = [abs(float(y[group].mean(dtype=float) - scores[group].mean(dtype=float))) * len(group) for group in groups]
    return sum(gaps) / len(y)


MEASURES: dict[str, Callable[[Vector, Vector], float]] = {
    "auc": roc_auc_score,
    "log_loss": log_loss,
    "brier": brier_score_loss,
    "average_precision": average_precision_score,
    "ece": calibration_error,
}


def check_metric(metric: str, where: str) -> None:
    """Raises TrainingError when there is no such metric."""
    if metric not in MEASURES:
        raise TrainingError(f"unknown metric `{metric}`", where=where, cure=did_you_mean(metric, MEASURES))


def measure(metric: str, y: Vector, scores: Vector) -> float:
    """One metric by name: a key of `MEASURES`.

    Raises:
        TrainingError: a score is NaN or infinite.
    """
    if wrong := int((~np.isfinite(scores)).sum()):
        what = f"{wrong:,} of {len(scores):,} scores are NaN or infinite"
        raise TrainingError(what, cure="Training diverged: a lower learning rate may help")
    return float(MEASURES[metric](y, scores))


def quality(y: Vector, scores: Vector) -> dict[str, float]:
    """Every metric: ``auc``, ``log_loss``, ``brier``, ``average_precision``, ``ece``."""
    return {name: measure(name, y, scores) for name in MEASURES}


def goodness(metric: str, value: float) -> float:
    """The metric's value turned so that more is better."""
    return value if metric in HIGHER_IS_BETTER else -value


def auc_interval(y: Vector, scores: Vector, level: float = 0.95) -> tuple[float, float]:
    """The interval that holds the AUC with this probability.

    E. DeLong et al., "Comparing the areas under two or more correlated receiver operating characteristic curves",
    Biometrics 44, 1988. The AUC is the mean share of falses that a true outranks, a tie counting half; its variance
    comes from how that share varies over trues, and over falses.
    """
    trues, falses = np.sort(scores[y > 0.5]), np.sort(scores[y <= 0.5])
    outranked, outranking = _below(trues, falses), 1.0 - _below(falses, trues)
    auc = float(outranked.mean())
    variance = _variance(outranked) / len(trues) + _variance(outranking) / len(falses)
    half = float(ndtri((1 + level) / 2)) * sqrt(variance)
    return max(0.0, auc - half), min(1.0, auc + half)


def _below(values: Vector, others: Vector) -> NDArray[np.float64]:
    """For each value the share of ``others``, which are sorted, that lies below it."""
    both = np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")
    return both / (2 * len(others))


def _variance(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0
