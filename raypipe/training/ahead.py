"""What a model would have said of rows that it had not seen yet: the rows that calibration and threshold are chosen on.

The holdout is for the test alone, and every other row was learned from. So the winner's parameters are fitted on the
older part of those rows, and score the part that follows; and again, a few times, each time further on.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from raypipe.training.trainer import Scores, Task, Trainer, Vector

#: Where each fit ends and the next one's rows begin, as shares of the rows: the last third is forecast.
CUTS = (0.64, 0.76, 0.88, 1.0)


@dataclass(frozen=True)
class Forecasts:
    """Rows in order, each scored by a model that was fitted on older rows only; ``newest`` marks the last part."""

    y: Vector
    scores: Scores
    newest: Vector


def forecasts(make: Trainer, task: Task, params: dict[str, str | int | float | bool]) -> Forecasts:
    """Fit on what is older, score what follows.

    Args:
        make: a fresh trainer; it is fitted several times.
        task: the rows that the winner learns from, in order of time, and no tuning period.
        params: of the winner.
    """
    ends = [int(len(task.train.y) * cut) for cut in CUTS]
    parts = list(pairwise(ends))
    scores, newest = [], []
    for number, (end, until) in enumerate(parts):
        make.fit(replace(task, train=task.train.rows(0, end), tune=None), dict(params))
        scores.append(make.predict(task.train.x[end:until]))
        newest.append(np.full(until - end, number == len(parts) - 1, dtype=np.float32))
    return Forecasts(task.train.y[ends[0] :], np.concatenate(scores), np.concatenate(newest))
