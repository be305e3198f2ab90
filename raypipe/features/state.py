"""The stored state of one entity in one group: the kernel's own arrays, one behind the other, ready to be read.

Everything is in 8-byte slots. First a table of contents as integers, then the arrays; each array of an event track has
one slot more than events: running totals begin at zero, and times end with one that nothing lies after.

Table of contents: version; then for each track: events, the track whose times it shares (or -1), 1 if it has
infinities, and for totals and squares the number of limbs and their places.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from raypipe.errors import FeatureError
from raypipe.features.plan import GroupPlan, TrackPlan
from raypipe.features.tracks import Track, Values
from raypipe.stats.exact import Exact, Ints, joined

VERSION = 1
FOREVER = np.iinfo(np.int64).max
_END = np.array([FOREVER])
_SLOT = 8


def pack(plan: GroupPlan, tracks: Sequence[Track], lows: Sequence[int], highs: Sequence[int]) -> bytes:
    """The state of one entity from the arrays of all.

    Args:
        plan: the compiled group.
        tracks: one for each of ``plan.tracks``.
        lows: for each track the place of the entity's first event that is kept.
        highs: for each track the place behind its last event.
    """
    contents: list[int] = [VERSION]
    arrays: list[Values] = []
    seen: list[Ints] = []
    for shape, track, low, high in zip(plan.tracks, tracks, lows, highs, strict=True):
        times = track.times[low:high]
        shared = next((i for i, other in enumerate(seen) if np.array_equal(other, times)), -1)
        seen.append(times)
        contents += [high - low, shared, int(track.infinite is not None)]
        arrays += [times, _END] if shared < 0 else []
        for totals in (track.totals, track.squares):
            if totals is not None:
                limbs = totals.limbs[:, low : high + 1] - totals.limbs[:, low : low + 1]
                used = np.flatnonzero(limbs.any(axis=1))
                contents += [len(used), *(totals.places[i] for i in used)]
                arrays.append(limbs[used].ravel())
        if track.infinite is not None:
            arrays.append((track.infinite[:, low : high + 1] - track.infinite[:, low : low + 1]).ravel())
        arrays += _per_event(shape, track, low, high)
    head = np.array([len(contents), *contents], np.int64)
    return b"".join(array.tobytes() for array in (head, *arrays))


def unpack(plan: GroupPlan, states: Sequence[bytes]) -> list[Track]:
    """The tracks of some entities, numbered in the order given."""
    entities = [_Entity(plan, state) for state in states]
    if not entities:
        return [_nobody(shape) for shape in plan.tracks]
    if len(entities) == 1:
        return entities[0].tracks
    made: list[Track] = []
    for i in range(len(plan.tracks)):
        parts = [entity.tracks[i] for entity in entities]
        same = (j for j in range(i) if all(e.tracks[j].times is e.tracks[i].times for e in entities))
        shared = next(same, None)
        made.append(_joined(parts, None if shared is None else made[shared]))
    return made


class _Entity:
    """Reads one state from front to back."""

    def __init__(self, plan: GroupPlan, state: bytes) -> None:
        self._ints = np.frombuffer(state, np.int64)
        size = int(self._ints[0])
        self._contents = iter(self._ints[1 : 1 + size].tolist())
        if (version := next(self._contents)) != VERSION:
            raise FeatureError(f"state has version {version}", where="online store", cure="Materialize it again")
        self._at = 1 + size
        self.tracks: list[Track] = []
        for shape in plan.tracks:
            self.tracks.append(self._track(shape))

    def _track(self, shape: TrackPlan) -> Track:
        take = self._contents.__next__
        events, shared, infinite = take(), take(), take()
        slots = events + 1
        times = self._array(slots) if shared < 0 else self.tracks[shared].times
        totals = self._exact(slots) if shape.totals else None
        squares = self._exact(slots) if shape.squares else None
        return Track(
            starts=np.array([0, slots]),
            times=times,
            totals=totals,
            squares=squares,
            infinite=self._array(2 * slots).reshape(2, slots) if infinite else None,
            numbers=self._array(slots).view(np.float64) if shape.numbers else None,
            hashes=self._array(slots).view(np.uint64) if shape.hashes else None,
            kept=self._kept(shape, slots) if shape.kept else None,
            decayed={h: self._array(slots).view(np.float64) for h in shape.half_lives if shape.value is not None},
            decayed_counts={h: self._array(slots).view(np.float64) for h in shape.half_lives},
        )

    def _array(self, slots: int) -> Ints:
        start, self._at = self._at, self._at + slots
        return self._ints[start : self._at]

    def _exact(self, slots: int) -> Exact:
        places = tuple(next(self._contents) for _ in range(next(self._contents)))
        return Exact(places, self._array(len(places) * slots).reshape(len(places), slots))

    def _kept(self, shape: TrackPlan, slots: int) -> Values:
        if not shape.is_text:
            raw = self._array(slots)
            return raw.view(np.float64) if shape.is_float else raw
        offsets = self._array(slots).tolist()
        blob = self._array(-(-offsets[-1] // _SLOT)).tobytes()
        texts = [blob[a:b].decode() for a, b in pairwise(offsets)]
        return np.array([*texts, ""], object)


def _per_event(shape: TrackPlan, track: Track, low: int, high: int) -> list[Values]:
    """Arrays of one value an event, each with a slot more."""
    zero = np.zeros(1, np.int64)
    arrays: list[Values] = []
    if track.numbers is not None:
        arrays += [track.numbers[low:high], zero]
    if track.hashes is not None:
        arrays += [track.hashes[low:high], zero]
    if track.kept is not None and not shape.is_text:
        arrays += [track.kept[low:high], zero]
    elif track.kept is not None:
        texts = [text.encode() for text in track.kept[low:high].tolist()]
        offsets = np.cumsum([0, *(len(text) for text in texts)], dtype=np.int64)
        blob = b"".join(texts)
        padded = blob + bytes(-len(blob) % _SLOT)
        arrays += [offsets, np.frombuffer(padded, np.uint8)]
    for by_half_life in (track.decayed, track.decayed_counts):
        for half_life in by_half_life:
            arrays += [by_half_life[half_life][low:high], zero]
    return arrays


def _nobody(shape: TrackPlan) -> Track:
    """The track of no entity at all."""
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
    )


def _joined(tracks: Sequence[Track], like: Track | None) -> Track:
    """The tracks of several entities as one, in order; ``like`` has the same times."""
    sizes = [0, *(len(track.times) for track in tracks)]
    first = tracks[0]
    infinite = None
    if any(track.infinite is not None for track in tracks):
        none = [np.zeros((2, size), np.int64) for size in sizes[1:]]
        infinite = np.concatenate(
            [n if t.infinite is None else t.infinite for t, n in zip(tracks, none, strict=True)], 1
        )
    return Track(
        starts=np.cumsum(sizes, dtype=np.int64) if like is None else like.starts,
        times=np.concatenate([track.times for track in tracks]) if like is None else like.times,
        totals=None if first.totals is None else joined([t.totals for t in tracks if t.totals]),
        squares=None if first.squares is None else joined([t.squares for t in tracks if t.squares]),
        infinite=infinite,
        numbers=None if first.numbers is None else np.concatenate([t.numbers for t in tracks if t.numbers is not None]),
        hashes=None if first.hashes is None else np.concatenate([t.hashes for t in tracks if t.hashes is not None]),
        kept=None if first.kept is None else np.concatenate([t.kept for t in tracks if t.kept is not None]),
        decayed={h: np.concatenate([track.decayed[h] for track in tracks]) for h in first.decayed},
        decayed_counts={h: np.concatenate([t.decayed_counts[h] for t in tracks]) for h in first.decayed_counts},
    )
