"""Aggregates of ranges of one key's events; a range is from one place in a track to another (not included)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from raypipe.stats import distinct, exact, percentile, ranges
from raypipe.stats.arrays import Floats, Ints
from raypipe.stats.tracks import Answer, Track, blank, there


def count(track: Track, low: Ints, high: Ints) -> Answer:
    """How many events."""
    return Answer(_many(track, low, high))


def _many(track: Track, low: Ints, high: Ints) -> Ints:
    return high - low if track.counts is None else track.counts[high] - track.counts[low]


def total(track: Track, low: Ints, high: Ints) -> Answer:
    """Their sum, exact and rounded once."""
    sums = exact.rounded(there(track.totals).between(low, high))
    return Answer(with_infinities(track, sums, low, high))


def mean(track: Track, low: Ints, high: Ints) -> Answer:
    """The exact sum over the count."""
    means = exact.means(there(track.totals).between(low, high), _many(track, low, high))
    return Answer(with_infinities(track, means, low, high))


def deviation(track: Track, low: Ints, high: Ints) -> Answer:
    """The sample standard deviation, from exact sums."""
    totals, squares = there(track.totals), there(track.squares)
    spread = exact.deviations(totals.between(low, high), squares.between(low, high), _many(track, low, high))
    if track.infinite is not None:
        spread[(track.infinite[:, high] - track.infinite[:, low]).any(axis=0)] = np.nan
    return Answer(spread)


def smallest(track: Track, low: Ints, high: Ints) -> Answer:
    """The smallest value."""
    return Answer(ranges.smallest(there(track.numbers), low, high))


def largest(track: Track, low: Ints, high: Ints) -> Answer:
    """The largest value."""
    return Answer(ranges.largest(there(track.numbers if track.highest is None else track.highest), low, high))


def ranked(track: Track, low: Ints, high: Ints, rank: float) -> Answer:
    """The nearest-rank percentile."""
    counts = high - low
    values = ranges.kth(there(track.numbers), low, high, percentile.place(rank, counts))
    many = counts > percentile.EXACT_UP_TO
    if many.any():
        values[many] = percentile.coarse(values[many])
    return Answer(values)


def different(track: Track, low: Ints, high: Ints) -> Answer:
    """How many different values."""
    if track.offsets is None:
        return Answer(distinct.counts(there(track.hashes), track.starts, low, high))
    starts, low, high = (track.offsets[places] for places in (track.starts, low, high))
    return Answer(distinct.counts(there(track.hashes), starts, low, high))


def first(track: Track, low: Ints, high: Ints) -> Answer:
    """The value of the first event."""
    return _kept(track, low, low < high)


def last(track: Track, low: Ints, high: Ints) -> Answer:
    """The value of the last event."""
    return _kept(track, high - 1, low < high)


def _kept(track: Track, places: Ints, some: NDArray[np.bool_]) -> Answer:
    kept = there(track.kept)
    values = blank(len(some), kept.dtype)
    values[some] = kept[places[some]]
    return Answer(values, ~some)


def with_infinities(track: Track, values: Floats, low: Ints, high: Ints) -> Floats:
    """Sums or means of finite values, made infinite (or nothing, if both signs occur) where infinities are in range."""
    if track.infinite is not None:
        plus, minus = (track.infinite[:, high] - track.infinite[:, low]) > 0
        values[plus & ~minus], values[minus & ~plus], values[plus & minus] = np.inf, -np.inf, np.nan
    return values


_WINDOWED: dict[str, Callable[[Track, Ints, Ints], Answer]] = {
    "count": count,
    "sum": total,
    "mean": mean,
    "std": deviation,
    "min": smallest,
    "max": largest,
    "distinct": different,
    "first": first,
    "last": last,
}


#: What takes longer the more events a range has: worth remembering where the same ranges are asked for again.
_REMEMBERED = frozenset({"min", "max", "percentile", "distinct"})
#: So few ranges are looked at one by one, whatever else the track holds.
_FEW = 64


def windowed(op: str, rank: float | None, track: Track, low: Ints, high: Ints) -> Answer:
    """One aggregate of each range; ``rank`` is that of a percentile."""
    if track.memo is not None and op in _REMEMBERED:
        return _remembered(op, rank, track, track.memo.setdefault((op, rank), {}), low, high)
    return _computed(op, rank, track, low, high)


def _remembered(
    op: str, rank: float | None, track: Track, memo: dict[tuple[int, int], float], low: Ints, high: Ints
) -> Answer:
    asked = list(zip(low.tolist(), high.tolist(), strict=True))
    unknown = [one for one in dict.fromkeys(asked) if one not in memo]
    for i in range(0, len(unknown), _FEW):
        some = np.array(unknown[i : i + _FEW])
        memo.update(zip(unknown[i : i + _FEW], _computed(op, rank, track, some[:, 0], some[:, 1]).values, strict=True))
    return Answer(np.array([memo[one] for one in asked], np.int64 if op == "distinct" else np.float64))


def _computed(op: str, rank: float | None, track: Track, low: Ints, high: Ints) -> Answer:
    if rank is not None:
        return ranked(track, low, high, rank)
    return _WINDOWED[op](track, low, high)
