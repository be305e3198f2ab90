"""How good scores are: measures on pairs of truth and probability, and the uncertainty of the AUC."""

from collections.abc import Callable, Mapping
from importlib import import_module
from math import isfinite, sqrt

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from raypipe.contracts.target import BINARY, Target
from raypipe.errors import TrainingError, did_you_mean
from raypipe.spec.search import more_is_better
from raypipe.training.trainer import Scores, Vector

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


Measure = Callable[[Vector, Scores], float]
MEASURES: Mapping[str, Measure] = {
    "auc": roc_auc_score,
    "log_loss": log_loss,
    "brier": brier_score_loss,
    "average_precision": average_precision_score,
    "ece": calibration_error,
}


def _of_classes(scores: Scores) -> NDArray[np.float64]:
    """Probabilities whose rows add up to one in double precision too: scikit-learn asks for it."""
    exact = scores.astype(float)
    return np.asarray(exact / exact.sum(axis=1, keepdims=True))


def _class_auc(y: Vector, scores: Scores) -> float:
    """The mean over the classes that are there, each against all others."""
    there = [k for k in range(scores.shape[1]) if 0 < (y == k).sum() < len(y)]
    return float(np.mean([roc_auc_score(y == k, scores[:, k]) for k in there]))


def class_losses(y: Vector, scores: Scores) -> NDArray[np.float64]:
    """The log loss of each row; a class that training never saw has the smallest probability there is."""
    known = y >= 0
    p = _of_classes(scores)[np.arange(len(y)), np.maximum(y, 0).astype(int)]
    return np.asarray(-np.log(np.clip(np.where(known, p, 0.0), 1e-7, 1.0)))


CLASS_MEASURES: Mapping[str, Measure] = {
    "log_loss": lambda y, scores: float(class_losses(y, scores).mean()),
    "accuracy": lambda y, scores: float((scores.argmax(axis=1) == y).mean()),
    "auc": _class_auc,
}
NUMBER_MEASURES: Mapping[str, Measure] = {
    "rmse": lambda y, scores: sqrt(mean_squared_error(y.astype(float), scores)),
    "mae": lambda y, scores: float(mean_absolute_error(y.astype(float), scores)),
    "r2": lambda y, scores: float(r2_score(y.astype(float), scores)),
}


def measures_of(target: Target) -> Mapping[str, Measure]:
    """Every measure of a target, by name."""
    if target.task == "multiclass":
        return CLASS_MEASURES
    if target.task == "quantile":
        below = pinball(target.quantile or 0.5)
        return {**NUMBER_MEASURES, "pinball": lambda y, scores: float(below(y, scores).mean()), "below": _below_share}
    if target.task == "count":
        return {**NUMBER_MEASURES, "poisson_deviance": lambda y, scores: float(deviances(y, scores).mean())}
    return NUMBER_MEASURES if target.numeric else MEASURES


def pinball(quantile: float) -> Callable[[Vector, Scores], NDArray[np.float64]]:
    """The loss of each row that a quantile minimises: R. Koenker and G. Bassett, Econometrica 46, 1978."""

    def losses(y: Vector, scores: Scores) -> NDArray[np.float64]:
        above = y.astype(float) - scores
        return np.asarray(np.maximum(quantile * above, (quantile - 1) * above))

    return losses


def deviances(y: Vector, scores: Scores) -> NDArray[np.float64]:
    """The Poisson deviance of each row."""
    count, mean = y.astype(float), np.maximum(scores.astype(float), 1e-9)
    return np.asarray(2 * (np.where(count > 0, count * np.log(np.maximum(count, 1e-9) / mean), 0.0) - count + mean))


def _below_share(y: Vector, scores: Scores) -> float:
    """The share of labels at or below the answer; of a quantile it should be that quantile."""
    return float((y <= scores).mean())


def own_metric(path: str, where: str) -> Measure:
    """The function that ``module:function`` names.

    Raises:
        TrainingError: there is none.
    """
    module, _, name = path.partition(":")
    try:
        found: Measure = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        cure = "It must be importable wherever trials run: install its package there"
        raise TrainingError(f"the metric `{path}` cannot be used: {error}", where=where, cure=cure) from None
    return found


def check_metric(metric: str, where: str, target: Target = BINARY) -> None:
    """Raises TrainingError when there is no such metric."""
    known = measures_of(target)
    if ":" in metric:
        own_metric(metric, where)
    elif metric not in known:
        raise TrainingError(f"unknown metric `{metric}`", where=where, cure=did_you_mean(metric, known))


def measure(metric: str, y: Vector, scores: Scores, target: Target = BINARY) -> float:
    """One metric by name: a key of `measures_of`, or ``module:function``.

    Raises:
        TrainingError: a score is NaN or infinite, or the user's own metric is not a number.
    """
    if wrong := int((~np.isfinite(scores)).sum()):
        what = f"{wrong:,} of {len(scores):,} scores are NaN or infinite"
        raise TrainingError(what, cure="Training diverged: a lower learning rate may help")
    if ":" not in metric:
        return float(measures_of(target)[metric](y, scores))
    value = float(own_metric(metric, "metric")(y, scores))
    if not isfinite(value):
        raise TrainingError(f"the metric `{metric}` is {value}", cure="It must be a finite number")
    return value


def quality(y: Vector, scores: Scores, target: Target = BINARY, metric: str = "") -> dict[str, float]:
    """Every measure of a target, of truths ``auc``, ``log_loss``, ``brier``, ``average_precision`` and ``ece``.

    ``metric`` is told too, where it is a user's own.
    """
    names = [*measures_of(target), *([metric] if ":" in metric else [])]
    return {name: measure(name, y, scores, target) for name in names}


def goodness(metric: str, value: float) -> float:
    """The metric's value turned so that more is better."""
    return value if more_is_better(metric) else -value
