"""Columns counted into fixed cells: integers that add up to the same whatever the order, the batch or the machine.

A number falls into one of up to 256 bins cut at quantiles of a reference, a category into the cell of its code. Four
more cells hold what lies below and above everything the reference had, what is missing, and categories never seen.
The cells of a column are laid out the same way for every column, so the counts of a whole table are one array.

The gap between two cumulative shares, read from the bins, is at most 1/256 smaller than the true one for any two
distributions without atoms, and exact at the edges: Kolmogorov-Smirnov on counts loses next to nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypipe.stats.arrays import Ints

BINS = 256
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
        columns = np.ascontiguousarray(matrix.T)
        for i, (starts, high) in enumerate(zip(self.starts, self.highs, strict=True)):
            if starts is None:
                _count_codes(columns[i], (unseen or {}).get(i, 0), counts[i])
            else:
                _count_numbers(columns[i], starts, high, counts[i])
        return counts


def _count_numbers(values: NDArray[np.float32], starts: NDArray[np.float32], high: float, counts: Ints) -> None:
    # Sorted, a column is cut by as many look-ups as there are bins, however long it is. NaN sorts behind infinity.
    ordered = np.sort(values)
    present = int(np.searchsorted(ordered, np.float32(np.nan)))
    ordered = ordered[:present]
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
