"""The state of every entity of a group or table, from its rows."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from raypipe.features import events, frames, keys
from raypipe.features.packing import pack
from raypipe.features.plan import GroupPlan
from raypipe.spec import TableFeatures, days, micros
from raypipe.stats import kernel
from raypipe.stats.arrays import Ints
from raypipe.stats.blocks import Block, Shared
from raypipe.stats.tracks import Track
from raypipe.stats.trim import trim

#: How long before the watermark a question may be asked and still be answered as history would.
EXACT_FOR = micros(days(1))
#: So many events are in memory in every form at a time.
AT_ONCE = 1_000_000


def group_states(number: int, plan: GroupPlan, found: pl.DataFrame, as_of: int) -> Iterator[tuple[bytes, bytes]]:
    """The state of every entity of one group that a question from ``as_of - EXACT_FOR`` on can see, sorted by key."""
    coded, _, known = events.numbered(found, found.select(pl.col("^k[0-9]+$")).head(0), plan.group.where)
    tracks = events.tracks(plan, coded, known.height)
    for first, end in portions(tracks):
        blocks = entity_blocks(plan, tracks, np.arange(first, end))
        yield from packed(number, plan, known[first:end], blocks, as_of - EXACT_FOR)


def packed(
    number: int, plan: GroupPlan, known: pl.DataFrame, blocks: Sequence[Block], oldest: int
) -> Iterator[tuple[bytes, bytes]]:
    """The state of some entities that a question from `oldest` on can see, by their keys, in this order."""
    values = pack(plan, trimmed(plan, blocks, oldest))
    for key, value in zip(known.iter_rows(), values, strict=True):
        under = keys.stored(number, key)
        if value and under is not None:
            yield under, value


def portions(tracks: Sequence[Track]) -> Iterator[tuple[int, int]]:
    """Numbers of entities, from and to, that are worked on at once; together they have about `AT_ONCE` events."""
    events_before = np.sum([track.starts for track in tracks], axis=0)
    first, many = 0, len(events_before) - 1
    while first < many:
        limit = events_before[first] + AT_ONCE * len(tracks)
        end = max(first + 1, int(np.searchsorted(events_before, limit, side="right")) - 1)
        yield first, min(end, many)
        first = min(end, many)


def entity_blocks(plan: GroupPlan, tracks: Sequence[Track], numbers: Ints) -> list[Block]:
    """The tracks of some entities, with all their events."""
    shared, bounds = Shared(), dict[int, tuple[Ints, Ints]]()
    blocks = []
    for shape, track in zip(plan.tracks, tracks, strict=True):
        # Tracks of the same times have the same starts, in arrays of their own.
        lows, highs = bounds.setdefault(id(track.times), (track.starts[numbers], track.starts[numbers + 1]))
        blocks.append(kernel.update(None, shape, track, lows, highs, shared))
    return blocks


def trimmed(plan: GroupPlan, blocks: Sequence[Block], oldest: int) -> list[Block]:
    """Only what a question can see that is asked at ``oldest`` or later."""
    shared = Shared()
    return [
        trim(whole, shape.first_needed(oldest, plan.delay), oldest if shape.endless else None, shared)
        for shape, whole in zip(plan.tracks, blocks, strict=True)
    ]


def table_states(number: int, item: TableFeatures, table: pl.LazyFrame) -> Iterator[tuple[bytes, bytes]]:
    """The chosen columns of every row of a table."""
    found = frames.chosen(item, table)
    for key, row in zip(keys.plain(found, [frames.FOUND]).iter_rows(), frames.packed(found, item), strict=True):
        under = keys.stored(number, key)
        if under is not None:
            yield under, row
