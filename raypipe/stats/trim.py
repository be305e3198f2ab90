"""What is cut off from stored events: whatever no question that may still be asked can tell from what is left.

Of events that are known in the order in which they happen, the last one before the cut tells all that came before it.
Of others, that is the last one that every question sees; those that are not seen by all are kept beside it.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from raypipe.stats import decay
from raypipe.stats.arrays import Ints
from raypipe.stats.blocks import FOREVER, Block, Shared, Slots, from_zero, slots_of, taken
from raypipe.stats.places import places


def trim(whole: Block, needed: int, oldest: int | None, shared: Shared) -> Block:
    """Only the events from a time on, and what reaches on of those before it.

    Args:
        whole: the events.
        needed: the time.
        oldest: the earliest question, of a track that is endless: something of what came before ``needed`` reaches on.
        shared: of all tracks of the group.
    """
    left = shared.once(_left, whole.slots, needed, oldest)
    if left.old is None and len(left.at) == len(whole.slots.times):
        return whole
    rest = replace(
        whole,
        slots=left.slots,
        running=from_zero(taken(whole.running, left.at), left.slots),
        plain=taken(whole.plain, left.at),
        fading=taken(whole.fading, left.at),
        weighed=taken(whole.weighed, left.at),
        firsts=taken(whole.firsts, left.at),
        texts=None if whole.texts is None else whole.texts.take(pa.array(left.at)),
    )
    if left.old is not None and (len(whole.weighed) or len(whole.firsts)):
        _told(rest, whole, left.old, left)
    if whole.infinite and len(whole.fading):
        _counted(rest, whole, np.flatnonzero(whole.slots.times < needed) if left.old is None else left.old, left)
    return rest


@dataclass(frozen=True)
class _Left:
    """What is left of some slots.

    Attributes:
        at: their places.
        slots: what they are now.
        old: the events of which the last one of each entity is left, to tell for all; None: it does so anyway.
    """

    at: Ints
    slots: Slots
    old: Ints | None = None


def _left(slots: Slots, needed: int, oldest: int | None) -> _Left:
    if oldest is None or slots.known is None:
        everyone = np.arange(len(slots.starts) - 1)
        lows = places(slots.starts, slots.times, everyone, np.full((1, len(everyone)), needed))[0]
        if oldest is not None:
            lows = np.maximum(lows - 1, slots.starts[:-1])
        at, kept, _ = slots_of(slots.times, slots.known, lows, slots.starts[1:] - 1)
        return _Left(at, kept)
    old = np.flatnonzero((slots.times < needed) & (slots.known <= oldest))
    stays = np.ones(len(slots.times), np.bool_)
    stays[old[:-1][np.diff(slots.owners[old]) == 0]] = False
    at = np.flatnonzero(stays)
    starts = np.append(0, np.cumsum(stays))[slots.starts]
    return _Left(at, Slots(starts, slots.times[at], slots.known[at]), old)


def _told(rest: Block, whole: Block, old: Ints, left: _Left) -> None:
    """Have the last old event of each entity tell what all of them had faded to by then, and when the first one was."""
    entities, bounds, last = _lasts(whole, old, left)
    times = whole.slots.times[old]
    for row, values, half_life in zip(rest.weighed, whole.weighed, whole.half_lives, strict=True):
        row[last] = decay.running(values[None, old], times, bounds, half_life)[0, bounds[1:] - 1]
    if len(rest.firsts):
        first = np.full(len(whole.slots.starts) - 1, FOREVER)
        first[entities] = times[bounds[:-1]]
        rest.firsts[1] = np.minimum(rest.firsts[1], first[left.slots.owners])


def _counted(rest: Block, whole: Block, old: Ints, left: _Left) -> None:
    """Have the last old event of each entity count all their infinities: none ever fades away."""
    # Behind its events each entity takes back what they count, so the next one begins at zero.
    own = np.diff(whole.running[-2:], axis=1, append=0)
    _, bounds, last = _lasts(whole, old, left)
    counts = own[:, left.at]
    counts[:, last] = np.add.reduceat(own[:, old], bounds[:-1], axis=1)
    rest.running[-2:] = np.cumsum(counts, axis=1) - counts


def _lasts(whole: Block, old: Ints, left: _Left) -> tuple[Ints, Ints, Ints]:
    """The entities that have old events; where those of each begin among all, and end; where its last one is now."""
    entities, begins = np.unique(whole.slots.owners[old], return_index=True)
    bounds = np.append(begins, len(old))
    return entities, bounds, np.searchsorted(left.at, old[bounds[1:] - 1])
