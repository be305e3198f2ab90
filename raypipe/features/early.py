"""Questions about stored entities that are asked before all that is stored was known: answered as over history.

What is stored has one slot more than events for each entity. Without these slots it is what events are made into, and
is read as they are.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from raypipe.features import late, state
from raypipe.features.blocks import Block, Shared, Slots
from raypipe.features.layout import head_of
from raypipe.features.plan import GroupPlan, TrackPlan
from raypipe.stats.exact import Exact, Ints
from raypipe.stats.tracks import Answer, Track, Values, there, together


def answers(
    plan: GroupPlan, stored: Mapping[bytes, bytes], column: Sequence[bytes | None], asked: Ints
) -> list[Answer]:
    """The features of a group whose events become known in another order than they happen.

    Args:
        plan: the compiled group.
        stored: what is stored of each entity.
        column: for each question the key of its entity.
        asked: when each is asked.
    """
    heads: dict[bytes, list[bytes]] = {}
    for key in stored:
        heads.setdefault(head_of(stored[key]), []).append(key)
    parts = []
    for head, alike in heads.items():
        tracks = tracks_of(plan, state.blocks_of(plan, head, [stored[key] for key in alike]))
        places = {key: place for place, key in enumerate(alike)}
        numbers = np.array([-1 if key is None else places.get(key, -1) for key in column], np.int64)
        here = np.flatnonzero(numbers >= 0)
        parts.append((here, late.as_then(plan, tracks, numbers[here], asked[here])))
    return [together([(here, found[i]) for here, found in parts]) for i in range(len(plan.features))]


def tracks_of(plan: GroupPlan, blocks: Sequence[Block]) -> list[Track]:
    """Stored events as the kernel has them from history."""
    shared = Shared()
    return [_track(shape, block, shared) for shape, block in zip(plan.tracks, blocks, strict=True)]


def _track(shape: TrackPlan, block: Block, shared: Shared) -> Track:
    starts, times, known = shared.once(_events, block.slots)
    ends = block.slots.starts[1:] - 1
    running = _through(block)
    a, b = len(block.totals), len(block.totals) + len(block.squares)
    plain = iter(np.delete(block.plain, ends, axis=1))
    fading, weighed = np.delete(block.fading, ends, axis=1), np.delete(block.weighed, ends, axis=1)
    firsts = np.delete(block.firsts, ends, axis=1)
    split = len(shape.half_lives) if shape.value is not None else 0
    lives = shape.half_lives
    return Track(
        starts=starts,
        times=times,
        known=known,
        totals=Exact(block.totals, running[:a]) if shape.totals else None,
        squares=Exact(block.squares, running[a:b]) if shape.squares else None,
        infinite=running[b:] if block.infinite else None,
        numbers=next(plain).view(np.float64) if shape.numbers else None,
        hashes=next(plain).view(np.uint64) if shape.hashes else None,
        kept=_kept(shape, block, next(plain, None)) if shape.kept else None,
        decayed=dict(zip(lives, fading[:split], strict=False)),
        decayed_counts=dict(zip(lives, fading[split:], strict=True)),
        weighed={life: weighed[i :: len(lives)] for i, life in enumerate(lives)},
        firsts=firsts[0] if shape.firsts else None,
        earlier=firsts[1] if shape.firsts else None,
    )


def _events(slots: Slots) -> tuple[Ints, Ints, Ints]:
    ends = slots.starts[1:] - 1
    starts = slots.starts - np.arange(len(slots.starts))
    return starts, np.delete(slots.times, ends), np.delete(there(slots.known), ends)


def _through(block: Block) -> Ints:
    """Running totals through all entities: what one ends with is what the next begins with."""
    ends, widths = block.slots.starts[1:] - 1, np.diff(block.slots.starts)
    before = np.cumsum(block.running[:, ends], axis=1) - block.running[:, ends]
    return np.delete(block.running + np.repeat(before, widths, axis=1), ends[:-1], axis=1)


def _kept(shape: TrackPlan, block: Block, row: Ints | None) -> Values:
    if block.texts is not None:
        return np.delete(block.texts.to_numpy(zero_copy_only=False), block.slots.starts[1:] - 1)
    return there(row).view(np.float64) if shape.is_float else there(row)
