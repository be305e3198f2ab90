"""The one way aggregates are computed: questions (key, time) against events sorted by key and time.

Training asks every question of history at once; serving asks one of the few events it has stored. Both come here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypipe.features.events import in_order
from raypipe.features.plan import Batch, GroupPlan
from raypipe.features.tracks import Answer, Track, blank, there
from raypipe.features.windows import windowed, with_infinities
from raypipe.stats import decay, ranges
from raypipe.stats.exact import Ints

#: So many questions are answered as they come; more in the order of the events.
FEW = 2_048
#: What an empty history says of these is zero; of all other doubles, nothing.
_ZERO_WHEN_EMPTY = frozenset({"sum", "decayed_sum", "decayed_count"})


def compute(plan: GroupPlan, tracks: Sequence[Track], keys: Ints, asked: Ints) -> list[Answer]:
    """The features of a group for each question.

    Args:
        plan: the compiled group.
        tracks: its events, one track for each of ``plan.tracks``.
        keys: for each question the key's number, or -1 for a key without any history.
        asked: for each question its time.
    """
    many = len(keys)
    where = None if bool((keys >= 0).all()) else np.flatnonzero(keys >= 0)
    if where is not None:
        keys, asked = keys[where], asked[where]
    if len(keys) > FEW:
        # In the order of the events, questions find what they look at in the processor's cache: half the time.
        order = in_order(keys, asked)
        keys, asked, where = keys[order], asked[order], order if where is None else where[order]
    answers = _answers(plan, tracks, keys, asked)
    if where is not None:
        answers = {i: _spread(answer, where, many, plan.features[i].op) for i, answer in answers.items()}
    return [answers[i] for i in range(len(plan.features))]


def _answers(plan: GroupPlan, tracks: Sequence[Track], keys: Ints, asked: Ints) -> dict[int, Answer]:
    """The same for keys that have a history, by the place of the feature in the plan."""
    seen = views(plan, tracks, keys, asked)
    answers: dict[int, Answer] = {}
    for batch in plan.batches:
        track, view = tracks[batch.track], seen[id(tracks[batch.track].times)]
        found = _windowed(batch, track, view) if batch.rows else [latest(batch, track, view)]
        answers.update(zip(batch.features, found, strict=True))
    return answers


@dataclass(slots=True)
class View:
    """Where the questions look among the events of some tracks.

    Attributes:
        asked: the questions' times.
        starts: where each key's events begin.
        end: where every window ends.
        latest: the place of the event that is the latest; before ``starts`` when there is none.
        lows: where each window begins, by its row among the group's edges.
    """

    asked: Ints
    starts: Ints
    end: Ints
    latest: Ints
    lows: dict[int, Ints]


def views(plan: GroupPlan, tracks: Sequence[Track], keys: Ints, asked: Ints) -> dict[int, View]:
    """One view for all tracks that share their times; every edge is looked up once."""
    edges = plan.edges(asked)
    rows: dict[int, dict[int, None]] = {}
    for shape, track in zip(plan.tracks, tracks, strict=True):
        rows.setdefault(id(track.times), {}).update(dict.fromkeys(shape.rows))
    found_in = {}
    for track in tracks:
        name = id(track.times)
        if name not in found_in:
            wanted = list(rows[name])
            found = ranges.places(track.starts, track.times, keys, edges[wanted])
            if track.reached is not None:
                # What comes behind the last event that was known then is not seen.
                known = ranges.places(track.starts, track.reached, keys, asked[None] + 1)
                found[:2] = np.minimum(found[:2], known)
            lows = dict(zip(wanted[2:], np.minimum(found[2:], found[0]), strict=True))
            found_in[name] = View(asked, track.starts[keys], found[0], found[1] - 1, lows)
    return found_in


def _windowed(batch: Batch, track: Track, view: View) -> list[Answer]:
    """The same aggregate over several windows, computed as one."""
    many = len(batch.rows)
    if many == 1:
        return [windowed(batch.op, batch.rank, track, view.lows[batch.rows[0]], view.end)]
    low, high = np.concatenate([view.lows[row] for row in batch.rows]), np.concatenate([view.end] * many)
    whole = windowed(batch.op, batch.rank, track, low, high)
    size = len(view.end)
    cuts = [slice(i * size, (i + 1) * size) for i in range(many)]
    return [Answer(whole.values[cut], None if whole.missing is None else whole.missing[cut]) for cut in cuts]


def latest(batch: Batch, track: Track, view: View) -> Answer:
    """An aggregate without a window: all that it needs to know is kept with the latest event."""
    return _decayed(batch, track, view) if batch.half_life else _LATEST[batch.op](batch, track, view)


def _last(batch: Batch, track: Track, view: View) -> Answer:
    """The latest event's value, unless it is too old."""
    fresh, kept = _fresh(batch, track, view), there(track.kept)
    if kept.dtype == np.float64:
        # No event holds a NaN, so that it can say that there is nothing.
        values = np.full(len(fresh), np.nan)
        values[fresh] = kept[view.latest[fresh]]
        return Answer(values)
    values = blank(len(fresh), kept.dtype)
    values[fresh] = kept[view.latest[fresh]]
    return Answer(values, ~fresh)


def _since(batch: Batch, track: Track, view: View) -> Answer:
    """Seconds since the latest event, unless it is too old."""
    fresh = _fresh(batch, track, view)
    ages = np.full(len(fresh), np.nan)
    ages[fresh] = (view.asked[fresh] - track.times[view.latest[fresh]]) / 1e6
    return Answer(ages)


def _tenure(_: Batch, track: Track, view: View) -> Answer:
    """Seconds since the first event, once there is one."""
    some = view.latest >= view.starts
    ages = np.full(len(some), np.nan)
    ages[some] = (view.asked[some] - there(track.firsts)[view.latest[some]]) / 1e6
    return Answer(ages)


_LATEST = {"last": _last, "since": _since, "tenure": _tenure}


def _fresh(batch: Batch, track: Track, view: View) -> NDArray[np.bool_]:
    fresh: NDArray[np.bool_] = view.latest >= view.starts
    if batch.max_age is not None:
        fresh[fresh] = view.asked[fresh] - track.times[view.latest[fresh]] <= batch.max_age
    return fresh


def _decayed(batch: Batch, track: Track, view: View) -> Answer:
    """What the latest event's running sum has faded to; events at the time of asking are not in it."""
    seen = view.end > view.starts
    last = view.end[seen] - 1
    counts = track.decayed_counts[batch.half_life][last]
    if batch.op == "decayed_mean":
        # The fading since the latest event is the same above and below the line, and would underflow.
        values = np.full(len(seen), np.nan)
        values[seen] = track.decayed[batch.half_life][last] / counts + 0.0
    else:
        values = np.zeros(len(seen))
        sums = counts if batch.op == "decayed_count" else track.decayed[batch.half_life][last]
        values[seen] = decay.read(sums, view.asked[seen] - track.times[last], batch.half_life)
    return Answer(with_infinities(track, values, view.starts, view.end))


def _spread(answer: Answer, where: Ints, many: int, op: str) -> Answer:
    """Answers for all questions from those for keys with a history, each put where its question is."""
    if len(where) == many:
        values = np.empty(many, answer.values.dtype)
    else:
        values = blank(many, answer.values.dtype)
        if answer.values.dtype == np.float64 and op not in _ZERO_WHEN_EMPTY:
            values[:] = np.nan
    values[where] = answer.values
    if answer.missing is None:
        return Answer(values)
    missing = np.ones(many, np.bool_)
    missing[where] = answer.missing
    return Answer(values, missing)
