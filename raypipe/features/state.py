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
    said: dict[tuple[tuple[int, ...], ...], list[float | int | str | None]] = field(default_factory=dict)

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
    require_version(value)
    ints = memoryview(value).cast("q")
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


def require_version(value: bytes) -> None:
    """Raises FeatureError when a value, or what it begins with, was written by another version."""
    if (version := int.from_bytes(value[:_SLOT], "little")) != VERSION:
        raise FeatureError(f"state has version {version}", where="online store", cure="Materialize it again")


def head_of(value: bytes) -> bytes:
    """What stands in a value before the numbers of events: values that begin alike are laid out alike."""
    return value[: _SLOT * (2 + int.from_bytes(value[_SLOT : 2 * _SLOT], "little"))]


def blocks_of(plan: GroupPlan, head: bytes, values: Sequence[bytes]) -> list[Block]:
    """The tracks of entities whose values begin alike, in their order; no entity is looked at by itself.

    Args:
        plan: the compiled group.
        head: what every value begins with.
        values: what `pack` gave.

    Raises:
        FeatureError: they were written by another version.
    """
    require_version(head)
    layout, whole = _parsed(plan, head), np.frombuffer(b"".join(values), np.int64)
    ends = np.cumsum([len(value) // _SLOT for value in values])
    at = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) + len(head) // _SLOT
    sizes = [whole[at + i] + 1 for i in range(len(layout.lots))]
    at = at + len(sizes)
    matrices: dict[int, Ints] = {}
    slots: dict[int, Slots] = {}
    for (lot, height), widths in zip(layout.lots.items(), sizes, strict=True):
        matrices[lot] = _rows_in(whole, at, widths, height)
        slots[lot] = Slots(_from(widths), matrices[lot][0])
        at = at + widths * height
    found = []
    for rows in layout.tracks:
        texts = None
        if rows.text:
            mine, begins = slots[rows.lot], matrices[rows.lot][rows.first + rows.running + rows.plain]
            lengths = begins[mine.starts[1:] - 1]
            texts = _texts(begins, mine, _stretches(whole.view(np.uint8), at * _SLOT, lengths), lengths)
            at = at + -(-lengths // _SLOT)
        found.append(track_block(rows, matrices[rows.lot], slots[rows.lot], texts))
    return found


def _from(widths: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(widths)])


def _spots(begins: Ints, widths: Ints) -> Ints:
    """The places of stretches behind one another."""
    return np.repeat(begins - _from(widths)[:-1], widths) + np.arange(widths.sum())


def _stretches(whole: NDArray[np.uint8], begins: Ints, widths: Ints) -> NDArray[np.uint8]:
    return whole[_spots(begins, widths)]


def _rows_in(whole: Ints, begins: Ints, widths: Ints, height: int) -> Ints:
    """Matrices side by side, each of which lies row by row from its beginning on."""
    spots, step = _spots(begins, widths), np.repeat(widths, widths)
    found = np.empty((height, len(spots)), np.int64)
    for row in found:
        np.take(whole, spots, out=row)
        spots += step
    return found


def track_block(rows: Rows, matrix: Ints, slots: Slots, texts: pa.LargeStringArray | None = None) -> Block:
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
        texts=texts,
    )


def _texts(begins: Ints, slots: Slots, data: NDArray[np.uint8], lengths: Ints) -> pa.LargeStringArray:
    bases = _from(lengths)
    offsets = np.append(begins + np.repeat(bases[:-1], np.diff(slots.starts)), bases[-1])
    return pa.Array.from_buffers(
        pa.large_string(), len(begins), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    )


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
    """The values of some of the entities of some blocks, all written at once."""
    head = np.frombuffer(layout.head, np.int64)
    starts = {lot: blocks[lot].slots.starts for lot in layout.lots}
    widths = {lot: (starts[lot][1:] - starts[lot][:-1])[these] for lot in layout.lots}
    texts = [(block, *_text_bounds(block, these)) for block in blocks if block.texts is not None]
    sizes = len(head) + len(widths) + sum(widths[lot] * height for lot, height in layout.lots.items())
    sizes = sizes + sum((-(-lengths // _SLOT) for _, _, lengths in texts), np.zeros(len(these), np.int64))
    ends = np.cumsum(sizes)
    at = ends - sizes
    whole = np.zeros(int(ends[-1]), np.int64)
    whole[(at[:, None] + np.arange(len(head))).ravel()] = np.tile(head, len(these))
    at = at + len(head)
    for many in widths.values():
        whole[at] = many - 1
        at = at + 1
    for lot, height in layout.lots.items():
        source, spots = _spots(starts[lot][these], widths[lot]), _spots(at, widths[lot])
        step = np.repeat(widths[lot], widths[lot])
        for row in _lot_rows(layout, blocks, lot):
            whole[spots] = row[source]
            spots += step
        at = at + widths[lot] * height
    for block, begins, lengths in texts:
        whole.view(np.uint8)[_spots(at * _SLOT, lengths)] = _stretches(_text_bytes(block), begins, lengths)
        at = at + -(-lengths // _SLOT)
    some = np.any([many > 1 for many in widths.values()], axis=0).tolist()
    written = whole.view(np.uint8).data
    bounds = zip(some, (_SLOT * (ends - sizes)).tolist(), (_SLOT * ends).tolist(), strict=True)
    return (bytes(written[a:b]) if there else b"" for there, a, b in bounds)


def _lot_rows(layout: Layout, blocks: Sequence[Block], lot: int) -> Iterator[Ints]:
    """All rows of the tracks that have the same events, under their times."""
    yield blocks[lot].slots.times
    for rows, block in zip(layout.tracks, blocks, strict=True):
        if rows.lot != lot:
            continue
        split = len(block.totals)
        yield from (block.running[block.totals.index(place)] for place in rows.totals)
        yield from (block.running[split + block.squares.index(place)] for place in rows.squares)
        yield from block.running[split + len(block.squares) :]
        yield from block.plain
        if block.texts is not None:
            yield _begins(block)
        yield from block.fading.view(np.int64)
        yield from block.firsts


def _offsets(block: Block) -> Ints:
    texts = block.texts
    assert texts is not None  # noqa: S101  # asked for blocks with texts only
    raw = np.frombuffer(texts.buffers()[1], np.int64)
    return raw[texts.offset : texts.offset + len(texts) + 1]


def _begins(block: Block) -> Ints:
    """Where each text begins among those of its entity; the text in the last slot is empty."""
    offsets, starts = _offsets(block)[:-1], block.slots.starts
    return offsets - np.repeat(offsets[starts[:-1]], np.diff(starts))


def _text_bounds(block: Block, these: Ints) -> tuple[Ints, Ints]:
    """Where the texts of some entities begin, and how many bytes they have."""
    offsets = _offsets(block)
    begins = offsets[block.slots.starts[these]]
    return begins, offsets[block.slots.starts[these + 1]] - begins


def _text_bytes(block: Block) -> NDArray[np.uint8]:
    buffer = block.texts.buffers()[2] if block.texts is not None else None
    return np.frombuffer(buffer if buffer is not None else b"", np.uint8)


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
