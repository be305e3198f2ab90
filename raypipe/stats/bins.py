"""Columns counted into fixed cells: integers that add up to the same whatever the order, the batch or the machine.

A number falls into one of up to 256 bins cut at quantiles of a reference, a category into the cell of its code. Four
more cells hold what lies below and above everything the reference had, what is missing, and categories never seen.
The cells of a column are laid out the same way for every column, so the counts of a whole table are one array.

The gap between two cumulative shares, read from the bins, is at most 1/256 smaller than the true one for any two
distributions without atoms, and exact at the edges: Kolmogorov-Smirnov on counts loses next to nothing.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypipe.stats.arrays import Ints

BINS = 256
#: From so many values on the columns are shared among all cores: NumPy sorts without holding Python's lock. A replica's
#: second of answers is far less.
MANY = 1_000_000
_ROWS = 512
#: The layout of a column's cells: below, `BINS` bins, above, missing, unseen.
BELOW, FIRST, ABOVE, MISSING, UNSEEN, CELLS = 0, 1, BINS + 1, BINS + 2, BINS + 3, BINS + 4


@dataclass(frozen=True)
class Binning:
    """How the columns of a matrix fall into cells.

    Attributes:
        starts: of each column where its bins start, rising, at most `BINS`; None for a category, whose value is its
            code. A bin reaches up to the next start; the last one up to the column's high, which belongs to it.
        highs: of each column the greatest value of its reference; of a category anything.
    """

    starts: tuple[NDArray[np.float32] | None, ...]
    highs: tuple[float, ...]

    @classmethod
    def of(cls, starts: Sequence[Sequence[float] | None], highs: Sequence[float]) -> "Binning":
        """From plain numbers."""
        return cls(tuple(None if cut is None else np.asarray(cut, dtype=np.float32) for cut in starts), tuple(highs))

    def count(self, matrix: NDArray[np.float32], unseen: Mapping[int, int] | None = None) -> Ints:
        """How many values of each column fall into each cell, int64 of shape (columns, `CELLS`).

        Args:
            matrix: shape (rows, columns). NaN is missing; code 0 of a category is missing or was never seen; codes
                beyond `BINS` share the last bin.
            unseen: for each category, by the column's position, how many of its zeros were never seen.

        >>> binning = Binning.of([[1.0, 2.0], None], [2.0, 0.0])
        >>> counts = binning.count(np.array([[1, 1], [2, 0], [9, 0], [np.nan, 3]], dtype=np.float32), {1: 1})
        >>> [counts[0, [1, 2, ABOVE, MISSING]].tolist(), counts[1, [1, 3, MISSING, UNSEEN]].tolist()]
        [[1, 1, 1, 1], [1, 1, 1, 1]]
        """
        counts = np.zeros((len(self.starts), CELLS), np.int64)
        workers = min(os.cpu_count() or 1, len(self.starts)) if matrix.size >= MANY else 1
        shares = np.array_split(np.arange(len(self.starts)), workers)
        if workers == 1:
            self._count(matrix, shares[0].tolist(), unseen or {}, counts)
        else:
            with ThreadPoolExecutor(workers) as pool:
                work = [pool.submit(self._count, matrix, part.tolist(), unseen or {}, counts) for part in shares]
                for one in work:
                    one.result()
        return counts

    def _count(
        self, matrix: NDArray[np.float32], places: Sequence[int], unseen: Mapping[int, int], counts: Ints
    ) -> None:
        """Columns that lie side by side; each fills a row of its own."""
        if not places:
            return
        for i, column in zip(places, _columns(matrix[:, places[0] : places[-1] + 1]), strict=True):
            starts = self.starts[i]
            if starts is None:
                _count_codes(column, unseen.get(i, 0), counts[i])
            else:
                _count_numbers(column, starts, self.highs[i], counts[i])


def _columns(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy, column by column; some rows at a time, so that those of all columns stay in the cache."""
    copied = np.empty(matrix.shape[::-1], matrix.dtype)
    for first in range(0, len(matrix), _ROWS):
        copied[:, first : first + _ROWS] = matrix[first : first + _ROWS].T
    return copied


def _count_numbers(values: NDArray[np.float32], starts: NDArray[np.float32], high: float, counts: Ints) -> None:
    """Count values, which are then in order."""
    # Sorted, a column is cut by as many look-ups as there are bins, however long it is. NaN sorts behind infinity.
    values.sort()
    present = int(np.searchsorted(values, np.float32(np.nan)))
    ordered = values[:present]
    counts[MISSING] = len(values) - present
    if not len(starts):
        counts[ABOVE] = present
        return
    before = np.searchsorted(ordered, starts, side="left")
    upto = int(np.searchsorted(ordered, np.float32(high), side="right"))
    counts[BELOW], counts[ABOVE] = before[0], present - upto
    counts[FIRST : FIRST + len(starts)] = np.diff(before, append=upto)


def _count_codes(codes: NDArray[np.float32], unseen: int, counts: Ints) -> None:
    found = np.bincount(np.minimum(codes, BINS).astype(np.int64), minlength=BINS + 1)
    counts[FIRST : FIRST + BINS] = found[1:]
    counts[MISSING], counts[UNSEEN] = found[0] - unseen, unseen
