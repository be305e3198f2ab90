"""Sums of doubles without rounding: whole numbers on a fixed grid of 32-bit limbs.

Every finite double is a whole number of units 2^-1074. Cut into 32-bit limbs at fixed places, doubles are added as
integers, so a sum does not depend on the order, the partition or the machine; running totals can be subtracted without
loss. Rounding happens once, when a sum is read. That is what makes a feature in serving bit-equal to the one in
training, however differently the two got there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raypipe.stats.arrays import Floats, Ints

BITS = 32
_MASK = np.int64(2**BITS - 1)
_SMALL = 2.0**31
#: Up to so many numbers, Python's own integers are quicker than arrays of limbs.
FEW = 64


@dataclass(frozen=True)
class Exact:
    """Many exact numbers. Number i is the sum over j of ``limbs[j, i] * 2**(32 * places[j])``.

    Attributes:
        places: the places in use, ascending; none when all numbers are zero.
        limbs: int64 of shape (places, numbers). Limbs of values lie within ±2^32, so sums of 2^31 of them fit.
    """

    places: tuple[int, ...]
    limbs: Ints

    def running(self) -> "Exact":
        """Running totals from zero: one number more than before; total i is of the first i numbers."""
        totals = np.zeros((len(self.places), self.limbs.shape[1] + 1), np.int64)
        np.cumsum(self.limbs, axis=1, out=totals[:, 1:])
        return Exact(self.places, totals)

    def between(self, low: Ints, high: Ints) -> "Exact":
        """Sums of numbers low to high (not included), from running totals."""
        return Exact(self.places, self.limbs[:, high] - self.limbs[:, low])

    def runs(self, starts: Ints) -> "Exact":
        """Sums of each run of numbers from one start to the next; no run is empty."""
        return Exact(self.places, np.add.reduceat(self.limbs, starts, axis=1))

    def pairs(self) -> Ints:
        """Shape (numbers, 2 * places): a place, the limb there, the next place, and so on."""
        places = np.broadcast_to(np.array(self.places, np.int64)[:, None], self.limbs.shape)
        return (
            np.stack([places, self.limbs], axis=-1)
            .transpose(1, 0, 2)
            .reshape(self.limbs.shape[1], 2 * len(self.places))
        )

    @classmethod
    def of_pairs(cls, flat: Ints, sizes: Ints) -> "Exact":
        """The opposite, of numbers behind one another that need not have the same places.

        >>> one = exact(np.array([0.5, 2.0**40]))
        >>> rounded(Exact.of_pairs(one.pairs().ravel(), np.array([4, 4]))).tolist()
        [0.5, 1099511627776.0]
        """
        rows = np.repeat(np.arange(len(sizes)), sizes // 2)
        known, at = np.unique(flat[::2], return_inverse=True)
        limbs = np.zeros((len(known), len(sizes)), np.int64)
        limbs[at, rows] = flat[1::2]
        return cls(tuple(known.tolist()), limbs)

    def at(self, places: Sequence[int]) -> Ints:
        """The limbs at these places, which include all places in use."""
        if tuple(places) == self.places:
            return self.limbs
        result = np.zeros((len(places), self.limbs.shape[1]), np.int64)
        for place, row in zip(self.places, self.limbs, strict=True):
            result[places.index(place)] = row
        return result


def joined(parts: Sequence[Exact]) -> Exact:
    """Several lots of numbers behind one another."""
    places = parts[0].places
    if any(part.places != places for part in parts):
        places = tuple(sorted({place for part in parts for place in part.places}))
    return Exact(places, np.concatenate([part.at(places) for part in parts], axis=1))


def exact(values: Floats) -> Exact:
    """Cut finite doubles into limbs.

    >>> total = exact(np.array([1e300, 0.1, -1e300])).running().between(np.array([0]), np.array([3]))
    >>> rounded(total).tolist()
    [0.1]
    """
    if (small := _as_small(values, _SMALL)) is not None:
        return _kept({0: small}, len(values))
    mantissas, exponents = np.frexp(values)
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    rows: dict[int, Ints] = {}
    _deposit(rows, np.abs(whole), exponents.astype(np.int64) - 53, np.sign(whole))
    return _kept(rows, len(values))


def squares(values: Floats) -> Exact:
    """The exact squares of finite doubles."""
    if (small := _as_small(values, 2.0**15.5)) is not None:
        return _kept({0: small * small}, len(values))
    mantissas, exponents = np.frexp(np.abs(values))
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    at = 2 * (exponents.astype(np.int64) - 53)
    high, low = whole >> 27, whole & np.int64(2**27 - 1)
    rows: dict[int, Ints] = {}
    plus = np.ones(len(values), np.int64)
    _deposit(rows, high * high, at + 54, plus)
    _deposit(rows, 2 * high * low, at + 27, plus)
    _deposit(rows, low * low, at, plus)
    return _kept(rows, len(values))


def rounded(numbers: Exact) -> Floats:
    """The nearest doubles (ties to even); beyond the largest double, infinity."""
    mantissas, exponents = nearest(numbers)
    return _scaled(mantissas, exponents)


def means(sums: Exact, counts: Ints) -> Floats:
    """Sums divided by counts; a count of zero gives NaN."""
    mantissas, exponents = nearest(sums)
    with np.errstate(invalid="ignore"):
        return _scaled(mantissas / counts, exponents)


def deviations(sums: Exact, squared: Exact, counts: Ints) -> Floats:
    """Sample standard deviations (n - 1) from sums and sums of squares; counts below two give NaN.

    ``n * sum(x^2) - sum(x)^2`` is formed exactly, so nothing cancels.
    """
    if len(counts) <= FEW:
        unit = min(sums.places[:1] + squared.places[:1], default=0) * BITS
        pieces = zip(_integers(sums, unit), _integers(squared, 2 * unit), counts.tolist(), strict=True)
        mantissas, exponents = _nearest_few([n * q - s * s for s, q, n in pieces], 2 * unit)
    else:
        mantissas, exponents = nearest(_numerators(sums, squared, counts))
    pairs = counts.astype(np.float64) * (counts - 1)
    odd = exponents & 1
    with np.errstate(invalid="ignore"):
        roots = np.sqrt(np.ldexp(mantissas, odd) / np.where(counts > 1, pairs, np.nan))
    return _scaled(roots, (exponents - odd) >> 1)


def rounded_one(integer: int, unit: int) -> float:
    """``integer * 2**unit`` as `rounded` rounds it.

    >>> rounded_one(3, -1), rounded_one(-1, 1024)
    (1.5, -inf)
    """
    return _scaled_one(*_nearest_one(integer, unit))


def mean_one(integer: int, unit: int, count: int) -> float:
    """``integer * 2**unit / count`` as `means` rounds it; the count is not zero."""
    mantissa, exponent = _nearest_one(integer, unit)
    return _scaled_one(mantissa / count, exponent)


def deviation_one(total: int, squared: int, unit: int, count: int) -> float:
    """As `deviations`: of ``total * 2**unit`` and ``squared * 2**(2 * unit)``; the count is two or more."""
    mantissa, exponent = _nearest_one(count * squared - total * total, 2 * unit)
    odd = exponent & 1
    root = math.sqrt(math.ldexp(mantissa, odd) / (float(count) * (count - 1)))
    return _scaled_one(root, (exponent - odd) >> 1)


def nearest(numbers: Exact) -> tuple[Floats, Ints]:
    """Each number as a double times a power of two, rounded once to 53 bits: (mantissas, exponents)."""
    if len(numbers.places) <= 1:
        place = numbers.places[0] if numbers.places else 0
        limbs = numbers.limbs[0] if numbers.places else np.zeros(numbers.limbs.shape[1], np.int64)
        return limbs.astype(np.float64), np.full(len(limbs), BITS * place, np.int64)
    if numbers.limbs.shape[1] <= FEW:
        unit = BITS * numbers.places[0]
        return _nearest_few(_integers(numbers, unit), unit)
    digits, first = _digits(numbers)
    negative = digits[-1] < 0
    if negative.any():
        flipped, _ = _digits(Exact(tuple(range(first, first + len(digits))), np.where(negative, -digits, digits)))
        digits = flipped[: len(digits)]
    mantissas, exponents = _leading(digits)
    return np.where(negative, -mantissas, mantissas), exponents + BITS * first


def _integers(numbers: Exact, unit: int) -> list[int]:
    """Each number as a Python integer, in units of ``2**unit``, of which all are multiples."""
    shifts = [BITS * place - unit for place in numbers.places]
    columns = numbers.limbs.T.tolist()
    return [sum(limb << shift for limb, shift in zip(column, shifts, strict=True)) for column in columns]


def _nearest_few(integers: list[int], unit: int) -> tuple[Floats, Ints]:
    """The same as ``nearest`` for a few integers, each in units of ``2**unit``: for these, arrays only cost time."""
    mantissas, exponents = (
        zip(*(_nearest_one(integer, unit) for integer in integers), strict=True) if integers else ((), ())
    )
    return np.array(mantissas, np.float64), np.array(exponents, np.int64)


def _nearest_one(integer: int, unit: int) -> tuple[float, int]:
    size = abs(integer)
    dropped = size.bit_length() - 64
    if dropped <= 0:
        return float(integer), unit
    # One bit stands for all that are dropped, so that a half is told from a little more.
    window = (size >> dropped) | (size & ((1 << dropped) - 1) != 0)
    return float(window if integer >= 0 else -window), unit + dropped


def _numerators(sums: Exact, squared: Exact, counts: Ints) -> Exact:
    """``n * sum(x^2) - sum(x)^2``."""
    digits, first = _digits(sums)
    scaled, base = _digits(squared)
    rows = {base + i: row * counts for i, row in enumerate(scaled)}
    for i, row in enumerate(_squared(digits)):
        rows[2 * first + i] = rows.get(2 * first + i, 0) - row
    return _kept(rows, len(counts))


def _leading(digits: Ints) -> tuple[Floats, Ints]:
    """The leading 64 bits of unsigned numbers, what lies below as one sticky bit, rounded to a double."""
    padded = np.concatenate([np.zeros((3, digits.shape[1]), np.int64), digits])
    used = padded != 0
    top = np.maximum(len(padded) - 1 - np.argmax(used[::-1], axis=0), 3)
    column = np.arange(digits.shape[1])
    a, b, c = (padded[top - i, column].astype(np.uint64) for i in range(3))
    below = np.logical_or.accumulate(used, axis=0)[top - 3, column]
    shift = (BITS - np.frexp(a.astype(np.float64))[1]).astype(np.uint64)
    back = np.uint64(BITS) - shift
    window = (((a << np.uint64(BITS)) | b) << shift) | (c >> back)
    sticky = below | ((c & ((np.uint64(1) << back) - np.uint64(1))) != 0)
    exponents = BITS * (top - 4) - shift.astype(np.int64)
    return (window | sticky.astype(np.uint64)).astype(np.float64), exponents


def _digits(numbers: Exact) -> tuple[Ints, int]:
    """Limbs without gaps, all but the topmost within [0, 2^32), and the place of the lowest: one form a number."""
    if not numbers.places:
        return np.zeros((1, numbers.limbs.shape[1]), np.int64), 0
    first, last = numbers.places[0], numbers.places[-1]
    rows = dict(zip(numbers.places, numbers.limbs, strict=True))
    carry = np.zeros(numbers.limbs.shape[1], np.int64)
    digits = np.empty((last - first + 2, len(carry)), np.int64)
    for i in range(last - first + 1):
        carry = carry + rows[first + i] if first + i in rows else carry
        digits[i] = carry & _MASK
        carry = carry >> BITS
    digits[-1] = carry
    return digits, first


def _squared(digits: Ints) -> Ints:
    """Squares of numbers in digits, by long multiplication; limbs of the result within ±2^40."""
    size = len(digits)
    result = np.zeros((2 * size + 1, digits.shape[1]), np.int64)
    for i in range(size):
        for j in range(size):
            # The top digit has a sign; its size is far below 2^31, so that each product fits.
            product = digits[i].astype(np.uint64) * digits[j].astype(np.uint64)
            if size - 1 in (i, j):
                signed = digits[i] * digits[j]
                result[i + j] += signed & _MASK
                result[i + j + 1] += signed >> BITS
            else:
                result[i + j] += (product & np.uint64(_MASK)).astype(np.int64)
                result[i + j + 1] += (product >> np.uint64(BITS)).astype(np.int64)
    return result


def _deposit(rows: dict[int, Ints], whole: Ints, at: Ints, sign: Ints) -> None:
    """Add ``sign * whole * 2**at`` to the rows of limbs; ``whole`` within [0, 2^55)."""
    place = at >> 5
    shift = at & 31
    low = (whole & _MASK) << shift
    high = ((whole >> BITS) << shift) + (low >> BITS)
    parts = (low & _MASK, high & _MASK, high >> BITS)
    used = whole != 0
    lowest = place.min(initial=0)
    # There are few places: counting them is quicker than sorting or hashing.
    for found in (np.flatnonzero(np.bincount(place[used] - lowest)) + lowest).tolist():
        here = np.where((place == found) & used, sign, 0)
        for i, part in enumerate(parts):
            row = rows.get(found + i)
            rows[found + i] = here * part if row is None else row + here * part


def _kept(rows: dict[int, Ints], size: int) -> Exact:
    places = tuple(sorted(place for place, row in rows.items() if row.any()))
    limbs = np.stack([rows[place] for place in places]) if places else np.zeros((0, size), np.int64)
    return Exact(places, limbs)


def _as_small(values: Floats, limit: float) -> Ints | None:
    """The values as integers when all of them are, and lie within the limit."""
    if not len(values) or np.abs(values).max() >= limit:
        return None if len(values) else np.zeros(0, np.int64)
    whole = values.astype(np.int64)
    return whole if bool((whole == values).all()) else None


def _scaled(mantissas: Floats, exponents: Ints) -> Floats:
    if not exponents.any():
        return mantissas
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(mantissas, np.clip(exponents, -5000, 5000).astype(np.int32))


def _scaled_one(mantissa: float, exponent: int) -> float:
    try:
        return math.ldexp(mantissa, exponent)
    except OverflowError:
        return math.copysign(math.inf, mantissa)
