"""Has a column moved away from its reference? Tests on counts in cells, all on one scale, with one threshold.

Every test becomes the Kolmogorov deviation z that is as unlikely as what it saw: P(Z > z) = 2 exp(-2 z^2). So numbers,
categories and gaps are compared with one threshold, which follows from how many ticks may pass, on average, between
two false alarms. A. Kolmogorov, "Sulla determinazione empirica di una legge di distribuzione", 1933.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, log_ndtr

from raypipe.stats.arrays import Ints
from raypipe.stats.bins import ABOVE, BINS, FIRST, MISSING, UNSEEN

Floats: TypeAlias = NDArray[np.float64]
#: The windows that are tested, in ticks.
SCALES = (1, 2, 4, 8, 16, 32)
#: What is tested of each column, in the order of the last axis of `Scores`.
STREAMS = ("values", "missing", "unseen")
#: By how much six windows that overlap count for more than one, found by simulation: 150,000 ticks of 20 stable columns
#: alarm as often as the budget says (`make bench-drift` repeats it).
_SCALE_FACTOR = 2.0
#: A normal deviation above which a cell is judged by the exact distribution: there the normal one is far too sure.
_SURE = 3.0
_LEAST = -690.0


@dataclass(frozen=True)
class Scores:
    """What the tests say of windows.

    Attributes:
        z: Kolmogorov deviations, shape (windows, columns, `STREAMS`).
        distance: of the values: of numbers the largest gap between the cumulative shares, of categories the largest
            between the shares of one; of gaps and the unseen the difference of their shares. The same shape.
        effective: rows that count, n N / (n + N) for n in the window and N in the reference; shape (windows, columns).
    """

    z: Floats
    distance: Floats
    effective: Floats


def threshold(ticks: float, tests: int) -> float:
    """The deviation that ``tests`` stable columns, looked at over all `SCALES`, pass once in so many ticks or less.

    >>> round(threshold(1_000, 20), 2)
    2.38
    """
    return sqrt(0.5 * log(2 * max(ticks, 2) * max(tests, 1) * _SCALE_FACTOR))


def tried(reference: Ints) -> int:
    """How many tests can give a false alarm: one a column, one more where the reference has gaps or unseen values."""
    return int(len(reference) + np.count_nonzero(reference[:, MISSING]) + np.count_nonzero(reference[:, UNSEEN]))


def scores(windows: Ints, reference: Ints, is_category: NDArray[np.bool_]) -> Scores:
    """Test windows against a reference.

    Args:
        windows: counts of shape (windows, columns, cells).
        reference: counts of shape (columns, cells), or (windows, columns, cells): one for each.
        is_category: shape (columns,).
    """
    z = np.zeros((*windows.shape[:2], len(STREAMS)))
    distance, effective = np.zeros_like(z), np.zeros(windows.shape[:2])
    numbers, categories = np.flatnonzero(~is_category), np.flatnonzero(is_category)
    for columns, test in ((numbers, _numbers), (categories, _categories)):
        if len(columns):
            found = test(windows[:, columns], reference[..., columns, :])
            z[:, columns, 0], distance[:, columns, 0], effective[:, columns] = found
    totals, known = windows.sum(axis=2), reference.sum(axis=-1)
    for stream, cell in ((1, MISSING), (2, UNSEEN)):
        k, m = windows[..., cell], reference[..., cell]
        if not (k.any() or m.any()):
            continue
        z[:, :, stream] = _kolmogorov(_cell_tails(k, totals, m, known))
        distance[:, :, stream] = np.abs(_share(k, totals) - _share(m, known))
    return Scores(z, distance, effective)


def _numbers(windows: Ints, reference: Ints) -> tuple[Floats, Floats, Floats]:
    n, known = windows[..., : ABOVE + 1].sum(axis=2), reference[..., : ABOVE + 1].sum(axis=-1)
    gap = np.abs(
        windows[..., : ABOVE + 1].cumsum(axis=2) / np.maximum(n, 1)[..., None]
        - reference[..., : ABOVE + 1].cumsum(axis=-1) / np.maximum(known, 1)[..., None]
    ).max(axis=2)
    gap = np.where((n > 0) & (known > 0), gap, 0.0)
    effective = n * known / np.maximum(n + known, 1)
    return np.sqrt(effective) * gap, gap, effective


def _categories(windows: Ints, reference: Ints) -> tuple[Floats, Floats, Floats]:
    inside = slice(FIRST, FIRST + BINS)
    k, m = windows[..., inside], reference[..., inside]
    n, known = k.sum(axis=2), m.sum(axis=-1)
    gap = np.abs(_share(k, n[..., None]) - _share(m, known[..., None])).max(axis=2)
    tails = _cell_tails(k, n[..., None], m, known[..., None])
    cells = np.maximum(((k > 0) | (m > 0)).sum(axis=2), 1)
    # One of many cells: the least of their probabilities counts as often as there are cells.
    z = _kolmogorov(np.minimum(tails.min(axis=2) + np.log(cells), 0.0))
    return z, np.where((n > 0) & (known > 0), gap, 0.0), n * known / np.maximum(n + known, 1)


def _cell_tails(k: Ints, n: Ints, m: Ints, known: Ints) -> Floats:
    """The log of how likely a share as far as k/n from m/N is, both sides, were the two of one distribution."""
    k, n, m, known = np.broadcast_arrays(k, n, m, known)
    both, rows = k + m, np.maximum(n + known, 1)
    pooled = (both + 0.5) / (rows + 1)
    effective = np.maximum(n * known / rows, 1e-9)
    deviation = np.abs(_share(k, n) - _share(m, known)) / np.sqrt(pooled * (1 - pooled) / effective)
    tails: Floats = np.minimum(log_ndtr(-deviation) + log(2), 0.0)
    rare = (deviation > _SURE) & (n > 0) & (known > 0)
    if rare.any():
        # Given how many there are in both, those in the window are binomial: exact where a cell holds next to nothing.
        a, b, share = k[rare], both[rare], (n / rows)[rare]
        upper, lower = 1.0 - bdtr(a - 1.0, b, share), bdtr(a.astype(float), b, share)
        upper = np.where(a == 0, 1.0, upper)
        exact = np.log(np.maximum(2 * np.minimum(upper, lower), np.exp(_LEAST)))
        # Beyond what doubles resolve the normal tail is the better of the two.
        tails[rare] = np.where(exact < -30, np.maximum(tails[rare], _LEAST), np.minimum(exact, 0.0))
    return np.where((n > 0) & (known > 0), tails, 0.0)


def _kolmogorov(log_tail: Floats) -> Floats:
    return np.sqrt(0.5 * np.maximum(log(2) - np.maximum(log_tail, _LEAST), 0.0)) * (log_tail < 0)


def _share(part: Ints, whole: Ints) -> Floats:
    return part / np.maximum(whole, 1)


def windows_of(ring: Sequence[Ints], scales: Sequence[int] = SCALES) -> tuple[tuple[int, ...], Ints]:
    """The windows that end now, from cumulative counts: the last of ``ring`` is now, the one before a tick ago.

    Returns:
        The scales for which there are ticks enough, and their counts, shape (scales, columns, cells).
    """
    fitting = tuple(s for s in scales if s < len(ring))
    return fitting, np.stack([ring[-1] - ring[-1 - s] for s in fitting])
