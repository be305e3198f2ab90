"""Aggregates of one range in plain numbers: what `kernel.finalize` says, to the bit, without arrays.

For a single row, making an array takes longer than the work on it.
"""

from collections.abc import Callable, Sequence

import numpy as np

from raypipe.stats import decay, distinct, exact, percentile
from raypipe.stats.arrays import Floats, Hashes


class Limbs:
    """How the limbs of exact sums lie behind one another: a sum is an integer in units of ``2**unit``.

    >>> limbs = Limbs([-1, 0])
    >>> total(limbs.joined([2**31, 3]), limbs.unit)
    3.5
    """

    def __init__(self, places: Sequence[int]) -> None:
        self.places, self.unit = places, exact.BITS * places[0] if places else 0
        self._shifts = [exact.BITS * place - self.unit for place in places]

    def joined(self, limbs: Sequence[int]) -> int:
        """The integer that these limbs make, one for each place."""
        found = 0
        for limb, shift in zip(limbs, self._shifts, strict=True):
            found += limb << shift
        return found


def total(integer: int, unit: int) -> float:
    """The sum ``integer * 2**unit``."""
    return exact.rounded_one(integer, unit)


def mean(integer: int, unit: int, many: int) -> float | None:
    """The mean of so many values whose sum is ``integer * 2**unit``."""
    return exact.mean_one(integer, unit, many) if many else None


class Deviation:
    """The sample deviation of values whose sums and sums of squares lie so.

    >>> Deviation(Limbs([0]), Limbs([0]))(6, 14, 3)
    1.0
    """

    def __init__(self, totals: Limbs, squares: Limbs) -> None:
        unit = min([*totals.places[:1], *squares.places[:1]], default=0) * exact.BITS
        self._unit, self._up = unit, totals.unit - unit if totals.places else 0
        self._up_squares = squares.unit - 2 * unit if squares.places else 0

    def __call__(self, integer: int, squared: int, many: int) -> float | None:
        """Of so many values; nothing of fewer than two."""
        if many < 2:
            return None
        return exact.deviation_one(integer << self._up, squared << self._up_squares, self._unit, many)


def infinite(plus: bool, minus: bool) -> float | None:
    """A sum or mean in which there are infinities; nothing if both signs occur."""
    return None if plus and minus else np.inf if plus else -np.inf


def ordered(op: str, rank: float | None) -> Callable[[Sequence[float]], float]:
    """The smallest, the largest, or that of a rank among up to `percentile.EXACT_UP_TO` values, at least one."""
    if rank is None:
        return min if op == "min" else max
    return lambda values: sorted(values)[percentile.place_one(rank, len(values))]


def ordered_of_many(op: str, rank: float | None, values: Floats) -> float:
    """The same of any number of values."""
    if rank is None:
        return float(values.min() if op == "min" else values.max())
    place = percentile.place_one(rank, len(values))
    found = np.partition(values, place)[place : place + 1]
    return float((percentile.coarse(found) if len(values) > percentile.EXACT_UP_TO else found)[0])


def few_hashes() -> int:
    """Up to so many are best told apart by Python; far fewer than are counted by a sample."""
    return distinct.EXACT_UP_TO // 8


def different(hashes: Sequence[int]) -> int:
    """How many different values there are among up to `few_hashes`."""
    return len(set(hashes))


def different_of_many(hashes: Hashes) -> int:
    """The same of any number of values."""
    return distinct.count_one(hashes)


def age(asked: int, time: int, max_age: int | None) -> float | None:
    """Seconds since a time, unless it is older than so many microseconds.

    >>> age(3_000_000, 1_000_000, None), age(3_000_000, 1_000_000, 1_999_999)
    (2.0, None)
    """
    return None if max_age is not None and asked - time > max_age else (asked - time) / 1e6


def faded(total: float, age: int, half_life: int) -> float:
    """What a decayed sum or count has faded to after so many microseconds."""
    return decay.read_one(total, age, half_life)


def faded_mean(total: float, count: float) -> float:
    """The decayed mean, from the decayed sum and count at the same time."""
    return total / count + 0.0
