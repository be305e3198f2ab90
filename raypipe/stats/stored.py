"""Stored states as tracks again, to be asked.

A state has one slot more than events for each entity. Serving reads it with these slots in their places; where events
become known in another order than they happen they are taken out, which leaves what `kernel.init` makes of history.
"""

from collections.abc import Iterator

import numpy as np

from raypipe.stats.arrays import Ints, Values
from raypipe.stats.blocks import Block, Shared, Slots
from raypipe.stats.exact import Exact
from raypipe.stats.forms import Forms
from raypipe.stats.tracks import Kept, Track, there


def track(forms: Forms, block: Block, texts: Kept | None = None) -> Track:
    """A state as it lies; no array is copied.

    Args:
        forms: in which the value is needed.
        block: the state.
        texts: its values, where they are texts.
    """
    return _track(forms, block, block.slots.starts, block.slots.times, texts)


def events(forms: Forms, block: Block, shared: Shared) -> Track:
    """The events alone, as if they came from history.

    Args:
        forms: in which the value is needed.
        block: the state.
        shared: of all tracks of the group.
    """
    starts, times, known = shared.once(_events, block.slots)
    ends = block.slots.starts[1:] - 1
    bare = Block(
        slots=block.slots,
        totals=block.totals,
        squares=block.squares,
        infinite=block.infinite,
        running=_through(block),
        plain=np.delete(block.plain, ends, axis=1),
        fading=np.delete(block.fading, ends, axis=1),
        weighed=np.delete(block.weighed, ends, axis=1),
        half_lives=block.half_lives,
        firsts=np.delete(block.firsts, ends, axis=1),
        texts=None,
    )
    texts = None if block.texts is None else np.delete(block.texts.to_numpy(zero_copy_only=False), ends)
    made = _track(forms, bare, starts, times, texts)
    made.known = known
    made.weighed = {life: bare.weighed[i :: len(forms.half_lives)] for i, life in enumerate(forms.half_lives)}
    made.earlier = bare.firsts[1] if forms.firsts else None
    return made


def _track(forms: Forms, block: Block, starts: Ints, times: Ints, texts: Kept | None) -> Track:
    a, b = len(block.totals), len(block.totals) + len(block.squares)
    plain, split = iter(block.plain), len(forms.half_lives) if forms.valued else 0
    return Track(
        starts=starts,
        times=times,
        totals=Exact(block.totals, block.running[:a]) if forms.totals else None,
        squares=Exact(block.squares, block.running[a:b]) if forms.squares else None,
        infinite=block.running[b:] if block.infinite else None,
        numbers=next(plain).view(np.float64) if forms.numbers else None,
        hashes=next(plain).view(np.uint64) if forms.hashes else None,
        kept=_kept(forms, texts, plain) if forms.kept else None,
        decayed=dict(zip(forms.half_lives, block.fading[:split], strict=False)),
        decayed_counts=dict(zip(forms.half_lives, block.fading[split:], strict=True)),
        firsts=block.firsts[0] if forms.firsts else None,
    )


def _kept(forms: Forms, texts: Kept | None, plain: Iterator[Ints]) -> Kept:
    if texts is not None:
        return texts
    row: Values = next(plain)
    return row.view(np.float64) if forms.is_float else row


def _events(slots: Slots) -> tuple[Ints, Ints, Ints]:
    ends = slots.starts[1:] - 1
    starts = slots.starts - np.arange(len(slots.starts))
    return starts, np.delete(slots.times, ends), np.delete(there(slots.known), ends)


def _through(block: Block) -> Ints:
    """Running totals through all entities: what one ends with is what the next begins with."""
    ends, widths = block.slots.starts[1:] - 1, np.diff(block.slots.starts)
    before = np.cumsum(block.running[:, ends], axis=1) - block.running[:, ends]
    return np.delete(block.running + np.repeat(before, widths, axis=1), ends[:-1], axis=1)
