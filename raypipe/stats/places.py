"""Where a key's events before a time end.

Events lie in arrays sorted by key, then time. A range of places ``[low, high)`` is some of one key's events.
"""

import numpy as np

from raypipe.stats.arrays import Ints

#: One by one, a range costs about as much as this many values cost the ways that touch every value first.
WORTH = 300


def few(ranges: int, values: int) -> bool:
    """True when so few ranges are best looked at one by one."""
    return ranges <= max(64, values // WORTH)


def places(starts: Ints, times: Ints, keys: Ints, bounds: Ints) -> Ints:
    """The place of the first event of a key at or after a time; the end of the key's events if there is none.

    Args:
        starts: shape (keys + 1,); the events of key i lie in ``[starts[i], starts[i + 1])``.
        times: the events' times, ascending within each key.
        keys: for each question the key's number, 0 to keys - 1.
        bounds: shape (bounds, questions): times to look for.

    Returns:
        An array of the shape of ``bounds``.

    >>> places(np.array([0, 2, 3]), np.array([10, 20, 5]), np.array([0, 1]), np.array([[11, 11]])).tolist()
    [[1, 3]]
    """
    if few(len(keys), len(times)):
        found = np.empty(bounds.shape, np.int64)
        for i, key in enumerate(keys.tolist()):
            start, end = starts[key], starts[key + 1]
            found[:, i] = times[start:end].searchsorted(bounds[:, i]) + start
        return found
    if not len(times):
        return np.zeros(bounds.shape, np.int64)
    # One binary search over (key, time) as a single number; over ranks of times when the times do not fit in. How far
    # an event lies before all bounds, or behind, does not matter.
    low, high = int(bounds.min()) - 1, int(bounds.max()) + 1
    if (high - low + 1) * len(starts) < 2**62:
        span, ranks, asked = high - low + 1, np.clip(times, low, high) - low, bounds - low
    else:
        # To sort and to leave out what repeats takes a fraction of the time that hashing does.
        known = np.sort(times)
        known = known[np.append(known[:-1] != known[1:], values=True)]
        span, ranks = len(known) + 1, np.searchsorted(known, times)
        asked = np.searchsorted(known, bounds)
    owners = np.repeat(np.arange(len(starts) - 1, dtype=np.int64), np.diff(starts))
    return np.searchsorted(owners * span + ranks, keys * span + asked)
