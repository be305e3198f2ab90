"""How far a measure may be from what it would be on other rows of the same kind: a bootstrap over blocks of rows.

Rows of one day share their weather and their jams, so days are drawn, not rows: B. Efron and R. Tibshirani, "An
Introduction to the Bootstrap", 1993; for dependent rows H. Künsch, Annals of Statistics 17, 1989. A draw only changes
how often a row counts, so each measure is computed from sorted sums, in a millisecond.
"""

from collections.abc import Callable, Mapping
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from raypipe.contracts.evaluation import Interval
from raypipe.contracts.target import Target
from raypipe.training.metrics import class_losses, deviances, pinball
from raypipe.training.trainer import Scores, Vector

DRAWS = 200
LEVEL = 0.95
#: With fewer days than this, rows are drawn.
FEWEST = 10

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Weighted = Callable[[Floats], float]
_DAY = 86_400_000_000


def blocks_of(asked_at: Ints | None, rows: int) -> Ints:
    """The number of each row's block, from 0: its day, or the row itself where there are too few days."""
    if asked_at is not None:
        days, block = np.unique(asked_at // _DAY, return_inverse=True)
        if len(days) >= FEWEST:
            return np.asarray(block, dtype=np.int64)
    return np.arange(rows)


def intervals(values: Mapping[str, float], measures: Mapping[str, Weighted], blocks: Ints) -> dict[str, Interval]:
    """Each value with its interval.

    Args:
        values: by name, as measured.
        measures: by name, what gives the same measure when rows count as often as the weights say, shape (rows,).
        blocks: the block of each row.
    """
    rng, count = np.random.default_rng(0), int(blocks.max()) + 1
    drawn: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(DRAWS):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)[blocks].astype(float)
        for name, measure in measures.items():
            drawn[name].append(measure(weights))
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    found = {}
    for name, draws in drawn.items():
        low, high = np.nanquantile(draws, tails)
        found[name] = Interval(
            value=values[name], low=min(float(low), values[name]), high=max(float(high), values[name])
        )
    return found


def binary(y: Vector, scores: Vector) -> dict[str, Weighted]:
    """The measures of truth and probability, ready to be weighed."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) > 0))
    truth, p = y.astype(float), np.clip(scores.astype(float), 1e-7, 1 - 1e-7)
    losses = -np.where(truth > 0.5, np.log(p), np.log(1 - p))

    def tied(weights: Floats) -> tuple[Floats, Floats]:
        w = weights[order]
        return np.add.reduceat(w * truth[order], starts), np.add.reduceat(w * (1 - truth[order]), starts)

    def auc(weights: Floats) -> float:
        trues, falses = tied(weights)
        pairs = trues.sum() * falses.sum()
        return float((trues * (np.cumsum(falses) - falses / 2)).sum() / pairs) if pairs else np.nan

    def average_precision(weights: Floats) -> float:
        trues, falses = (part[::-1] for part in tied(weights))
        found, said = np.cumsum(trues), np.cumsum(trues + falses)
        return float((trues * found / np.maximum(said, 1)).sum() / found[-1]) if found[-1] else np.nan

    return {
        "auc": auc,
        "average_precision": average_precision,
        "log_loss": mean_of(losses),
        "brier": mean_of((scores.astype(float) - truth) ** 2),
    }


def others(y: Vector, scores: Scores, target: Target) -> dict[str, Weighted]:
    """The measures of classes and of numbers, ready to be weighed."""
    if target.task == "multiclass":
        right = (scores.argmax(axis=1) == y).astype(float)
        return {"log_loss": mean_of(class_losses(y, scores)), "accuracy": mean_of(right)}
    gaps = y.astype(float) - scores.astype(float)
    squares = mean_of(gaps**2)
    found: dict[str, Weighted] = {"rmse": lambda weights: sqrt(squares(weights)), "mae": mean_of(np.abs(gaps))}
    if target.quantile is not None:
        found |= {"pinball": mean_of(pinball(target.quantile)(y, scores)), "below": mean_of((gaps <= 0).astype(float))}
    return found | ({"poisson_deviance": mean_of(deviances(y, scores))} if target.task == "count" else {})


def mean_of(losses: Floats) -> Weighted:
    """A measure that is the mean of one number a row."""
    return lambda weights: float(weights @ losses / weights.sum())
