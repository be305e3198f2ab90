"""A model's columns as one array of cells: its reference, ready to be counted into and compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raypipe.contracts import bins
from raypipe.contracts.bins import Bins, Reference
from raypipe.contracts.signature import Signature
from raypipe.stats.arrays import Ints
from raypipe.stats.bins import ABOVE, BELOW, BINS, CELLS, FIRST, MISSING, UNSEEN, Binning


@dataclass(frozen=True)
class Watched:
    """The features of a model in order and then its score, each in `raypipe.stats.bins.CELLS` cells.

    Attributes:
        names: of the columns; the last is ``score``.
        binning: counts rows of encoded features with their score beside them.
        counts: of the reference, shape (columns, cells).
        vocabularies: of each column the category of each bin; empty for a number.
        clock: columns that follow from the moment of asking alone: they move with the clock, which is no news.
    """

    names: tuple[str, ...]
    binning: Binning
    counts: Ints
    vocabularies: tuple[tuple[str, ...], ...]
    clock: frozenset[str] = frozenset()

    @classmethod
    def of(cls, reference: Reference, clock: frozenset[str] = frozenset()) -> "Watched":
        """From the record in a model's bundle, and what its definition says of the ``clock``.

        >>> column = Bins.of_numbers("score", np.array([0.25, 0.75, 0.75], dtype=np.float32))
        >>> Watched.of(Reference(rows=3, features=(), prediction=column)).counts[0, :4].tolist()
        [0, 1, 0, 2]
        """
        columns = (*reference.features, reference.prediction)
        return cls(
            names=tuple(column.name for column in columns),
            binning=_binning(columns),
            counts=np.stack([_cells(column) for column in columns]),
            vocabularies=tuple(column.values for column in columns),
            clock=clock,
        )

    def count(self, signature: Signature, frame: pl.DataFrame, answers: NDArray[np.float32]) -> Ints:
        """How many values of feature rows and of their answers fall into each cell, shape (columns, cells).

        Args:
            signature: how rows are encoded, its columns in the order of ours.
            frame: feature rows.
            answers: one each, see `raypipe.contracts.bins.answers`.
        """
        names = [column.name for column in signature.columns]
        unseen = {names.index(name): count for name, count in signature.unseen(frame).items()}
        return self.binning.count(np.column_stack([signature.encode(frame), answers]), unseen)

    @property
    def is_category(self) -> NDArray[np.bool_]:
        """Which columns are categories, shape (columns,)."""
        return np.array([bool(words) for words in self.vocabularies])

    @property
    def is_clock(self) -> NDArray[np.bool_]:
        """Which columns follow the clock, shape (columns,)."""
        return np.array([name in self.clock for name in self.names])


def _binning(columns: Sequence[Bins]) -> Binning:
    return Binning.of([None if column.values else column.starts for column in columns], [c.high for c in columns])


def _cells(column: Bins) -> Ints:
    """The record's cells in our order; categories beyond the last bin share it, as they do when they are counted."""
    row = np.zeros(CELLS, np.int64)
    special, own = column.counts[: len(bins.SPECIAL)], column.counts[len(bins.SPECIAL) :]
    for cell, place in ((MISSING, bins.MISSING), (BELOW, bins.BELOW), (ABOVE, bins.ABOVE), (UNSEEN, bins.UNSEEN)):
        row[cell] = special[place]
    np.add.at(row, FIRST + np.minimum(np.arange(len(own)), BINS - 1), np.asarray(own, dtype=np.int64))
    return row
