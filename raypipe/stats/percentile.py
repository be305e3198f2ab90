"""Nearest-rank percentiles: exact up to 64 values, then of values rounded to seven significant binary digits.

Rounding to seven binary digits is at most 0.8 % off, leaves whole numbers up to 128 as they are, and sorts values
into few buckets whose counts merge in any order to the same bits. It is done on the bits of the double, so every
machine agrees.
"""

from fractions import Fraction
from functools import cache

import numpy as np

from raypipe.stats.arrays import Floats, Ints

EXACT_UP_TO = 64
#: Shares of at most so fine a denominator can be multiplied with a count of events.
_PLAIN = 2**22
_DROPPED = np.int64(52 - 6)
_HALF = np.int64(1) << (_DROPPED - np.int64(1))
_LARGEST = (np.array([np.inf]).view(np.int64)[0] >> _DROPPED) - np.int64(1)


def place(rank: float, counts: Ints) -> Ints:
    """The place, from 0, of the percentile among so many sorted values: ``ceil(rank * count) - 1``.

    >>> place(0.9, np.array([10, 11, 0])).tolist()
    [8, 9, -1]
    """
    share = _share(rank)
    if share.denominator <= _PLAIN:
        return -(-counts * share.numerator // share.denominator) - 1
    # The product may not fit into 64 bits; there are few different counts.
    known, which = np.unique(counts, return_inverse=True)
    places: Ints = np.array([place_one(rank, count) for count in known.tolist()], np.int64)[which]
    return places


def place_one(rank: float, count: int) -> int:
    """The same for one count.

    >>> place_one(1e-7, 3), place_one(0.3333334, 3)
    (0, 1)
    """
    share = _share(rank)
    return -(-count * share.numerator // share.denominator) - 1


def coarse(values: Floats) -> Floats:
    """Values rounded to seven significant binary digits, halves away from zero; below 2.3e-308 zero.

    >>> coarse(np.array([0.1, 127.0, 1000.0, -1003.0])).tolist()
    [0.099609375, 127.0, 1000.0, -1000.0]
    """
    sizes = np.abs(values).view(np.int64)
    buckets = np.minimum((sizes + _HALF) >> _DROPPED, np.where(np.isinf(values), _LARGEST + 1, _LARGEST))
    # The first 64 buckets hold what has no leading one: numbers too small to be normal.
    # What is added makes a zero of no sign.
    return np.copysign(np.where(buckets < 64, 0, buckets << _DROPPED).view(np.float64), values) + 0.0


@cache
def _share(rank: float) -> Fraction:
    """What was written, not the double that it became."""
    return Fraction(repr(rank))
