"""How many different values: exact up to 1,024, then estimated from an even sample of all values.

Every value has a fixed 64-bit hash. Of many values only those are counted whose hash begins with z zero bits, with the
smallest z that leaves at most 1,024, and the count is taken 2^z times: a standard error of 3 to 4.5 %. Which values
are in the sample depends on the values alone, so that any order, partition or merge gives the same bits.
"""

import hashlib

import numpy as np
import pyarrow as pa

from raypipe.stats import ranges
from raypipe.stats.arrays import Floats, Hashes, Ints, Values
from raypipe.stats.places import few

EXACT_UP_TO = 1024


def of(values: Values) -> Hashes:
    """Hashes of doubles, 64-bit integers or texts, the same on every machine.

    >>> of(np.array(["a", "b", "a"], object)).tolist() == [of_text("a"), of_text("b"), of_text("a")]
    True
    """
    if values.dtype == np.float64:
        return of_doubles(values)
    if values.dtype == np.int64:
        return of_integers(values)
    coded = pa.array(values, pa.large_string()).dictionary_encode()
    hashes: Hashes = np.array([of_text(text) for text in coded.dictionary.to_pylist()], np.uint64)
    found: Hashes = hashes[coded.indices.to_numpy()]
    return found


def of_integers(values: Ints) -> Hashes:
    """Hashes of 64-bit integers: the finalizer of SplitMix64, a permutation, so different values never meet.

    >>> of_integers(np.array([1, 2, 1])).tolist()
    [10451216379200822465, 10905525725756348110, 10451216379200822465]
    """
    mixed = values.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def of_doubles(values: Floats) -> Hashes:
    """Hashes of doubles by their bits; both zeros are one value."""
    return of_integers((values + 0.0).view(np.int64))


def of_text(text: str) -> int:
    """The hash of a text: eight bytes of BLAKE2b over its UTF-8."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def counts(hashes: Hashes, starts: Ints, low: Ints, high: Ints) -> Ints:
    """How many different values each range holds.

    Args:
        hashes: of the values, sorted by key, then time.
        starts: shape (keys + 1,); where each key's values begin. No range crosses one.
        low: where each range begins.
        high: where it ends (not included).

    >>> hashes = of_integers(np.array([7, 7, 8]))
    >>> counts(hashes, np.array([0, 3]), np.array([0, 0, 2]), np.array([3, 2, 2])).tolist()
    [2, 1, 0]
    """
    if few(len(low), len(hashes)):
        return np.array([count_one(hashes[a:b]) for a, b in zip(low.tolist(), high.tolist(), strict=True)], np.int64)
    none = np.zeros(0, np.int64)
    return counts_without(hashes, starts, low, high, none, none)


def counts_without(hashes: Hashes, starts: Ints, low: Ints, high: Ints, whose: Ints, gaps: Ints) -> Ints:
    """The same, where some places within a range are left out.

    Args:
        hashes: as in `counts`.
        starts: as in `counts`.
        low: as in `counts`.
        high: as in `counts`.
        whose: the number of a range, ascending, for each
        gaps: place that is left out of it.
    """
    owners = np.repeat(np.arange(len(starts) - 1, dtype=np.int64), np.diff(starts))
    result = np.zeros(len(low), np.int64)
    asked, level = np.arange(len(low)), 0
    while len(asked):
        found = _different(hashes, owners, low, high)
        if len(gaps):
            found = found - _only(hashes, owners, low, high, whose, gaps)
        done = found <= EXACT_UP_TO
        result[asked[done]] = found[done] << level
        asked, low, high = asked[~done], low[~done], high[~done]
        if len(asked):
            level += 1
            kept = (hashes >> np.uint64(64 - level)) == 0
            before = np.concatenate([[0], np.cumsum(kept)])
            here = kept[gaps] & ~done[whose]
            whose, gaps = (np.cumsum(~done) - 1)[whose[here]], before[gaps[here]]
            hashes, owners, low, high = hashes[kept], owners[kept], before[low], before[high]
    return result


def count_one(hashes: Hashes) -> int:
    """How many different values there are."""
    ordered = np.sort(hashes)
    different = ordered[np.append(ordered[:-1] != ordered[1:], values=True)] if len(ordered) else ordered
    level = 0
    while len(different) > EXACT_UP_TO:
        level += 1
        different = different[: int(np.searchsorted(different, np.uint64(1) << np.uint64(64 - level)))]
    return len(different) << level


def _different(hashes: Hashes, owners: Ints, low: Ints, high: Ints) -> Ints:
    """A value counts at its first place in a range: where the same value before it lies before the range."""
    order = np.lexsort((hashes, owners))
    same = (hashes[order][1:] == hashes[order][:-1]) & (owners[order][1:] == owners[order][:-1])
    before = np.full(len(hashes), -1, np.int64)
    before[order[1:][same]] = order[:-1][same]
    return ranges.below(before + 1, low + 1, low, high)


def _only(hashes: Hashes, owners: Ints, low: Ints, high: Ints, whose: Ints, gaps: Ints) -> Ints:
    """How many values of each range are at no other place of it than at those that are left out."""
    order = np.lexsort((hashes, owners))
    new = (hashes[order][1:] != hashes[order][:-1]) | (owners[order][1:] != owners[order][:-1])
    values = np.empty(len(order), np.int64)
    values[order] = np.cumsum(np.append(False, new))
    span = len(hashes) + 1
    there = values[order] * span + order  # by value, then place
    pairs, left_out = np.unique(whose * span + values[gaps], return_counts=True)
    range_, value = pairs // span, pairs % span
    occurs = np.searchsorted(there, value * span + high[range_]) - np.searchsorted(there, value * span + low[range_])
    return np.bincount(range_[occurs == left_out], minlength=len(low))
