"""Events that become known in another order than they happen: every question sees what was known when it was asked.

Up to the last event that was known, the kernel answers as ever. Where events before that one were still on their way,
the question's history has gaps, and is answered without them.
"""

from collections.abc import Sequence

import polars as pl

from raypipe.features import events, gaps
from raypipe.features.asking import compute
from raypipe.features.plan import GroupPlan
from raypipe.stats.arrays import Ints
from raypipe.stats.tracks import Answer, Track


def answer(plan: GroupPlan, found: pl.DataFrame, asked_keys: pl.DataFrame, times: Ints) -> list[Answer]:
    """What the kernel says of some events to some questions.

    Args:
        plan: the compiled group.
        found: its events, as `events.events` gives them, in any order.
        asked_keys: the questions' keys.
        times: when they are asked.
    """
    coded, numbers, known = events.numbered(found, asked_keys, plan.group.where)
    tracks = events.tracks(plan, coded, known.height)
    return as_then(plan, tracks, numbers, times) if plan.late else compute(plan, tracks, numbers, times)


def as_then(plan: GroupPlan, tracks: Sequence[Track], numbers: Ints, times: Ints) -> list[Answer]:
    """What each question sees of events that become known in another order than they happen.

    Args:
        plan: the compiled group.
        tracks: its events; each says when it is known.
        numbers: for each question the number of its key, or -1 for one without events.
        times: when they are asked.
    """
    gaps.reached(tracks)
    answers = compute(plan, tracks, numbers, times)
    for track in {id(track.times): track for track in tracks}.values():
        for some in gaps.gaps(track, numbers, times, _longest(plan)):
            asked = some.asked
            for place, again in gaps.answers(plan, tracks, track, some, numbers[asked], times[asked]):
                answers[place].put(asked, again)
    return answers


def _longest(plan: GroupPlan) -> int | None:
    """How far back a question sees through a window or an age; None: without end."""
    if any(track.endless for track in plan.tracks):
        return None
    ages = (track.max_age for track in plan.tracks if track.max_age is not None)
    return max((*(window.length + window.tail for window in plan.windows), *ages), default=0)
