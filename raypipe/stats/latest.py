"""Aggregates without a window: all that they need to know is kept with the latest event."""

import numpy as np
from numpy.typing import NDArray

from raypipe.stats import decay
from raypipe.stats.forms import Asked
from raypipe.stats.tracks import Answer, Track, View, blank, there
from raypipe.stats.windows import with_infinities


def latest(asked: Asked, track: Track, view: View) -> Answer:
    """One aggregate without a window, for each question."""
    if asked.half_life:
        return decayed(asked.op, track, view, asked.half_life)
    if asked.op == "tenure":
        return tenure(track, view)
    return (last if asked.op == "last" else since)(track, view, asked.max_age)


def last(track: Track, view: View, max_age: int | None) -> Answer:
    """The latest event's value, unless it is older than so many microseconds."""
    fresh, kept = _fresh(track, view, max_age), there(track.kept)
    if kept.dtype == np.float64:
        # No event holds a NaN, so that it can say that there is nothing.
        values = np.full(len(fresh), np.nan)
        values[fresh] = kept[view.latest[fresh]]
        return Answer(values)
    values = blank(len(fresh), kept.dtype)
    values[fresh] = kept[view.latest[fresh]]
    return Answer(values, ~fresh)


def since(track: Track, view: View, max_age: int | None) -> Answer:
    """Seconds since the latest event, unless it is older than so many microseconds."""
    fresh = _fresh(track, view, max_age)
    ages = np.full(len(fresh), np.nan)
    ages[fresh] = (view.asked[fresh] - track.times[view.latest[fresh]]) / 1e6
    return Answer(ages)


def tenure(track: Track, view: View) -> Answer:
    """Seconds since the first event, once there is one."""
    some = view.latest >= view.starts
    ages = np.full(len(some), np.nan)
    ages[some] = (view.asked[some] - there(track.firsts)[view.latest[some]]) / 1e6
    return Answer(ages)


def decayed(op: str, track: Track, view: View, half_life: int) -> Answer:
    """What the latest event's running sum has faded to; events at the time of asking are not in it.

    Args:
        op: ``decayed_sum``, ``decayed_count`` or ``decayed_mean``.
        track: the events.
        view: where the questions look.
        half_life: in microseconds.
    """
    seen = view.end > view.starts
    latest = view.end[seen] - 1
    counts = track.decayed_counts[half_life][latest]
    if op == "decayed_mean":
        # The fading since the latest event is the same above and below the line, and would underflow.
        values = np.full(len(seen), np.nan)
        values[seen] = track.decayed[half_life][latest] / counts + 0.0
    else:
        values = np.zeros(len(seen))
        sums = counts if op == "decayed_count" else track.decayed[half_life][latest]
        values[seen] = decay.read(sums, view.asked[seen] - track.times[latest], half_life)
    if op == "decayed_count":
        return Answer(values)
    return Answer(with_infinities(track, values, view.starts, view.end))


def _fresh(track: Track, view: View, max_age: int | None) -> NDArray[np.bool_]:
    fresh: NDArray[np.bool_] = view.latest >= view.starts
    if max_age is not None:
        fresh[fresh] = view.asked[fresh] - track.times[view.latest[fresh]] <= max_age
    return fresh
