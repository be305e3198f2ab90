"""Answers to repeated questions: of one model, under one state of the stored features, bounded."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.serving.parse import Row


class Computed(NamedTuple):
    """What was computed for some rows: their features as the log has them, what the model saw of them, its scores."""

    features: Sequence[Sequence[object]]
    matrix: NDArray[np.float32]
    scores: NDArray[np.float32]

    def part(self, places: Sequence[int]) -> "Computed":
        """The same for some of the rows."""
        at = list(places)
        return Computed([self.features[place] for place in at], self.matrix[at], self.scores[at])


class Cache:
    """The answers that were asked for last. It belongs to one engine, so to one model digest.

    Features follow from the question and from what is stored, so that the same question has the same answer until the
    store is filled anew or updated, which its generation and its watermark tell; then all answers go.

    Args:
        most: how many are kept; those that were not asked for the longest go first. 0: none.

    >>> cache, made = Cache(1), Computed([(1,)], np.zeros((1, 1), np.float32), np.zeros(1, np.float32))
    >>> cache.keep((7, 1), [("a",)], made)
    >>> cache.find((7, 1), ("a",)) is not None, cache.find((7, 1), ("b",)) is None, cache.find((7, 2), ("a",)) is None
    (True, True, True)
    """

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self._state = (-1, -1)
        self._kept: OrderedDict[Row, Computed] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def resize(self, most: int) -> None:
        """Keep more or fewer from now on."""
        self.most = most
        self._shrink()

    def find(self, state: tuple[int, int], row: Row) -> Computed | None:
        """The answer to a question, or None."""
        self._follow(state)
        found = self._kept.get(row)
        if found is not None:
            self._kept.move_to_end(row)
        return found

    def keep(self, state: tuple[int, int], rows: Sequence[Row], computed: Computed) -> None:
        """Keep what was computed from a state of the store."""
        self._follow(state)
        for place, row in enumerate(rows):
            # Copies, so that one row does not keep the whole batch in memory.
            one = slice(place, place + 1)
            values = Computed([computed.features[place]], computed.matrix[one].copy(), computed.scores[one].copy())
            self._kept[row] = values
        self._shrink()

    def _follow(self, state: tuple[int, int]) -> None:
        if state != self._state:
            self._kept.clear()
            self._state = state

    def _shrink(self) -> None:
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)


def joined(parts: Sequence[Computed]) -> Computed:
    """Several in one, in their order."""
    return Computed(
        [row for part in parts for row in part.features],
        np.concatenate([part.matrix for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )
