"""Histories with gaps: what a question sees when events that happened earlier become known later than others.

Of a key's events, a question sees those up to the last one that was known, without the gaps: events before it that were
still on their way. What lies between gaps is a run. Runs are tiles to the kernel's sums and extremes; ranks, different
values and decayed sums follow several runs at once. So a question costs as much as it has gaps, however long its
windows are, and has the bits that it would have if the events in the gaps had never been.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from raypipe.features.events import in_order
from raypipe.features.kernel import latest, views
from raypipe.features.plan import Batch, GroupPlan
from raypipe.stats import decay, distinct, percentile, ranges
from raypipe.stats.exact import Ints
from raypipe.stats.latest import View
from raypipe.stats.tracks import Answer, Track, there
from raypipe.stats.windows import windowed

#: So many gaps are in memory at a time.
AT_ONCE = 2_000_000
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Gaps:
    """Events that questions do not see although they see later ones of the same key.

    Attributes:
        asked: the numbers of the questions that have any.
        whose: for each gap the place of its question among these, ascending.
        places: the event that is not seen, ascending for each question.
    """

    asked: Ints
    whose: Ints
    places: Ints


@dataclass(frozen=True)
class _Runs:
    """Events between gaps, from one place to another (not included), none empty; each question's from ``starts`` on."""

    starts: Ints
    low: Ints
    high: Ints

    @property
    def some(self) -> Ints:
        """The questions that have any."""
        return np.flatnonzero(np.diff(self.starts))


def reached(tracks: Sequence[Track]) -> None:
    """Note when each event or a later one of its key was seen: it ascends, so that it can be looked up like times."""
    made: dict[int, Ints] = {}
    for track in tracks:
        if id(track.times) not in made:
            known = np.maximum(there(track.known), track.times)
            frame = pl.DataFrame({"key": _owners(track), "known": known})
            first = frame.select(pl.col("known").cum_min(reverse=True).over("key"))
            made[id(track.times)] = first.to_series().to_numpy()
        track.reached = made[id(track.times)]


def gaps(track: Track, keys: Ints, asked: Ints, longest: int | None) -> Iterator[Gaps]:
    """The gaps of some of the questions at a time.

    Args:
        track: its `reached` is noted.
        keys: for each question the number of its key, or -1 for one without events.
        asked: for each question its time.
        longest: how far back any question sees; None: without end.
    """
    known, owners, many = there(track.known), _owners(track), len(track.starts) - 1
    following = np.append(there(track.reached)[1:], _NEVER)
    following[track.starts[1:][np.diff(track.starts) > 0] - 1] = _NEVER
    # A later event was known before this one: it is a gap from then on until it is known, too.
    overtaken = np.flatnonzero(known > following)
    until = known[overtaken] if longest is None else np.minimum(known[overtaken], track.times[overtaken] + longest + 1)
    some = np.flatnonzero(keys >= 0)
    order = some[in_order(keys[some], asked[some])]
    starts = np.searchsorted(keys[order], np.arange(many + 1, dtype=np.int64))
    first, end = ranges.places(starts, asked[order], owners[overtaken], np.stack([following[overtaken], until]))
    end = np.maximum(first, end)
    each = np.zeros(len(order) + 1, np.int64)
    np.add.at(each, first, 1)
    np.add.at(each, end, -1)
    rounds = np.cumsum(np.cumsum(each[:-1])) // AT_ONCE
    bounds = np.flatnonzero(np.diff(rounds, prepend=-1, append=-1)) if len(rounds) else np.zeros(1, np.int64)
    for begin, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        low, high = np.clip(first, begin, stop), np.clip(end, begin, stop)
        sizes = high - low
        if not sizes.any():
            continue
        questions = np.arange(sizes.sum()) + np.repeat(low - (np.cumsum(sizes) - sizes), sizes)
        by = np.argsort(questions, kind="stable")
        mine, whose = np.unique(questions[by], return_inverse=True)
        yield Gaps(order[mine], whose, np.repeat(overtaken, sizes)[by])


def answers(
    plan: GroupPlan, tracks: Sequence[Track], track: Track, some: Gaps, keys: Ints, asked: Ints
) -> Iterator[tuple[int, Answer]]:
    """What the features that read a track's events say to questions with gaps, by the place of the feature.

    Args:
        plan: the compiled group.
        tracks: its events.
        track: one of them; those that share its times are read along.
        some: questions with gaps.
        keys: of these.
        asked: times of these.
    """
    view = views(plan, tracks, keys, asked)[id(track.times)]
    windows: dict[int, _Runs] = {}
    for batch in plan.batches:
        read = tracks[batch.track]
        if read.times is not track.times:
            continue
        for place, row in zip(batch.features, batch.rows, strict=False):
            if row not in windows:
                windows[row] = _runs(some, view.lows[row], view.end)
            yield place, _windowed(batch, read, some, windows[row], view.lows[row], view.end)
        if not batch.rows:
            end = view.end if batch.half_life else np.maximum(view.latest + 1, view.starts)
            yield batch.features[0], _latest(batch, read, _runs(some, view.starts, end), asked)


def _windowed(batch: Batch, track: Track, some: Gaps, runs: _Runs, low: Ints, high: Ints) -> Answer:
    if batch.op == "distinct":
        inside = (some.places >= low[some.whose]) & (some.places < high[some.whose])
        whose, places = some.whose[inside], some.places[inside]
        return Answer(distinct.counts_without(there(track.hashes), track.starts, low, high, whose, places))
    if batch.rank is not None:
        return _ranked(batch.rank, track, runs)
    return windowed(batch.op, None, _tiles(batch.op, track, runs), runs.starts[:-1], runs.starts[1:])


def _tiles(op: str, track: Track, runs: _Runs) -> Track:
    """What one aggregate needs to know of each run."""
    low, high = runs.low, runs.high
    tiles = Track(runs.starts, track.times[low], infinite=_infinite(track, runs))
    tiles.counts = np.append(0, np.cumsum(high - low))
    if op in ("sum", "mean", "std"):
        tiles.totals = there(track.totals).between(low, high).running()
    if op == "std":
        tiles.squares = there(track.squares).between(low, high).running()
    if op == "min":
        tiles.numbers = ranges.smallest(there(track.numbers), low, high)
    if op == "max":
        tiles.highest = ranges.largest(there(track.numbers), low, high)
    if op in ("first", "last"):
        tiles.kept = there(track.kept)[low if op == "first" else high - 1]
    return tiles


def _infinite(track: Track, runs: _Runs) -> Ints | None:
    if track.infinite is None:
        return None
    each = track.infinite[:, runs.high] - track.infinite[:, runs.low]
    return np.concatenate([np.zeros((2, 1), np.int64), np.cumsum(each, axis=1)], axis=1)


def _ranked(rank: float, track: Track, runs: _Runs) -> Answer:
    values, seen = np.full(len(runs.starts) - 1, np.nan), runs.some
    if len(seen):
        starts = np.append(runs.starts[seen], len(runs.low))
        counts = np.add.reduceat(runs.high - runs.low, starts[:-1])
        places = percentile.place(rank, counts)
        found = ranges.kth_of_runs(there(track.numbers), starts, runs.low, runs.high, places)
        values[seen] = np.where(counts > percentile.EXACT_UP_TO, percentile.coarse(found), found)
    return Answer(values)


def _latest(batch: Batch, track: Track, runs: _Runs, asked: Ints) -> Answer:
    """As if each question had a key of its own, whose one event stands for all that it sees."""
    seen = runs.some
    first, last = runs.low[runs.starts[seen]], runs.high[runs.starts[seen + 1] - 1] - 1
    starts = np.append(0, np.cumsum(np.diff(runs.starts) > 0))
    firsts = track.times[first] if track.earlier is None else np.minimum(track.times[first], track.earlier[first])
    one = Track(starts, track.times[last], firsts=firsts)
    if batch.op == "last":
        one.kept = there(track.kept)[last]
    if batch.half_life and len(seen):
        begins = np.append(runs.starts[seen], len(runs.low))
        life = batch.half_life
        values = there(track.weighed)[life]
        sums = decay.of_runs(values, track.times, track.starts, life, begins, runs.low, runs.high)
        one.decayed, one.decayed_counts = {life: sums[0]}, {life: sums[-1]}
        if track.infinite is not None:
            one.infinite = there(_infinite(track, runs))[:, begins]
    elif batch.half_life:
        one.decayed = one.decayed_counts = {batch.half_life: np.zeros(0)}
    return latest(batch, one, View(asked, starts[:-1], starts[1:], starts[1:] - 1, {}))


def _runs(some: Gaps, low: Ints, high: Ints) -> _Runs:
    """What is seen between two places."""
    every = np.arange(len(low), dtype=np.int64)
    inside = (some.places >= low[some.whose]) & (some.places < high[some.whose])
    whose, places = some.whose[inside], some.places[inside]
    # A run begins at the beginning and behind each gap, and ends at each gap and at the end.
    by = np.argsort(np.append(every, whose), kind="stable")
    owners, begins = np.append(every, whose)[by], np.append(low, places + 1)[by]
    ends = np.append(places, high)[np.argsort(np.append(whose, every), kind="stable")]
    filled = begins < ends
    return _Runs(np.searchsorted(owners[filled], np.append(every, len(low))), begins[filled], ends[filled])


def _owners(track: Track) -> Ints:
    return np.repeat(np.arange(len(track.starts) - 1, dtype=np.int64), np.diff(track.starts))
