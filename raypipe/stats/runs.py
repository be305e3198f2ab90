"""Aggregates of histories in which events are missing: with the bits that they had if those events had never been.

Between the events that a question does not see lie runs of events that it does. A run is added up like a tile, and a
window is read from the tiles of its runs.
"""

from dataclasses import dataclass

import numpy as np

from raypipe.stats import decay, distinct, percentile, ranges, windows
from raypipe.stats import latest as after
from raypipe.stats.arrays import Ints
from raypipe.stats.forms import Asked
from raypipe.stats.tracks import Answer, Track, View, there


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

    def within(self, low: Ints, high: Ints) -> tuple[Ints, Ints]:
        """The gaps between two places of each question: whose, and where."""
        inside = (self.places >= low[self.whose]) & (self.places < high[self.whose])
        return self.whose[inside], self.places[inside]


@dataclass(frozen=True)
class Runs:
    """Events between gaps, from one place to another (not included), none empty; each question's from ``starts`` on."""

    starts: Ints
    low: Ints
    high: Ints

    @property
    def some(self) -> Ints:
        """The questions that have any."""
        return np.flatnonzero(np.diff(self.starts))


def between(gaps: Gaps, low: Ints, high: Ints) -> Runs:
    """What is seen between two places by each question."""
    every = np.arange(len(low), dtype=np.int64)
    whose, places = gaps.within(low, high)
    # A run begins at the beginning and behind each gap, and ends at each gap and at the end.
    by = np.argsort(np.append(every, whose), kind="stable")
    owners, begins = np.append(every, whose)[by], np.append(low, places + 1)[by]
    ends = np.append(places, high)[np.argsort(np.append(whose, every), kind="stable")]
    filled = begins < ends
    return Runs(np.searchsorted(owners[filled], np.append(every, len(low))), begins[filled], ends[filled])


def windowed(asked: Asked, track: Track, gaps: Gaps, runs: Runs, low: Ints, high: Ints) -> Answer:
    """One aggregate through one window.

    Args:
        asked: which.
        track: the events.
        gaps: what the questions do not see.
        runs: what they see of the window, as `between` gives it.
        low: where each question's window begins.
        high: where it ends (not included).
    """
    if asked.op == "distinct":
        return Answer(distinct.counts_without(there(track.hashes), track.starts, low, high, *gaps.within(low, high)))
    if asked.rank is not None:
        return _ranked(asked.rank, track, runs)
    return windows.windowed(asked.op, None, _tiles(asked.op, track, runs), runs.starts[:-1], runs.starts[1:])


def latest(asked: Asked, track: Track, runs: Runs, times: Ints) -> Answer:
    """One aggregate without a window: as if each question had a key of its own, whose one event stands for all it sees.

    Args:
        asked: which.
        track: the events.
        runs: what each question sees.
        times: when each is asked.
    """
    seen = runs.some
    first, last = runs.low[runs.starts[seen]], runs.high[runs.starts[seen + 1] - 1] - 1
    starts = np.append(0, np.cumsum(np.diff(runs.starts) > 0))
    firsts = track.times[first] if track.earlier is None else np.minimum(track.times[first], track.earlier[first])
    one = Track(starts, track.times[last], firsts=firsts)
    if asked.op == "last":
        one.kept = there(track.kept)[last]
    if asked.half_life and len(seen):
        _fade(one, track, runs, seen, asked.half_life)
    elif asked.half_life:
        one.decayed = one.decayed_counts = {asked.half_life: np.zeros(0)}
    return after.latest(asked, one, View(times, starts[:-1], starts[1:], starts[1:] - 1, {}))


def _fade(one: Track, track: Track, runs: Runs, seen: Ints, half_life: int) -> None:
    """Give the one event what all that is seen has faded to."""
    begins = np.append(runs.starts[seen], len(runs.low))
    values = there(track.weighed)[half_life]
    sums = decay.of_runs(values, track.times, track.starts, half_life, begins, runs.low, runs.high)
    one.decayed, one.decayed_counts = {half_life: sums[0]}, {half_life: sums[-1]}
    if track.infinite is not None:
        one.infinite = there(_infinite(track, runs))[:, begins]


def _tiles(op: str, track: Track, runs: Runs) -> Track:
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


def _infinite(track: Track, runs: Runs) -> Ints | None:
    if track.infinite is None:
        return None
    each = track.infinite[:, runs.high] - track.infinite[:, runs.low]
    return np.concatenate([np.zeros((2, 1), np.int64), np.cumsum(each, axis=1)], axis=1)


def _ranked(rank: float, track: Track, runs: Runs) -> Answer:
    values, seen = np.full(len(runs.starts) - 1, np.nan), runs.some
    if len(seen):
        starts = np.append(runs.starts[seen], len(runs.low))
        counts = np.add.reduceat(runs.high - runs.low, starts[:-1])
        found = ranges.kth_of_runs(there(track.numbers), starts, runs.low, runs.high, percentile.place(rank, counts))
        values[seen] = np.where(counts > percentile.EXACT_UP_TO, percentile.coarse(found), found)
    return Answer(values)
