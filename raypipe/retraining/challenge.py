"""Whether a challenger takes over: both answer the same newest rows that neither has learned from."""

from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from raypipe.contracts.decisions import Verdict
from raypipe.contracts.target import Target

#: The newest rows of so many microseconds, 14 days, are what both are judged on.
NEWEST = 14 * 86_400_000_000
#: Who learned from fewer rows is not compared.
LEAST = 1_000
#: How sure one must be that the challenger is not worse than the margin.
_LEVEL = 0.95


def judge(champion: NDArray[np.float64], challenger: NDArray[np.float64], margin: float = 0.005) -> Verdict:
    """Compare losses row by row: it wins when it is better on average, and for certain not worse by the margin.

    Args:
        champion: losses of the model in service, see `comparable`; shape (rows,).
        challenger: of the same rows in the same order.
        margin: what is no loss worth speaking of.

    >>> judge(np.array([0.5, 0.7, 0.6]), np.array([0.4, 0.6, 0.5])).won
    True
    """
    if not len(champion):
        return Verdict(gain=0.0, low=0.0, rows=0, won=False)
    gains = champion - challenger
    half = NormalDist().inv_cdf(_LEVEL) * float(gains.std()) / sqrt(len(gains))
    gain = float(gains.mean())
    return Verdict(gain=gain, low=gain - half, rows=len(gains), won=gain > 0 and gain - half > -margin)


def comparable(target: Target, *losses: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Losses in units of log loss, whatever is predicted: the first are those of who is in service.

    Of numbers it is the log loss if errors spread as those of the first do, normally or for quantiles by Laplace's law.

    >>> [one.tolist() for one in comparable(Target(task="count"), np.array([4.0, 8.0]), np.array([3.0, 6.0]))]
    [[0.3333333333333333, 0.6666666666666666], [0.25, 0.5]]
    """
    if not target.numeric or not len(losses[0]):
        return list(losses)
    usual = max(float(losses[0].mean()), float(np.finfo(np.float32).tiny))
    return [one / (2 * usual if target.quantile is None else usual) for one in losses]


def better_alone(whole: NDArray[np.float64], newer: NDArray[np.float64]) -> bool | None:
    """Whether who learned only what came since a change is the better challenger; None: it may yet become so.

    Args:
        whole: losses of who learned everything, one a row.
        newer: losses of the other one, on the same rows.

    >>> rows = np.arange(900) % 2
    >>> better_alone(rows + 0.1, rows + 0.0), better_alone(rows + 0.0, rows + 0.1), better_alone(rows, rows[::-1])
    (True, False, None)
    """
    if judge(whole, newer).won:
        return True
    return False if judge(newer, whole).low > 0 else None


def held_out(since: int, now: int, onset: int | None = None) -> int:
    """Up to when a challenger's rehearsal may learn: both are judged on what comes after, which neither has seen.

    Of what came since a change one half is learned from, and the other half judged on.

    Args:
        since: up to when the champion has learned.
        now: up to when labels are known; microseconds UTC, as all of them.
        onset: when the world changed, if it did.

    >>> day = 86_400_000_000
    >>> held_out(0, 100 * day) // day, held_out(90 * day, 100 * day) // day
    (86, 95)
    >>> held_out(0, 100 * day, onset=96 * day) // day
    98
    """
    newer = since if onset is None else max(since, min(onset, now))
    return max(now - NEWEST, (newer + now) // 2)
