"""Sums in which every value halves with each half-life that passes, as a sum and the time it refers to.

Sums are held scaled down by a power of two, so that none runs over before it has faded, whatever doubles are added.
That changes no digit of them, but for values below 1e-288, which lose some.
"""

from collections.abc import Iterator

import numpy as np

from raypipe.stats.arrays import Floats, Ints

#: More than there can be values of the largest size.
SCALE = 2.0**64
#: What is left of one after more half-lives than this is no double of full precision.
AT_ONCE = 1000.0


def scaled(values: Floats) -> Floats:
    """Values as they go into sums."""
    down: Floats = values / SCALE
    return down


def read(sums: Floats, ages: Ints, half_life: int) -> Floats:
    """What scaled sums have faded to after so many microseconds; infinite where no double is so large.

    >>> read(scaled(np.array([1.7e308])) * 2, np.array([12]), 1).tolist() == [1.7e308 / 2048]
    True
    """
    near, rest = _weights(ages, half_life)
    with np.errstate(under="ignore", over="ignore"):
        # A small negative sum fades to zero, not to minus zero.
        return sums * (near * SCALE) * rest + 0.0


def read_one(total: float, age: int, half_life: int) -> float:
    """The same for one sum."""
    halves = float(age) / half_life
    near = min(halves, AT_ONCE)
    found = total * (float(np.exp2(-near)) * SCALE)
    return float((found if near == halves else found * float(np.exp2(near - halves))) + 0.0)


def faded(sums: Floats, ages: Ints, half_life: int) -> Floats:
    """Sums as they are ``ages`` microseconds later; an age is never negative, so nothing overflows.

    >>> faded(np.array([8.0, 2.0**1000]), np.array([3, 1100]), 1).tolist() == [1.0, 2.0**-100]
    True
    """
    near, rest = _weights(ages, half_life)
    with np.errstate(under="ignore"):
        return sums * near * rest


def _weights(ages: Ints, half_life: int) -> tuple[Floats, Floats]:
    """What is left of one after so many microseconds, as a product: it may be less than any double."""
    halves = ages / half_life
    near = np.minimum(halves, AT_ONCE)
    with np.errstate(under="ignore"):
        return np.exp2(-near), np.exp2(near - halves)


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
    *_, sums = _doubled(values, times, starts, half_life)
    return sums


def _doubled(values: Floats, times: Ints, starts: Ints, half_life: int) -> Iterator[Floats]:
    """Sums of the last 1, 2, 4, … values up to and with each event, in one array that changes from one to the next."""
    sums = values.astype(np.float64, copy=True)
    yield sums
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
        yield sums


def of_runs(values: Floats, times: Ints, starts: Ints, half_life: int, runs: Ints, low: Ints, high: Ints) -> Floats:
    """The decayed sums of histories from which events are missing, as of their last event.

    They have the bits that `running` gives when what is missing had never been: a stretch that lies within a run is the
    same with all events, and only those across a gap are added up again.

    Args:
        values: as in `running`.
        times: as in `running`.
        starts: as in `running`.
        half_life: in microseconds.
        runs: where each history's runs begin, one more than histories; each has some.
        low: where each run of events begins; none is empty.
        high: where it ends (not included).
    """
    sizes, owners = high - low, np.repeat(np.arange(len(runs) - 1, dtype=np.int64), np.diff(runs))
    before = np.cumsum(sizes) - sizes
    before -= before[runs[:-1]][owners]
    span, whole = len(times) + 1, low == np.repeat(starts[:-1], np.diff(starts))[low]
    order = owners * span + before
    whose, at = np.arange(len(runs) - 1, dtype=np.int64), np.add.reduceat(sizes, runs[:-1]) - 1
    levels: list[tuple[Ints, Ints, Ints]] = []
    for level in reversed(range(int(at.max(initial=0)).bit_length() + 1)):
        run = np.searchsorted(order, whose * span + at, side="right") - 1
        begin = at - (1 << level) + 1
        # Within a run; or from the very first event of the key on, where that is what `running` stops at, too.
        split = np.flatnonzero((begin < before[run]) & ~((begin < 0) & (before[run] == 0) & whole[run]))
        half = (1 << level) >> 1
        second = split[at[split] >= half]
        levels.append((low[run] + at - before[run], split, second))
        whose, at = whose[np.append(split, second)], np.append(at[split], at[second] - half)
    doubled = _doubled(values, times, starts, half_life)
    sums = next(doubled)
    below, found = levels[-1][0], sums[:, levels[-1][0]]
    for places, split, second in reversed(levels[:-1]):
        next(doubled, None)
        earlier, found = found, sums[:, places]
        found[:, split] = earlier[:, : len(split)]
        ages = times[places[second]] - times[below[len(split) :]]
        found[:, second] += faded(earlier[:, len(split) :], ages, half_life)
        below = places
    return found
