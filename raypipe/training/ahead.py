"""What a model would have said of rows that it had not seen yet: the rows that calibration and threshold are chosen on.

The holdout is for the test alone, and every other row was learned from. So the winner's parameters are fitted on the
older part of those rows, and score the part that follows; and again, a few times, each time further on.

What waits for what: fits that take long are Ray tasks that hold what a trial does and wait for nothing but the rows.
Who asked for them fits the winner meanwhile, and waits for them then.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import ray
from ray.exceptions import RayTaskError
from threadpoolctl import threadpool_limits

from raypipe.training.limits import NICE
from raypipe.training.trainer import Params, Scores, Task, Vector
from raypipe.training.trainers import trainer
from raypipe.training.trial import spreads

#: Up to which row a fit learns, and up to which it forecasts.
Part: TypeAlias = tuple[int, int]
#: A fit that takes longer (seconds) is worth a process of its own, which takes some to start.
WORTH = 4.0
#: Where each fit ends and the next one's rows begin, as shares of the rows: the last third is forecast.
CUTS = (0.64, 0.76, 0.88, 1.0)


@dataclass(frozen=True)
class Forecasts:
    """Rows in order, each scored by a model that was fitted on older rows only; ``newest`` marks the last part."""

    y: Vector
    scores: Scores
    newest: Vector


def forecasts(algorithm: str, task: Task, params: Params, seconds: float = 0.0) -> Callable[[], Forecasts]:
    """Fit on what is older, score what follows: beside what the caller does next, where Ray runs and it takes long.

    Args:
        algorithm: of the winner.
        task: the rows that the winner learns from, in order of time, and no tuning period.
        params: of the winner.
        seconds: how long its fit took.

    Returns:
        What waits for the fits, or makes them, and raises what the trainer raised.
    """
    ends = [int(len(task.train.y) * cut) for cut in CUTS]
    parts = list(pairwise(ends))
    newest = np.concatenate([np.full(until - end, until == ends[-1], dtype=np.float32) for end, until in parts])
    fit = _beside if ray.is_initialized() and seconds > WORTH and not spreads(params) else _here
    scores = fit(algorithm, task, params, parts)
    return lambda: Forecasts(task.train.y[ends[0] :], np.concatenate(scores()), newest)


def _here(algorithm: str, task: Task, params: Params, parts: Sequence[Part]) -> Callable[[], list[Scores]]:
    return lambda: [_forecast(algorithm, task, params, part) for part in parts]


def _beside(algorithm: str, task: Task, params: Params, parts: Sequence[Part]) -> Callable[[], list[Scores]]:
    options = _in_worker.options(num_cpus=task.cpus, num_gpus=task.gpus, name="forecast of the winner")
    rows = ray.put(task)
    asked = [options.remote(algorithm, rows, params, part) for part in parts]

    def wait() -> list[Scores]:
        try:
            found: list[Scores] = ray.get(asked)
        except RayTaskError as error:
            raise error.cause from None
        return found

    return wait


def _forecast(algorithm: str, task: Task, params: Params, part: Part) -> Scores:
    end, until = part
    model = trainer(algorithm)
    model.fit(replace(task, train=task.train.rows(0, end), tune=None), dict(params))
    return model.predict(task.train.x[end:until])


@ray.remote(max_calls=1, max_retries=1)
def _in_worker(algorithm: str, task: Task, params: Params, part: Part) -> Scores:
    # As in a trial; whatever uses the process next would be held back too, so nothing does.
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    with threadpool_limits(1):
        return _forecast(algorithm, task, params, part)
