"""The stored state of one entity in one group: the rows of its tracks behind one another, ready to be read.

Everything is in 8-byte slots: the version; the length of the layout, and the layout; for each lot of tracks that have
the same events the number of its events; then for each lot its times and the rows of its tracks, each one slot longer
than events; last the bytes of texts, padded.

The layout says for each track: which track's events it has (its own number, or that of an earlier one), 1 if it counts
infinities, and for totals and squares how many limbs there are and their places. Entities that are stored together
have few different layouts, so that many are packed and read at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.errors import FeatureError
from raypipe.features.blocks import Block, Slots
from raypipe.features.plan import GroupPlan, TrackPlan
from raypipe.features.tracks import Track
from raypipe.stats.exact import Exact, Floats, Ints

VERSION = 2
_SLOT = 8
#: Limbs that fewer than one in so many entities need are stored for those alone.
RARE = 100


@dataclass(frozen=True)
class Rows:
    """The rows of one track within the matrix of its lot, which begins with the times.

    Attributes:
        lot: the track that the events are those of.
        first: the row in which it begins.
        totals, squares: places of the limbs, one row each.
        infinite: two rows count infinities.
        plain: how many rows of values as they are there are; then, of texts, one of where each begins.
        half_lives: of the rows that fade.
        text: it has texts.
        firsts: the last row tells the time of the first event.
    """

    lot: int
    first: int
    totals: tuple[int, ...]
    squares: tuple[int, ...]
    infinite: bool
    plain: int
    half_lives: tuple[int, ...]
    text: bool
    firsts: bool

    @property
    def running(self) -> int:
        """How many rows of running totals."""
        return len(self.totals) + len(self.squares) + 2 * self.infinite

    @property
    def end(self) -> int:
        """The row behind the last."""
        return self.first + self.running + self.plain + self.text + len(self.half_lives) + self.firsts


@dataclass(frozen=True)
class Layout:
    """How the state of some entities is laid out: one entry a track."""

    tracks: tuple[Rows, ...]

    @cached_property
    def lots(self) -> dict[int, int]:
        """How many rows the matrix of each lot has."""
        heights: dict[int, int] = {}
        for rows in self.tracks:
            heights[rows.lot] = rows.end
        return heights

    @cached_property
    def begins_of_texts(self) -> list[tuple[int, int]]:
        """For each track with texts the place of its lot, and the row that says where each text begins."""
        lots = list(self.lots)
        texts = (rows for rows in self.tracks if rows.text)
        return [(lots.index(rows.lot), rows.first + rows.running + rows.plain) for rows in texts]

    @cached_property
    def head(self) -> bytes:
        """What stands before the numbers of events."""
        said: list[int] = []
        for rows in self.tracks:
            said += [rows.lot, rows.infinite, len(rows.totals), *rows.totals, len(rows.squares), *rows.squares]
        return np.array([VERSION, len(said), *said], np.int64).tobytes()


@dataclass(frozen=True, slots=True)
class Stored:
    """The state of one entity, as read.

    Attributes:
        layout: what it holds.
        value: all of it; ``ints`` and ``doubles`` are its slots as the one and as the other.
        begins: for each lot the slot in which its matrix begins, whose first row is the times.
        widths: how many events and one each has.
        texts: for each track with texts the byte in which they begin.
        memo: what was said before of long ranges: by what, from which slot, to which.
        said: what was last said of all windows, by where they began and ended.
    """

    layout: Layout
    value: bytes
    ints: "memoryview[int]"
    doubles: "memoryview[float]"
    begins: tuple[int, ...]
    widths: tuple[int, ...]
    texts: tuple[int, ...]
    memo: dict[tuple[tuple[str, float | None], int, int], float] = field(default_factory=dict)
    said: dict[tuple[int, ...], list[float | int | str | None]] = field(default_factory=dict)

    @property
    def lots(self) -> list[Ints]:
        """For each lot its matrix, shape (rows, events + 1)."""
        whole = np.frombuffer(self.value, np.int64)
        sizes = zip(self.begins, self.layout.lots.values(), self.widths, strict=True)
        return [whole[at : at + height * width].reshape(height, width) for at, height, width in sizes]

    @property
    def blobs(self) -> list[bytes]:
        """For each track with texts their bytes."""
        begins = (self.begins[lot] + (row + 1) * self.widths[lot] - 1 for lot, row in self.layout.begins_of_texts)
        return [self.value[at : at + self.ints[last]] for at, last in zip(self.texts, begins, strict=True)]

    def floats(self, low: int, end: int) -> Floats:
        """Some slots as doubles."""
        return np.frombuffer(self.value, np.float64, end - low, _SLOT * low)


def pack(plan: GroupPlan, blocks: Sequence[Block]) -> list[bytes]:
    """The state of each of some entities, in their order; nothing for one without events.

    Args:
        plan: the compiled group.
        blocks: one for each of ``plan.tracks``, of the same entities.
    """
    many = len(blocks[0].slots.starts) - 1
    result: list[bytes] = [b""] * many
    if not many:
        return result
    rare, common = _uncommon(blocks)
    for these, places in ((np.flatnonzero(~rare), common), (np.flatnonzero(rare), None)):
        if len(these):
            layout = _laid_out(plan, blocks, places)
            for i, value in zip(these.tolist(), _values(layout, blocks, these), strict=True):
                result[i] = value
    return result


def read(plan: GroupPlan, value: bytes, known: dict[bytes, Layout]) -> Stored:
    """One stored value.

    Args:
        plan: the compiled group.
        value: what `pack` gave.
        known: the layouts of this group that were met before; new ones are put there.

    Raises:
        FeatureError: it was written by another version.
    """
    ints = memoryview(value).cast("q")
    if ints[0] != VERSION:
        raise FeatureError(f"state has version {ints[0]}", where="online store", cure="Materialize it again")
    at = 2 + ints[1]
    head = value[: _SLOT * at]
    layout = known.get(head) or known.setdefault(head, _parsed(plan, head))
    widths = tuple(size + 1 for size in ints[at : at + len(layout.lots)])
    at += len(widths)
    begins: list[int] = []
    for width, height in zip(widths, layout.lots.values(), strict=True):
        begins.append(at)
        at += width * height
    texts: list[int] = []
    for lot, row in layout.begins_of_texts:
        texts.append(_SLOT * at)
        at += -(-ints[begins[lot] + (row + 1) * widths[lot] - 1] // _SLOT)
    return Stored(layout, value, ints, memoryview(value).cast("d"), tuple(begins), widths, tuple(texts))


def blocks_of(layout: Layout, found: Sequence[Stored]) -> list[Block]:
    """The tracks of entities that are laid out alike, in their order."""
    matrices: dict[int, Ints] = {}
    slots: dict[int, Slots] = {}
    for place, lot in enumerate(layout.lots):
        parts = [one.lots[place] for one in found]
        matrices[lot] = np.concatenate(parts, axis=1)
        starts = np.cumsum([0, *(part.shape[1] for part in parts)], dtype=np.int64)
        slots[lot] = Slots(starts, matrices[lot][0])
    blobs = zip(*(one.blobs for one in found), strict=True)
    return [
        track_block(rows, matrices[rows.lot], slots[rows.lot], next(blobs) if rows.text else ())
        for rows in layout.tracks
    ]


def track_block(rows: Rows, matrix: Ints, slots: Slots, blobs: Sequence[bytes]) -> Block:
    """One track out of the matrix of its lot."""
    a = rows.first
    b = a + rows.running
    c = b + rows.plain
    d = rows.end - rows.firsts
    return Block(
        slots=slots,
        totals=rows.totals,
        squares=rows.squares,
        infinite=rows.infinite,
        running=matrix[a:b],
        plain=matrix[b:c],
        fading=matrix[c + rows.text : d].view(np.float64),
        half_lives=rows.half_lives,
        firsts=matrix[d : rows.end],
        texts=_joined_texts(matrix[c], slots, blobs) if rows.text and blobs else None,
    )


def _joined_texts(begins: Ints, slots: Slots, blobs: Sequence[bytes]) -> pa.LargeStringArray:
    bases = np.cumsum([0, *(len(blob) for blob in blobs)], dtype=np.int64)
    offsets = np.append(begins + np.repeat(bases[:-1], np.diff(slots.starts)), bases[-1])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(blobs))]
    return pa.Array.from_buffers(pa.large_string(), len(begins), buffers)


def _uncommon(blocks: Sequence[Block]) -> tuple[NDArray[np.bool_], list[tuple[int, ...]]]:
    """Which entities need limbs that hardly any needs; and for each track the places that the others do with."""
    many = len(blocks[0].slots.starts) - 1
    rare = np.zeros(many, np.bool_)
    common: list[tuple[int, ...]] = []
    for block in blocks:
        limbs = block.running[: len(block.totals) + len(block.squares)]
        used = np.zeros((len(limbs), many), np.bool_)
        for row, limb in zip(used, limbs, strict=True):
            row[:] = np.logical_or.reduceat(limb != 0, block.slots.starts[:-1])
        kept = used.sum(axis=1) * RARE >= many
        # A place in which nothing stands is nobody's.
        rare |= used[~kept].any(axis=0)
        common.append(tuple(np.flatnonzero(kept & used.any(axis=1)).tolist()))
    return rare, common


def _laid_out(plan: GroupPlan, blocks: Sequence[Block], kept: list[tuple[int, ...]] | None) -> Layout:
    """The layout of these blocks, with the rows of limbs in ``kept``, or all."""
    lots: dict[int, int] = {}
    heights: dict[int, int] = {}
    tracks: list[Rows] = []
    for i, (shape, block) in enumerate(zip(plan.tracks, blocks, strict=True)):
        lot = lots.setdefault(id(block.slots), i)
        split = len(block.totals)
        these = range(split + len(block.squares)) if kept is None else kept[i]
        rows = _rows(
            shape,
            lot,
            heights.get(lot, 1),
            tuple(block.totals[row] for row in these if row < split),
            tuple(block.squares[row - split] for row in these if row >= split),
            block.infinite,
        )
        heights[lot] = rows.end
        tracks.append(rows)
    return Layout(tuple(tracks))


def _rows(
    shape: TrackPlan, lot: int, first: int, totals: tuple[int, ...], squares: tuple[int, ...], infinite: bool
) -> Rows:
    text = shape.kept and shape.is_text
    return Rows(
        lot=lot,
        first=first,
        totals=totals,
        squares=squares,
        infinite=infinite,
        plain=shape.numbers + shape.hashes + (shape.kept and not text),
        half_lives=shape.half_lives * (1 + (shape.value is not None)),
        text=text,
        firsts=shape.firsts,
    )


def _values(layout: Layout, blocks: Sequence[Block], these: Ints) -> Iterator[bytes]:
    """The values of some of the entities of some blocks."""
    matrices = {lot: _matrix(layout, blocks, lot) for lot in layout.lots}
    bounds = [
        (matrices[lot], blocks[lot].slots.starts[these].tolist(), blocks[lot].slots.starts[these + 1].tolist())
        for lot in layout.lots
    ]
    texts = [
        _text_bytes(block, these) for rows, block in zip(layout.tracks, blocks, strict=True) if block.texts is not None
    ]
    sizes = np.stack([np.diff(blocks[lot].slots.starts)[these] - 1 for lot in layout.lots], axis=1).tobytes()
    step = _SLOT * len(layout.lots)
    some = np.any([np.diff(blocks[lot].slots.starts)[these] > 1 for lot in layout.lots], axis=0).tolist()
    for i in range(len(these)):
        if not some[i]:
            yield b""
            continue
        parts = [matrix[:, begins[i] : ends[i]].tobytes() for matrix, begins, ends in bounds]
        yield b"".join((layout.head, sizes[i * step : (i + 1) * step], *parts, *(text[i] for text in texts)))


def _matrix(layout: Layout, blocks: Sequence[Block], lot: int) -> Ints:
    """All rows of the tracks that have the same events, under their times."""
    parts = [blocks[lot].slots.times[None]]
    for rows, block in zip(layout.tracks, blocks, strict=True):
        if rows.lot != lot:
            continue
        split = len(block.totals)
        wanted = [block.totals.index(place) for place in rows.totals]
        wanted += [split + block.squares.index(place) for place in rows.squares]
        limbs = split + len(block.squares)
        parts += [block.running[[*wanted, *range(limbs, len(block.running))]], block.plain]
        if block.texts is not None:
            parts.append(_begins(block))
        parts += [block.fading.view(np.int64), block.firsts]
    return np.concatenate(parts)


def _offsets(block: Block) -> Ints:
    texts = block.texts
    assert texts is not None  # noqa: S101  # asked for blocks with texts only
    raw = np.frombuffer(texts.buffers()[1], np.int64)
    return raw[texts.offset : texts.offset + len(texts) + 1]


def _begins(block: Block) -> Ints:
    """Where each text begins among those of its entity; the text in the last slot is empty."""
    offsets, starts = _offsets(block)[:-1], block.slots.starts
    return (offsets - np.repeat(offsets[starts[:-1]], np.diff(starts)))[None]


def _text_bytes(block: Block, these: Ints) -> list[bytes]:
    """The bytes of the texts of some entities, padded."""
    offsets = _offsets(block)
    buffer = block.texts.buffers()[2] if block.texts is not None else None
    whole = memoryview(buffer if buffer is not None else b"")
    begins = offsets[block.slots.starts[these]].tolist()
    ends = offsets[block.slots.starts[these + 1]].tolist()
    return [bytes(whole[a:b]) + bytes(-(b - a) % _SLOT) for a, b in zip(begins, ends, strict=True)]


def _parsed(plan: GroupPlan, head: bytes) -> Layout:
    said = iter(np.frombuffer(head, np.int64)[2:].tolist())
    heights: dict[int, int] = {}
    tracks: list[Rows] = []
    for shape in plan.tracks:
        lot, infinite = next(said), bool(next(said))
        totals = tuple(next(said) for _ in range(next(said)))
        squares = tuple(next(said) for _ in range(next(said)))
        rows = _rows(shape, lot, heights.get(lot, 1), totals, squares, infinite)
        heights[lot] = rows.end
        tracks.append(rows)
    return Layout(tuple(tracks))


def nobody(plan: GroupPlan) -> list[Track]:
    """The tracks of no entity at all."""
    return [_nothing(shape) for shape in plan.tracks]


def _nothing(shape: TrackPlan) -> Track:
    none, nothing = np.zeros(0, np.int64), np.zeros(0)
    return Track(
        starts=np.zeros(1, np.int64),
        times=none,
        totals=Exact((), np.zeros((0, 1), np.int64)) if shape.totals else None,
        squares=Exact((), np.zeros((0, 1), np.int64)) if shape.squares else None,
        numbers=nothing if shape.numbers else None,
        hashes=np.zeros(0, np.uint64) if shape.hashes else None,
        kept=(np.zeros(0, object) if shape.is_text else nothing if shape.is_float else none) if shape.kept else None,
        decayed={h: nothing for h in shape.half_lives if shape.value is not None},
        decayed_counts=dict.fromkeys(shape.half_lives, nothing),
        firsts=none if shape.firsts else None,
    )
