"""Histories with gaps: what a question sees when events that happened earlier become known later than others.

Of a key's events, a question sees those up to the last one that was known, without the gaps: events before it that were
still on their way. What lies between gaps is a run. Runs are tiles to the kernel's sums and extremes; ranks, different
values and decayed sums follow several runs at once. So a question costs as much as it has gaps, however long its
windows are, and has the bits that it would have if the events in the gaps had never been.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from raypipe.features.asking import views
from raypipe.features.events import in_order
from raypipe.features.plan import GroupPlan
from raypipe.stats import runs
from raypipe.stats.arrays import Ints
from raypipe.stats.places import places
from raypipe.stats.runs import Gaps, Runs
from raypipe.stats.tracks import Answer, Track, there

#: So many gaps are in memory at a time.
AT_ONCE = 2_000_000
_NEVER = np.iinfo(np.int64).max


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
    first, end = places(starts, asked[order], owners[overtaken], np.stack([following[overtaken], until]))
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
    windows: dict[int, Runs] = {}
    for batch in plan.batches:
        read = tracks[batch.track]
        if read.times is not track.times:
            continue
        for place, row in zip(batch.features, batch.rows, strict=False):
            if row not in windows:
                windows[row] = runs.between(some, view.lows[row], view.end)
            yield place, runs.windowed(batch, read, some, windows[row], view.lows[row], view.end)
        if not batch.rows:
            end = view.end if batch.half_life else np.maximum(view.latest + 1, view.starts)
            yield batch.features[0], runs.latest(batch, read, runs.between(some, view.starts, end), asked)


def _owners(track: Track) -> Ints:
    return np.repeat(np.arange(len(track.starts) - 1, dtype=np.int64), np.diff(track.starts))
