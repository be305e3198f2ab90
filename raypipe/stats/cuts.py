"""Numbers counted between values of a reference: integers that add up, and from them the Kolmogorov-Smirnov distance.

A reference of up to 1,025 values is cut at each of them, and the distance is exact; a longer one at every 1,024th part
of it, and the distance is at most 1/1,024 too small. It is cut before and after each of these values, so that many
equal ones, such as zeros, are told from their neighbours.
"""

import numpy as np

from raypipe.stats.arrays import Floats, Ints

PARTS = 1024


def cuts(reference: Floats) -> Floats:
    """Where to cut, rising.

    Args:
        reference: shape (n,), no NaN, at least one value.

    >>> cuts(np.array([2.0, 1.0, 2.0])).round(6).tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    largest = np.finfo(np.float64).max
    ordered = np.sort(np.clip(reference, -largest, largest))
    places = np.linspace(0, len(ordered) - 1, min(len(ordered), PARTS + 1)).astype(np.int64)
    at = np.unique(ordered[places])
    found: Floats = np.unique(np.concatenate((at, np.nextafter(at, np.inf))))
    return found[: np.searchsorted(found, np.inf)]


def gap(a: Ints, many: int, b: Ints, others: int) -> float:
    """The largest gap between the shares of two samples that lie below a cut.

    Args:
        a: of one sample, how many values lie below each cut, shape (cuts,).
        many: how many values it has, at least one.
        b: the same of another sample.
        others: how many values that one has.

    >>> gap(np.array([0, 1, 1]), 2, np.array([0, 0, 0]), 4)
    0.5
    """
    return float(np.abs(a / many - b / others).max())
