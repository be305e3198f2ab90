"""How large a move is, in the measures that people know, read from counts in cells. None of them decides anything."""

import numpy as np

from raypipe.stats.bins import ABOVE, BINS, FIRST, MISSING, UNSEEN
from raypipe.stats.exact import Ints
from raypipe.stats.shift import Floats


def shares(counts: Ints, groups: int = 0) -> Floats:
    """Cells as shares of all rows, gaps and the unseen included; bins side by side merged into ``groups`` if given."""
    row = counts.astype(float)
    if groups:
        # About equal mass a group: the bins are cut at quantiles of the reference.
        merged = np.add.reduceat(row[FIRST : FIRST + BINS], np.arange(groups) * BINS // groups)
        row = np.array([row[0], *merged, row[ABOVE], row[MISSING], row[UNSEEN]])
    shared: Floats = row / max(row.sum(), 1.0)
    return shared


def population_stability(window: Ints, reference: Ints, groups: int = 10) -> float:
    """The population stability index over ten groups of bins, shares below 1 in 10,000 taken as that.

    >>> a = np.zeros(260, np.int64); a[1:257] = 4
    >>> population_stability(a, a)
    0.0
    """
    p, q = np.maximum(shares(reference, groups), 1e-4), np.maximum(shares(window, groups), 1e-4)
    return float(((q - p) * np.log(q / p)).sum())


def jensen_shannon(window: Ints, reference: Ints) -> float:
    """The Jensen-Shannon distance in base 2: 0 for the same shares, 1 for two that share nothing."""
    p, q = shares(reference), shares(window)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(p > 0, p * np.log2(p / middle), 0.0) + np.where(q > 0, q * np.log2(q / middle), 0.0)
    return float(np.sqrt(max(parts.sum() / 2, 0.0)))


def centres(starts: Floats, high: float) -> Floats:
    """A value that stands for each cell from below to above: the middle of a bin, the ends for what lies outside.

    Infinite ends, which bundles of old may have, count as the last finite one.
    """
    known = np.append(starts, high)
    finite = known[np.isfinite(known)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    starts = np.clip(starts, low, high)
    ends = np.append(starts[1:], high)
    middles = np.full(BINS, high, dtype=float)
    middles[: len(starts)] = (starts + ends) / 2
    return np.concatenate([[starts[0] if len(starts) else high], middles, [high]])


def wasserstein(window: Ints, reference: Ints, centre: Floats) -> float:
    """The mean distance that values have to be moved, in the column's own unit; values outside count as the ends.

    Args:
        window: cells of one column of numbers.
        reference: likewise.
        centre: as `centres` gives it.
    """
    a, b = window[: ABOVE + 1].astype(float), reference[: ABOVE + 1].astype(float)
    if not a.sum() or not b.sum():
        return 0.0
    gap = np.abs(a.cumsum() / a.sum() - b.cumsum() / b.sum())
    return float((gap[:-1] * np.diff(centre)).sum())


def quantile(counts: Ints, centre: Floats, share: float) -> float:
    """The value that this share of a column of numbers lies at or below, as far as its bins tell; NaN for none."""
    row = counts[: ABOVE + 1].cumsum()
    return float(centre[int(np.searchsorted(row, share * row[-1]))]) if row[-1] else float("nan")


def spread(counts: Ints, centre: Floats) -> float:
    """The standard deviation of a column of numbers, as far as its bins tell."""
    row = counts[: ABOVE + 1]
    if not row.sum():
        return 0.0
    mean = (row * centre).sum() / row.sum()
    return float(np.sqrt((row * (centre - mean) ** 2).sum() / row.sum()))
