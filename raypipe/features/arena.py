"""The stored states that a process has read since the store last changed: decoded once, asked about many times."""

from collections.abc import Iterator, Sequence

import numpy as np

from raypipe.features.blocks import Block, Slots
from raypipe.features.layout import Layout
from raypipe.features.plan import GroupPlan, TrackPlan
from raypipe.features.state import Stored, track_block
from raypipe.features.tracks import Kept, Texts, Track
from raypipe.stats.exact import Exact, Ints


class Arena:
    """Entities of one group that are laid out alike, behind one another. Grows by adding; nothing in it changes.

    Args:
        plan: the compiled group.
        layout: of every state in it.
    """

    def __init__(self, plan: GroupPlan, layout: Layout) -> None:
        self._plan, self._layout = plan, layout
        self._matrices = {lot: _Rows(height) for lot, height in layout.lots.items()}
        self._starts = {lot: _Rows(1) for lot in layout.lots}
        for starts in self._starts.values():
            starts.add(np.zeros((1, 1), np.int64))
        self._texts = [Texts() if rows.text else None for rows in layout.tracks]
        self._memos: list[dict[tuple[str, float | None], dict[tuple[int, int], float]]] = [{} for _ in plan.tracks]
        self._tracks: list[Track] | None = None
        self._many = 0

    def add(self, stored: Stored) -> int:
        """Take in the state of an entity; its number in the arena."""
        blobs = iter(stored.blobs)
        lots = dict(zip(self._layout.lots, stored.lots, strict=True))
        for rows, texts in zip(self._layout.tracks, self._texts, strict=True):
            if texts is not None:
                texts.starts.append(self._matrices[rows.lot].used)
                texts.begins.append(lots[rows.lot][rows.first + rows.running + rows.plain].copy())
                texts.blobs.append(next(blobs))
        for lot, matrix in lots.items():
            self._matrices[lot].add(matrix)
            self._starts[lot].add(np.array([[self._matrices[lot].used]]))
        self._tracks = None
        self._many += 1
        return self._many - 1

    def tracks(self) -> Sequence[Track]:
        """All entities as the kernel wants them."""
        if self._tracks is None:
            matrices = {lot: rows.view() for lot, rows in self._matrices.items()}
            slots = {lot: Slots(self._starts[lot].view()[0], matrix[0]) for lot, matrix in matrices.items()}
            self._tracks = []
            for i, rows in enumerate(self._layout.tracks):
                block = track_block(rows, matrices[rows.lot], slots[rows.lot])
                self._tracks.append(_track(self._plan.tracks[i], block, self._texts[i], self._memos[i]))
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


def _track(
    shape: TrackPlan,
    block: Block,
    texts: Texts | None,
    memo: dict[tuple[str, float | None], dict[tuple[int, int], float]],
) -> Track:
    a = len(block.totals)
    b = a + len(block.squares)
    plain = iter(block.plain)
    fading = dict(enumerate(block.fading))
    split = len(shape.half_lives) if shape.value is not None else 0
    return Track(
        starts=block.slots.starts,
        times=block.slots.times,
        totals=Exact(block.totals, block.running[:a]) if shape.totals else None,
        squares=Exact(block.squares, block.running[a:b]) if shape.squares else None,
        infinite=block.running[b:] if block.infinite else None,
        numbers=next(plain).view(np.float64) if shape.numbers else None,
        hashes=next(plain).view(np.uint64) if shape.hashes else None,
        kept=_kept(shape, texts, plain) if shape.kept else None,
        decayed={h: fading[i] for i, h in enumerate(block.half_lives[:split])},
        decayed_counts={h: fading[split + i] for i, h in enumerate(block.half_lives[split:])},
        firsts=block.firsts[0] if shape.firsts else None,
        memo=memo,
    )


def _kept(shape: TrackPlan, texts: Texts | None, plain: Iterator[Ints]) -> Kept:
    if texts is not None:
        return texts
    row = next(plain)
    return row.view(np.float64) if shape.is_float else row
