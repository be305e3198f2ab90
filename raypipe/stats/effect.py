"""How large a move is, in the measures that people know, read from counts in cells. None of them decides anything.

Counts and what stands for cells have the cells last; all other axes, such as columns, are taken through alike.
"""

import numpy as np

from raypipe.stats.arrays import Ints
from raypipe.stats.bins import ABOVE, BINS, FIRST, MISSING, UNSEEN
from raypipe.stats.shift import Floats


def shares(counts: Ints, groups: int = 0) -> Floats:
    """Cells as shares of all rows, gaps and the unseen included; bins side by side merged into ``groups`` if given."""
    cells = counts.astype(float)
    if groups:
        # About equal mass a group: the bins are cut at quantiles of the reference.
        merged = np.add.reduceat(cells[..., FIRST : FIRST + BINS], np.arange(groups) * BINS // groups, axis=-1)
        cells = np.concatenate([cells[..., :1], merged, cells[..., [ABOVE, MISSING, UNSEEN]]], axis=-1)
    shared: Floats = cells / np.maximum(cells.sum(axis=-1, keepdims=True), 1.0)
    return shared


def population_stability(window: Ints, reference: Ints, groups: int = 10) -> Floats:
    """The population stability index over ten groups of bins, shares below 1 in 10,000 taken as that.

    >>> a = np.zeros(260, np.int64); a[1:257] = 4
    >>> float(population_stability(a, a))
    0.0
    """
    p, q = np.maximum(shares(reference, groups), 1e-4), np.maximum(shares(window, groups), 1e-4)
    index: Floats = ((q - p) * np.log(q / p)).sum(axis=-1)
    return index


def jensen_shannon(window: Ints, reference: Ints) -> Floats:
    """The Jensen-Shannon distance in base 2: 0 for the same shares, 1 for two that share nothing."""
    p, q = shares(reference), shares(window)
    middle = np.maximum((p + q) / 2, 1e-300)
    parts = p * np.log2(np.maximum(p, 1e-300) / middle) + q * np.log2(np.maximum(q, 1e-300) / middle)
    distance: Floats = np.sqrt(np.maximum(parts.sum(axis=-1) / 2, 0.0))
    return distance


def centres(starts: Floats, high: float) -> Floats:
    """A value that stands for each cell from below to above: the middle of a bin, the ends for what lies outside.

    A bin that ends with the next float32 holds one value, which stands for it.
    Infinite ends, which bundles of old may have, count as the last finite one.
    """
    known = np.append(starts, high)
    finite = known[np.isfinite(known)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    starts = np.clip(starts, low, high)
    ends = np.append(starts[1:], high)
    middles = np.full(BINS, high, dtype=float)
    with np.errstate(over="ignore"):  # behind the largest float32 comes infinity
        single = ends <= np.nextafter(starts.astype(np.float32), np.float32(np.inf))
    middles[: len(starts)] = np.where(single, starts, (starts + ends) / 2)
    return np.concatenate([[starts[0] if len(starts) else high], middles, [high]])


def wasserstein(window: Ints, reference: Ints, centre: Floats) -> Floats:
    """The mean distance that values have to be moved, in the column's own unit; values outside count as the ends.

    Args:
        window: cells of columns of numbers.
        reference: likewise.
        centre: as `centres` gives it.

    Returns:
        0 where either holds no values.
    """
    a, b = _cumulative(window), _cumulative(reference)
    moved = (np.abs(a - b)[..., :-1] * np.diff(centre)).sum(axis=-1)
    return np.where(a[..., -1] * b[..., -1] > 0, moved, 0.0)


def quantile(counts: Ints, centre: Floats, share: float) -> Floats:
    """The value that this share of a column of numbers lies at or below, as far as its bins tell; NaN for none."""
    rows = counts[..., : ABOVE + 1].cumsum(axis=-1)
    known = rows[..., -1:]
    place = (rows < share * known).sum(axis=-1, keepdims=True)
    found: Floats = np.where(known > 0, np.take_along_axis(centre, place, axis=-1), np.nan)[..., 0]
    return found


def spread(counts: Ints, centre: Floats) -> Floats:
    """The standard deviation of a column of numbers, as far as its bins tell; 0 for none."""
    rows = counts[..., : ABOVE + 1]
    known = np.maximum(rows.sum(axis=-1, keepdims=True), 1)
    mean = (rows * centre).sum(axis=-1, keepdims=True) / known
    found: Floats = np.sqrt((rows * (centre - mean) ** 2).sum(axis=-1) / known[..., 0])
    return found


def _cumulative(counts: Ints) -> Floats:
    rows = counts[..., : ABOVE + 1].cumsum(axis=-1)
    shared: Floats = rows / np.maximum(rows[..., -1:], 1)
    return shared
