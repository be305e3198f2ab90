"""From which probability on a model says yes, so that its errors cost least."""

from collections.abc import Mapping

import numpy as np

from raypipe.contracts.target import Target, chosen
from raypipe.errors import TrainingError, did_you_mean
from raypipe.spec.finish import Finish
from raypipe.training.trainer import Scores, Vector

#: Without a stated cost both errors weigh the same.
EVEN = 0.5


def error_costs(finish: Finish) -> tuple[float, float]:
    """The cost of a false alarm, and of a true that was missed."""
    if finish.costs is None:
        return 1.0, 1.0
    rows = {truth: dict(row) for truth, row in finish.costs.items()}
    return float(rows.get("false", {}).get("true", 0.0)), float(rows.get("true", {}).get("false", 0.0))


def choose_threshold(y: Vector, scores: Vector, finish: Finish) -> float:
    """The threshold of least cost on these rows; 0.5 when the pipeline states no costs.

    >>> y, scores = np.array([0, 1, 0, 1], dtype=np.float32), np.array([0.1, 0.3, 0.4, 0.8], dtype=np.float32)
    >>> choose_threshold(y, scores, Finish(costs={"true": {"false": 9.0}, "false": {"true": 1.0}}))
    0.3
    """
    if finish.costs is None:
        return EVEN
    alarm, missed = error_costs(finish)
    order = np.argsort(-scores, kind="stable")
    trues, falses = np.cumsum(y[order] > 0.5), np.cumsum(y[order] <= 0.5)
    total = np.append(missed * trues[-1], alarm * falses + missed * (trues[-1] - trues))
    # A threshold parts different scores only: among equal ones the last is where the cut can be.
    sorted_scores = scores[order]
    cuts = np.append(True, np.append(sorted_scores[1:] != sorted_scores[:-1], True))
    best = int(np.flatnonzero(cuts)[np.argmin(total[cuts])])
    return 1.0 if best == 0 else round(float(sorted_scores[best - 1]), 6)


def cost_matrix(finish: Finish, target: Target, where: str) -> tuple[tuple[float, ...], ...]:
    """What each answer costs, by truth and then by answer, in the order of the target's classes; () without costs.

    Raises:
        TrainingError: a cost names a class that there is not.
    """
    if finish.costs is None or not target.classes:
        return ()
    for name in {*finish.costs, *(answer for row in finish.costs.values() for answer in row)}:
        if name not in target.classes:
            cure = did_you_mean(name, target.classes) or f"There are {', '.join(target.classes)}"
            raise TrainingError(f"the costs name a class `{name}` that there is not", where=where, cure=cure)
    empty: Mapping[str, float] = {}
    return tuple(
        tuple(float(finish.costs.get(truth, empty).get(answer, 0.0)) for answer in target.classes)
        for truth in target.classes
    )


def mean_class_cost(y: Vector, scores: Scores, costs: tuple[tuple[float, ...], ...]) -> float:
    """What a row costs on average when the answer of least expected cost is given; without costs, each error is 1."""
    matrix = np.asarray(costs) if costs else 1 - np.eye(scores.shape[1])
    known = y >= 0
    answers = chosen(scores, costs)
    return float(np.where(known, matrix[np.maximum(y, 0).astype(int), answers], matrix.max()).mean())


def mean_cost(y: Vector, scores: Vector, threshold: float, finish: Finish) -> float:
    """What a row costs on average when a score of at least ``threshold`` counts as true."""
    alarm, missed = error_costs(finish)
    said, truth = scores >= threshold, y > 0.5
    return float(alarm * np.mean(said & ~truth) + missed * np.mean(~said & truth))
