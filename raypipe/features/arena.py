"""The stored states that a process has read since the store last changed: decoded once, asked about many times."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raypipe.features.layout import parsed, require_version
from raypipe.features.plan import GroupPlan
from raypipe.features.state import matrices_of, track_block
from raypipe.stats import stored
from raypipe.stats.arrays import Ints
from raypipe.stats.blocks import Slots
from raypipe.stats.tracks import Texts, Track


class Arena:
    """Entities of one group that are laid out alike, behind one another. Grows by adding; nothing in it changes.

    Args:
        plan: the compiled group.
        head: what every value in it begins with.

    Raises:
        FeatureError: the values were written by another version.
    """

    def __init__(self, plan: GroupPlan, head: bytes) -> None:
        require_version(head)
        self._plan, self._layout = plan, parsed(plan, head)
        self._matrices = {lot: _Rows(height) for lot, height in self._layout.lots.items()}
        self._starts = {lot: _Rows(1) for lot in self._layout.lots}
        for starts in self._starts.values():
            starts.add(np.zeros((1, 1), np.int64))
        self._texts = [Texts() if rows.text else None for rows in self._layout.tracks]
        self._memos: list[dict[tuple[str, float | None], dict[tuple[int, int], float]]] = [{} for _ in plan.tracks]
        self._tracks: list[Track] | None = None
        self._many = 0

    def add(self, values: Sequence[bytes]) -> int:
        """Take in the states of some entities, as `pack` gave them; the number of the first in the arena."""
        new = matrices_of(self._layout, values)
        for rows, texts, said in zip(self._layout.tracks, self._texts, new.texts, strict=True):
            if texts is not None and said is not None:
                starts = new.starts[rows.lot]
                texts.starts += (self._matrices[rows.lot].used + starts[:-1]).tolist()
                texts.begins += np.split(new.rows[rows.lot][rows.begins_of_texts].copy(), starts[1:-1])
                blob, ends = said[0].tobytes(), np.cumsum(said[1])
                texts.blobs += [
                    blob[end - size : end] for end, size in zip(ends.tolist(), said[1].tolist(), strict=True)
                ]
        for lot, matrix in new.rows.items():
            self._starts[lot].add((self._matrices[lot].used + new.starts[lot][1:])[None])
            self._matrices[lot].add(matrix)
        self._tracks = None
        self._many += len(values)
        return self._many - len(values)

    def too_early(self, numbers: Ints, asked: Ints) -> NDArray[np.bool_]:
        """Which questions are asked before all that is stored of their entity was known; -1: nothing is.

        Args:
            numbers: for each question the number of its entity.
            asked: when each is asked.
        """
        if not self._plan.late:
            return np.zeros(len(numbers), np.bool_)
        last = {lot: starts.view()[0][1:] - 1 for lot, starts in self._starts.items()}
        settled = np.max([self._matrices[lot].view()[1, last[lot]] for lot in last], axis=0)
        early: NDArray[np.bool_] = (numbers >= 0) & (asked < settled[numbers])
        return early

    def tracks(self) -> Sequence[Track]:
        """All entities as the kernel wants them."""
        if self._tracks is None:
            matrices = {lot: rows.view() for lot, rows in self._matrices.items()}
            slots = {lot: Slots(self._starts[lot].view()[0], matrix[0]) for lot, matrix in matrices.items()}
            self._tracks = []
            for i, rows in enumerate(self._layout.tracks):
                block = track_block(rows, matrices[rows.lot], slots[rows.lot])
                track = stored.track(self._plan.tracks[i], block, self._texts[i])
                track.memo = self._memos[i]
                self._tracks.append(track)
        return self._tracks


class _Rows:
    """Rows of integers that grow to the right, with room to spare."""

    def __init__(self, height: int) -> None:
        self._room, self.used = np.empty((height, 64), np.int64), 0

    def add(self, matrix: Ints) -> None:
        need = self.used + matrix.shape[1]
        if need > self._room.shape[1]:
            room = np.empty((len(self._room), 2 * need), np.int64)
            room[:, : self.used] = self._room[:, : self.used]
            self._room = room
        self._room[:, self.used : need] = matrix
        self.used = need

    def view(self) -> Ints:
        return self._room[:, : self.used]
