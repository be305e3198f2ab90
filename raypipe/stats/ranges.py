"""The smallest, the largest or the k-th of the values between two places.

Events lie in arrays sorted by key, then time. A range of places ``[low, high)`` is some of one key's events.
"""

import numpy as np
from numpy.typing import NDArray

from raypipe.stats.arrays import Floats, Ints
from raypipe.stats.places import few


def smallest(values: Floats, low: Ints, high: Ints) -> Floats:
    """The smallest value of each range; NaN where the range is empty.

    >>> smallest(np.array([3.0, 1.0, 2.0]), np.array([0, 2, 1]), np.array([3, 3, 1])).tolist()
    [1.0, 2.0, nan]
    """
    result = np.full(len(low), np.nan)
    length = high - low
    if few(len(low), len(values)):
        for i in np.flatnonzero(length > 0).tolist():
            result[i] = values[low[i] : high[i]].min()
        return result
    # Minima of 1, 2, 4, … neighbours; two that overlap cover any range.
    level = np.frexp(length.astype(np.float64))[1] - 1
    minima = values
    for step in range(int(level.max(initial=-1)) + 1):
        if step:
            half = 1 << (step - 1)
            minima = np.minimum(minima[:-half], minima[half:])
        mine = np.flatnonzero(level == step)
        result[mine] = np.minimum(minima[low[mine]], minima[high[mine] - (1 << step)])
    return result


def largest(values: Floats, low: Ints, high: Ints) -> Floats:
    """The largest value of each range; NaN where the range is empty."""
    return -smallest(-values, low, high)


def kth(values: Floats, low: Ints, high: Ints, k: Ints) -> Floats:
    """The value in place ``k`` (from 0) of each range in ascending order; NaN where the range has no such place.

    >>> kth(np.array([3.0, 1.0, 2.0]), np.array([0, 1]), np.array([3, 3]), np.array([1, 2])).tolist()
    [2.0, nan]
    """
    result = np.full(len(low), np.nan)
    asked = np.flatnonzero((k >= 0) & (k < high - low))
    if few(len(asked), len(values)):
        for i in asked.tolist():
            result[i] = np.partition(values[low[i] : high[i]], k[i])[k[i]]
        return result
    known, ranks = np.unique(values, return_inverse=True)
    result[asked] = known[_kth_rank(ranks, len(known), low[asked], high[asked], k[asked])]
    return result


def kth_of_runs(values: Floats, starts: Ints, low: Ints, high: Ints, k: Ints) -> Floats:
    """The same of several ranges taken together.

    Args:
        values: as in `kth`.
        starts: where each question's ranges begin, one more than questions; each has some, and none is empty.
        low: where each range begins.
        high: where it ends (not included).
        k: for each question a place that is there.

    >>> kth_of_runs(np.array([3.0, 1.0, 2.0]), np.array([0, 2]), np.array([0, 2]), np.array([1, 3]), np.array([1]))
    array([3.])
    """
    known, ranks = np.unique(values, return_inverse=True)
    found: Floats = known[_kth_rank(ranks, len(known), low, high, k, starts)]
    return found


def below(values: Ints, limits: Ints, low: Ints, high: Ints) -> Ints:
    """How many values of each range are smaller than its limit; values and limits are not negative.

    >>> below(np.array([3, 0, 2]), np.array([3, 1]), np.array([0, 0]), np.array([3, 3])).tolist()
    [2, 1]
    """
    count = np.zeros(len(low), np.int64)
    top = int(max(values.max(initial=0), limits.max(initial=0)))
    codes: NDArray[np.unsignedinteger] = values.astype(np.uint32 if top < 2**32 else np.uint64)
    for bit in reversed(range(top.bit_length())):
        ones, zeros = _split(codes, bit)
        left, right = zeros[low], zeros[high]
        above = (limits >> bit) & 1 != 0
        count += np.where(above, right - left, 0)
        low = np.where(above, zeros[-1] + low - left, left)
        high = np.where(above, zeros[-1] + high - right, right)
        if bit:
            codes = np.concatenate([codes[~ones], codes[ones]])
    return count


def _kth_rank(ranks: Ints, many: int, low: Ints, high: Ints, k: Ints, starts: Ints | None = None) -> Ints:
    """A wavelet matrix, one bit at a time: zeros to the left, ones to the right, all ranges followed along.

    Where a question has several ranges, ``starts`` says where each one's begin.
    """
    found = np.zeros(len(k), np.int64)
    codes: NDArray[np.unsignedinteger] = ranks.astype(np.uint32 if many < 2**32 else np.uint64)
    for bit in reversed(range(max(many - 1, 1).bit_length())):
        ones, zeros = _split(codes, bit)
        left, right = zeros[low], zeros[high]
        lower = right - left if starts is None else np.add.reduceat(right - left, starts[:-1])
        above = k >= lower
        up = above if starts is None else np.repeat(above, np.diff(starts))
        low = np.where(up, zeros[-1] + low - left, left)
        high = np.where(up, zeros[-1] + high - right, right)
        k = np.where(above, k - lower, k)
        found |= above.astype(np.int64) << bit
        if bit:
            codes = np.concatenate([codes[~ones], codes[ones]])
    return found


def _split(codes: NDArray[np.unsignedinteger], bit: int) -> tuple[NDArray[np.bool_], Ints]:
    """Which codes have the bit, and for each place how many before it have not."""
    ones = (codes >> bit) & 1 != 0
    zeros = np.zeros(len(codes) + 1, np.int64)
    np.cumsum(~ones, out=zeros[1:])
    return ones, zeros
