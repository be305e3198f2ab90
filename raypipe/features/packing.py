"""States written: the rows of many entities into one value each, all at once."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from raypipe.features.layout import SLOT, Layout, Rows, rows_of, spots_of, stretches
from raypipe.features.plan import GroupPlan
from raypipe.stats.arrays import Ints
from raypipe.stats.blocks import FOREVER, NEVER, Block, Slots

#: Limbs that fewer than one in so many entities need are stored for those alone.
RARE = 100


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
            for i, value in zip(these.tolist(), _values(layout, blocks, these, plan.delay), strict=True):
                result[i] = value
    return result


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
        rows = rows_of(
            shape,
            lot,
            heights.get(lot),
            tuple(block.totals[row] for row in these if row < split),
            tuple(block.squares[row - split] for row in these if row >= split),
            block.infinite,
            plan.late,
        )
        heights[lot] = rows.end
        tracks.append(rows)
    return Layout(tuple(tracks))


def _values(layout: Layout, blocks: Sequence[Block], these: Ints, delay: int) -> Iterator[bytes]:
    """The values of some of the entities of some blocks, all written at once."""
    head = np.frombuffer(layout.head, np.int64)
    starts = {lot: blocks[lot].slots.starts for lot in layout.lots}
    widths = {lot: (starts[lot][1:] - starts[lot][:-1])[these] for lot in layout.lots}
    texts = [(block, *_text_bounds(block, these)) for block in blocks if block.texts is not None]
    sizes = len(head) + len(widths) + sum(widths[lot] * height for lot, height in layout.lots.items())
    sizes = sizes + sum((-(-lengths // SLOT) for _, _, lengths in texts), np.zeros(len(these), np.int64))
    ends = np.cumsum(sizes)
    at = ends - sizes
    whole = np.zeros(int(ends[-1]), np.int64)
    whole[(at[:, None] + np.arange(len(head))).ravel()] = np.tile(head, len(these))
    at = at + len(head)
    for many in widths.values():
        whole[at] = many - 1
        at = at + 1
    for lot, height in layout.lots.items():
        source, spots = spots_of(starts[lot][these], widths[lot]), spots_of(at, widths[lot])
        step = np.repeat(widths[lot], widths[lot])
        for row in _lot_rows(layout, blocks, lot, delay):
            whole[spots] = row[source]
            spots += step
        at = at + widths[lot] * height
    for block, begins, lengths in texts:
        whole.view(np.uint8)[spots_of(at * SLOT, lengths)] = stretches(_text_bytes(block), begins, lengths)
        at = at + -(-lengths // SLOT)
    some = np.any([many > 1 for many in widths.values()], axis=0).tolist()
    written = whole.view(np.uint8).data
    bounds = zip(some, (SLOT * (ends - sizes)).tolist(), (SLOT * ends).tolist(), strict=True)
    return (bytes(written[a:b]) if there else b"" for there, a, b in bounds)


def _lot_rows(layout: Layout, blocks: Sequence[Block], lot: int, delay: int) -> Iterator[Ints]:
    """All rows of the tracks that have the same events, under their times."""
    slots = blocks[lot].slots
    yield slots.times
    if slots.known is not None:
        yield _settled(slots, slots.known, delay)
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
        yield from block.weighed.view(np.int64)
        yield from block.firsts


def _settled(slots: Slots, known: Ints, delay: int) -> Ints:
    """When each event was known; in the last slot of each entity when the last of those that were late was."""
    ends, noted = slots.starts[1:] - 1, known.copy()
    late = np.where((known > slots.times + delay) & (slots.times != FOREVER), known, NEVER)
    noted[ends] = np.maximum.reduceat(late, slots.starts[:-1])
    return noted


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
