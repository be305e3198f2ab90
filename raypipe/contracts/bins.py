"""What a model saw when it was made, as counts in fixed cells: what is served later is counted into the same cells.

A number has at most 256 cells, cut at quantiles of the reference; a value that many rows share has a cell of its own. A
category has one cell for each value it had. Four cells stand before them, for what belongs to none. Counts are whole
numbers over the same cells, so those of replicas and hours add up exactly.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raypipe.contracts.judged import Judged, JudgedNumbers
from raypipe.contracts.records import Record
from raypipe.contracts.signature import Signature

#: The cells of a number, beside those in `SPECIAL`.
CELLS = 256
#: The cells that every column has, before its own: null or NaN; below and above the reference; a category not in it.
SPECIAL = ("missing", "below", "above", "unseen")
MISSING, BELOW, ABOVE, UNSEEN = range(len(SPECIAL))

Ints = NDArray[np.int64]
_LARGEST = np.finfo(np.float32).max


class Bins(Record, frozen=True, kw_only=True):
    """The cells of one column, and how many rows of the reference lie in each.

    Attributes:
        name: of the feature; ``score`` for what the model answers.
        starts: of a number: where each cell starts, rising, each a float32. A cell reaches up to the next start; the
            last one up to ``high``, and both ends belong to it. Empty for a category.
        high: of a number: the largest value of the reference.
        values: of a category: the value of each cell. Empty for a number.
        counts: rows in each cell, those of `SPECIAL` first.
    """

    name: str
    starts: tuple[float, ...]
    high: float
    values: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def of_numbers(cls, name: str, values: NDArray[np.float32]) -> "Bins":
        """Cells cut at the quantiles of ``values``, shape (rows,), where NaN is a missing value.

        >>> Bins.of_numbers("n", np.array([1, 1, 1, 2, np.nan], dtype=np.float32)).counts
        (1, 0, 0, 0, 3, 0, 1)
        """
        # JSON knows no infinity: such values lie beyond the ends, where they are counted as below and above.
        known = np.sort(np.clip(values[~np.isnan(values)], -_LARGEST, _LARGEST))
        if not len(known):
            return cls(name=name, starts=(), high=0.0, values=(), counts=(len(values), 0, 0, 0))
        cuts, often = np.unique(known[np.arange(CELLS) * len(known) // CELLS], return_counts=True)
        # A value that fills whole cells gets one of its own: nothing else is counted with it.
        after = np.nextafter(cuts[often > 1], np.float32(np.inf))
        starts = np.unique(np.concatenate([cuts, after[after <= known[-1]]]))
        empty = cls(name=name, starts=tuple(starts.tolist()), high=float(known[-1]), values=(), counts=())
        return empty._holding(empty.count(values))

    @classmethod
    def of_categories(cls, name: str, vocabulary: tuple[str, ...], codes: NDArray[np.float32], missing: int) -> "Bins":
        """One cell a value; ``codes`` as `Signature.encode` gives them, of which so many are 0 for a missing value."""
        empty = cls(name=name, starts=(), high=0.0, values=vocabulary, counts=())
        return empty._holding(empty.count(codes, missing))

    @property
    def cells(self) -> int:
        """How many cells there are, the special ones included."""
        return len(SPECIAL) + (len(self.values) or len(self.starts))

    def count(self, column: NDArray[np.float32], missing: int = 0) -> Ints:
        """How many values of an encoded column lie in each cell, shape (cells,).

        Args:
            column: a column of the matrix of `Signature.encode`, or scores.
            missing: of a category: how many values are missing; the other zeros were never seen.
        """
        if self.values:
            counts = np.bincount(column.astype(np.int64) + len(SPECIAL) - 1, minlength=self.cells)
            unknown, counts[len(SPECIAL) - 1] = int(counts[len(SPECIAL) - 1]), 0
            counts[MISSING], counts[UNSEEN] = missing, unknown - missing
            return counts
        gap = np.isnan(column)
        cell = np.searchsorted(np.asarray(self.starts, dtype=np.float32), column, side="right") - 1 + len(SPECIAL)
        cell[column < (self.starts[0] if self.starts else np.inf)] = BELOW
        cell[column > self.high] = ABOVE
        cell[gap] = MISSING
        return np.bincount(cell, minlength=self.cells)

    def _holding(self, counts: Ints) -> "Bins":
        return Bins(
            name=self.name, starts=self.starts, high=self.high, values=self.values, counts=tuple(counts.tolist())
        )


def answers(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is counted of scores: themselves, shape (rows,), or of (rows, classes) the code of the most probable.

    >>> answers(np.array([[0.1, 0.9]], dtype=np.float32)).tolist()
    [2.0]
    """
    return scores if scores.ndim == 1 else scores.argmax(axis=1).astype(np.float32) + 1


class Reference(Record, frozen=True, kw_only=True):
    """What a model was judged on, in cells: the rows of the holdout, whose scores no row was learned for.

    ``features`` stand in the signature's order. ``judged`` is what came true, of answers in numbers ``numbers``; both
    are None in bundles of old.
    """

    rows: int
    features: tuple[Bins, ...]
    prediction: Bins
    judged: Judged | None = None
    numbers: JudgedNumbers | None = None

    @classmethod
    def of(
        cls,
        frame: pl.DataFrame,
        signature: Signature,
        scores: NDArray[np.float32],
        classes: tuple[str, ...] = (),
        judged: Judged | JudgedNumbers | None = None,
    ) -> "Reference":
        """Cells for feature rows and the score of each, shape (rows,), or of classes (rows, classes).

        Of classes the most probable one is counted.
        """
        x = signature.encode(frame)
        return cls(
            rows=len(x),
            features=tuple(
                Bins.of_numbers(column.name, x[:, i])
                if not column.vocabulary
                else Bins.of_categories(column.name, column.vocabulary, x[:, i], frame[column.name].null_count())
                for i, column in enumerate(signature.columns)
            ),
            prediction=Bins.of_categories("score", classes, answers(scores), 0)
            if classes
            else Bins.of_numbers("score", scores),
            judged=judged if isinstance(judged, Judged) else None,
            numbers=judged if isinstance(judged, JudgedNumbers) else None,
        )
