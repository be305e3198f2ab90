"""How the kernel is asked: questions (key, time) against events sorted by key and time.

Training asks every question of history at once; serving asks one of the few events it has stored. Both come here.
"""

from collections.abc import Sequence

import numpy as np

from raypipe.features.events import in_order
from raypipe.features.plan import GroupPlan
from raypipe.stats import kernel
from raypipe.stats.arrays import Ints
from raypipe.stats.places import places
from raypipe.stats.tracks import Answer, Track, View, blank

#: So many questions are answered as they come; more in the order of the events.
FEW = 2_048


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
        answers.update(zip(batch.features, kernel.finalize(batch, track, view), strict=True))
    return answers


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
            found = places(track.starts, track.times, keys, edges[wanted])
            if track.reached is not None:
                # What comes behind the last event that was known then is not seen.
                known = places(track.starts, track.reached, keys, asked[None] + 1)
                found[:2] = np.minimum(found[:2], known)
            lows = dict(zip(wanted[2:], np.minimum(found[2:], found[0]), strict=True))
            found_in[name] = View(asked, track.starts[keys], found[0], found[1] - 1, lows)
    return found_in


def _spread(answer: Answer, where: Ints, many: int, op: str) -> Answer:
    """Answers for all questions from those for keys with a history, each put where its question is."""
    if len(where) == many:
        values = np.empty(many, answer.values.dtype)
    else:
        values = blank(many, answer.values.dtype)
        if answer.values.dtype == np.float64 and op not in kernel.EMPTY:
            values[:] = np.nan
    values[where] = answer.values
    if answer.missing is None:
        return Answer(values)
    missing = np.ones(many, np.bool_)
    missing[where] = answer.missing
    return Answer(values, missing)
