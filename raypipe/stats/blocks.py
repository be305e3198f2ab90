"""The events of many entities side by side, as arrays that can be cut, merged and stored without looking at each event.

Four kinds of rows are enough for every aggregate, and each merges in its own way: totals add up, values go to their
place, what fades is faded to the time of the later event and added, and of two first times the earlier holds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.stats import decay
from raypipe.stats.arrays import Floats, Ints, Values
from raypipe.stats.exact import Exact
from raypipe.stats.forms import Forms
from raypipe.stats.places import places
from raypipe.stats.tracks import Track, there

FOREVER = np.iinfo(np.int64).max
NEVER = np.iinfo(np.int64).min
T = TypeVar("T")
N = TypeVar("N", bound=np.generic)


@dataclass(frozen=True)
class Slots:
    """Where the events of each entity lie. Each has one slot more than events: totals begin at zero, times never end.

    Attributes:
        starts: shape (entities + 1,); entity i has the slots ``[starts[i], starts[i + 1])``.
        times: of the events; in the last slot of each entity one that nothing lies after.
        known: when each event was known; None: in the order in which they happen. In the last slots anything.
    """

    starts: Ints
    times: Ints
    known: Ints | None = None

    @property
    def owners(self) -> Ints:
        """For each slot the entity's number."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


@dataclass(frozen=True)
class Block:
    """One track of some entities.

    Attributes:
        slots: shared by tracks whose events are the same.
        totals: the places of the exact running totals, whose limbs are the first rows of ``running``.
        squares: the same of the squares, the next rows.
        infinite: the last two rows of ``running`` count infinities; the last event before a cut has those of what was
            cut off with its own.
        running: int64 (rows, slots): totals of all events before, within the entity.
        plain: int64 (rows, slots): values as they are; doubles and hashes by their bits.
        fading: float64 (rows, slots): decayed sums up to and with each event, by ``half_lives``.
        weighed: float64 (as many rows, slots): what those are sums of, where events are known in another order, else no
            rows; the last event before a cut has what was cut off with its own.
        half_lives: in microseconds.
        firsts: int64 (0, 1 or 2, slots): in every slot the time of the entity's first event, also when it was cut off;
            where events are known in another order, also the time of the first one before a cut.
        texts: one a slot, when values as they are are texts.
    """

    slots: Slots
    totals: tuple[int, ...]
    squares: tuple[int, ...]
    infinite: bool
    running: Ints
    plain: Ints
    fading: Floats
    weighed: Floats
    half_lives: tuple[int, ...]
    firsts: Ints
    texts: pa.LargeStringArray | None


@dataclass
class Shared:
    """Work that tracks with the same events have in common, done once: keyed by the arrays that it is done on."""

    _done: dict[tuple[object, ...], tuple[tuple[object, ...], object]] = field(default_factory=dict)

    def once(self, work: Callable[..., T], *arrays: object) -> T:
        """What ``work`` makes of these very arguments."""
        name = (work, *(id(one) if isinstance(one, np.ndarray | Slots) else one for one in arrays))
        if name not in self._done:
            # The arguments are kept as well: another array must not come to lie where one of them was.
            self._done[name] = (arrays, work(*arrays))
        return self._done[name][1]  # type: ignore[return-value]  # put there by the same work


def block(forms: Forms, track: Track, lows: Ints, highs: Ints, shared: Shared) -> Block:
    """Some events of some entities of a track.

    Args:
        forms: in which the value is needed.
        track: the events of all keys.
        lows: for each entity the place of its first event that is wanted.
        highs: the place behind its last.
        shared: of all tracks of the group.
    """
    at, slots, ends = shared.once(slots_of, track.times, track.known, lows, highs)
    running = [there(track.totals).limbs] if forms.totals else []
    running += [there(track.squares).limbs] if forms.squares else []
    running += [track.infinite] if track.infinite is not None else []
    rows = [*([track.numbers] if forms.numbers else []), *([track.hashes] if forms.hashes else [])]
    rows += [_as_they_are(track)] if forms.kept and not forms.is_text else []
    plain = [_values(there(row), at, ends) for row in rows]
    fades = [*track.decayed.values(), *track.decayed_counts.values()]
    fading = [_values(row, at, ends).view(np.float64) for row in fades]
    late, many = track.known is not None, len(slots.times)
    weighs = [there(track.weighed)[h][0] for h in track.decayed] if late else []
    weighs += [there(track.weighed)[h][-1] for h in track.decayed_counts] if late else []
    weighed = [_values(row, at, ends).view(np.float64) for row in weighs]
    return Block(
        slots=slots,
        totals=there(track.totals).places if forms.totals else (),
        squares=there(track.squares).places if forms.squares else (),
        infinite=track.infinite is not None,
        running=from_zero(
            np.concatenate([taken(one, at) for one in running] or [np.zeros((0, many), np.int64)]), slots
        ),
        plain=np.stack(plain) if plain else np.zeros((0, many), np.int64),
        fading=np.stack(fading) if fading else np.zeros((0, many)),
        weighed=np.stack(weighed) if weighed else np.zeros((0, many)),
        half_lives=(*track.decayed, *track.decayed_counts),
        firsts=_firsts(slots)[: forms.firsts * (1 + late)],
        texts=_texts(_as_they_are(track), at, ends) if forms.kept and forms.is_text else None,
    )


def merged(old: Block, new: Block, shared: Shared) -> Block:
    """The events of the same entities in the same order, from two blocks, by time; at the same time the old first."""
    slots, is_new, at_old, at_new = shared.once(_interleaved, old.slots, new.slots)
    old, new = _alike(old, new)
    texts = None
    if old.texts is not None and new.texts is not None:
        both = pa.concat_arrays([old.texts, new.texts])
        texts = both.take(pa.array(np.where(is_new, at_new + len(old.texts), at_old)))
    return replace(
        old,
        slots=slots,
        running=taken(old.running, at_old, new.running, at_new),
        plain=_with_news(taken(old.plain, at_old), is_new, new.plain, at_new),
        fading=_faded(old, new, slots, is_new, at_old, at_new),
        weighed=_with_news(taken(old.weighed, at_old), is_new, new.weighed, at_new),
        firsts=np.minimum(taken(old.firsts, at_old), taken(new.firsts, at_new)),
        texts=texts,
    )


def ties(old: Slots, new: Slots) -> Ints:
    """The entities that have an old and a new event at the same time."""
    events = new.times != FOREVER
    owners, times = new.owners[events], new.times[events]
    first = places(old.starts, old.times, owners, times[None])[0]
    return np.unique(owners[old.times[first] == times])


def _as_they_are(track: Track) -> Values:
    kept = there(track.kept)
    assert isinstance(kept, np.ndarray), "stored texts are merged as they are stored"  # noqa: S101
    return kept


def slots_of(times: Ints, known: Ints | None, lows: Ints, highs: Ints) -> tuple[Ints, Slots, Ints]:
    """The place in a track of every slot, the slots, and which of them are the last of their entity."""
    starts = np.concatenate([[0], np.cumsum(highs - lows + 1)])
    at = np.arange(starts[-1]) + np.repeat(lows - starts[:-1], np.diff(starts))
    ends = starts[1:] - 1
    return at, Slots(starts, _ended(times, at, ends), None if known is None else _at(known, at)), ends


def _ended(times: Ints, at: Ints, ends: Ints) -> Ints:
    found: Ints = _at(times, at)
    found[ends] = FOREVER
    return found


def _values(row: Values, at: Ints, ends: Ints) -> Ints:
    found = _at(row, at).view(np.int64)
    found[ends] = 0
    return found


def _at(row: Values, at: Ints) -> Values:
    """Some places of a row; the place behind the last is any."""
    return row.take(at, mode="clip") if len(row) else np.zeros(len(at), row.dtype)


def _firsts(slots: Slots) -> Ints:
    # Without events this is the time that nothing lies after: whoever has some was there before.
    first = np.repeat(slots.times[slots.starts[:-1]], np.diff(slots.starts))
    return np.stack([first, np.full(len(first), FOREVER)])


def _texts(kept: Values, at: Ints, ends: Ints) -> pa.LargeStringArray:
    found = _at(kept, at)
    found[ends] = ""
    return pa.array(found, pa.large_string())


def taken(rows: NDArray[N], at: Ints, more: NDArray[N] | None = None, at_more: Ints | None = None) -> NDArray[N]:
    """Some places of every row, added to some of every other row: one row after another stays in the cache."""
    found = np.empty((len(rows), len(at)), rows.dtype)
    for i in range(len(rows)):
        rows[i].take(at, out=found[i], mode="clip")
        if more is not None and at_more is not None:
            found[i] += more[i].take(at_more, mode="clip")
    return found


def _with_news(rows: NDArray[N], is_new: NDArray[np.bool_], new: NDArray[N], at_new: Ints) -> NDArray[N]:
    """The same rows, with what is new in its places."""
    spots = np.flatnonzero(is_new)
    for row, one in zip(rows, new, strict=True):
        row[spots] = one[at_new[spots]]
    return rows


def from_zero(running: Ints, slots: Slots) -> Ints:
    """The same rows, from zero at the first slot of each entity."""
    first, widths = slots.starts[:-1], np.diff(slots.starts)
    for i in range(len(running)):
        running[i] -= np.repeat(running[i, first], widths)
    return running


def _interleaved(old: Slots, new: Slots) -> tuple[Slots, NDArray[np.bool_], Ints, Ints]:
    """Slots for both, which of them are new events, and for each how far it is into the old and into the new."""
    starts = old.starts + new.starts - np.arange(len(old.starts))
    events = np.flatnonzero(new.times != FOREVER)
    owners = new.owners[events]
    before = places(old.starts, old.times, owners, new.times[events][None] + 1)[0] - old.starts[owners]
    is_new = np.zeros(starts[-1], np.bool_)
    is_new[starts[owners] + before + events - new.starts[owners]] = True
    everyone = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    seen = np.cumsum(is_new) - is_new
    news = seen - seen[starts[:-1]][everyone]
    at_new = new.starts[everyone] + news
    at_old = old.starts[everyone] + np.arange(starts[-1]) - starts[everyone] - news
    known = None
    if old.known is not None and new.known is not None:
        known = np.where(is_new, new.known[at_new], old.known[at_old])
    return Slots(starts, np.where(is_new, new.times[at_new], old.times[at_old]), known), is_new, at_old, at_new


def _faded(old: Block, new: Block, slots: Slots, is_new: NDArray[np.bool_], at_old: Ints, at_new: Ints) -> Floats:
    """Decayed sums add up: each side's own at an event, and what the other's latest before it has faded to."""
    own = _with_news(taken(old.fading, at_old), is_new, new.fading, at_new)
    if not len(own):
        return own
    begins = slots.starts[:-1]
    started = np.repeat(np.stack([old.slots.starts[:-1], new.slots.starts[:-1]]), np.diff(slots.starts), axis=1)
    last = np.where(is_new, at_old, at_new) - 1
    some = np.flatnonzero((last >= np.where(is_new, started[0], started[1])) & (slots.times != FOREVER))
    if len(begins) and len(some):
        of_old, before = is_new[some], last[some]
        times = np.where(of_old, old.slots.times[before * of_old], new.slots.times[before * ~of_old])
        ages = slots.times[some] - times
        sums = np.where(of_old, old.fading[:, before * of_old], new.fading[:, before * ~of_old])
        lives = np.array(old.half_lives)
        for half_life in set(old.half_lives):
            # What fades alike is weighed once.
            rows = np.flatnonzero(lives == half_life)
            own[np.ix_(rows, some)] += decay.faded(sums[rows], ages, half_life)
    return own


def _alike(old: Block, new: Block) -> tuple[Block, Block]:
    """The same with the same rows of totals."""
    totals, squares = _union(old.totals, new.totals), _union(old.squares, new.squares)
    infinite = old.infinite or new.infinite
    return _with_rows(old, totals, squares, infinite), _with_rows(new, totals, squares, infinite)


def _with_rows(one: Block, totals: tuple[int, ...], squares: tuple[int, ...], infinite: bool) -> Block:
    if (one.totals, one.squares, one.infinite) == (totals, squares, infinite):
        return one
    a, b = len(one.totals), len(one.totals) + len(one.squares)
    parts = [Exact(one.totals, one.running[:a]).at(totals), Exact(one.squares, one.running[a:b]).at(squares)]
    if infinite:
        parts.append(one.running[b:] if one.infinite else np.zeros((2, one.running.shape[1]), np.int64))
    return replace(one, totals=totals, squares=squares, infinite=infinite, running=np.concatenate(parts))


@cache
def _union(some: tuple[int, ...], others: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({*some, *others}))
