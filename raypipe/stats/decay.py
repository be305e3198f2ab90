"""Sums in which every value halves with each half-life that passes, as a sum and the time it refers to."""

import numpy as np

from raypipe.stats.exact import Floats, Ints


def faded(sums: Floats, ages: Ints, half_life: int) -> Floats:
    """Sums as they are ``ages`` microseconds later; an age is never negative, so nothing overflows.

    >>> faded(np.array([8.0]), np.array([3]), 1).tolist()
    [1.0]
    """
    with np.errstate(under="ignore"):
        return sums * weights(ages, half_life)


def weights(ages: Ints, half_life: int) -> Floats:
    """What is left of one after so many microseconds."""
    with np.errstate(under="ignore"):
        return np.exp2(-(ages / half_life))


def faded_one(total: float, age: int, half_life: int) -> float:
    """The same for one sum."""
    return total * float(np.exp2(-(float(age) / half_life)))


def running(values: Floats, times: Ints, starts: Ints, half_life: int) -> Floats:
    """For each event the decayed sums of its key's values up to and with it, as of its own time.

    Two stretches of events merge by fading the earlier to the later's time and adding; stretches double in length
    until they reach the start of their key, or until the earlier has faded to nothing.

    Args:
        values: rows of one an event, sorted by key, then time; what fades alike is weighed once.
        times: the events' times.
        starts: shape (keys + 1,); where each key's events begin.
        half_life: in microseconds.
    """
    sums = values.astype(np.float64, copy=True)
    first = np.repeat(starts[:-1], np.diff(starts))
    later, step = np.arange(len(times)), 1
    while len(later := later[later - step >= first[later]]):
        ages = times[later] - times[later - step]
        if (ages / half_life).min() > 2200:
            break
        before = faded(sums[:, later - step], ages, half_life)
        for row, more in zip(sums, before, strict=True):
            row[later] += more
        step *= 2
    return sums
