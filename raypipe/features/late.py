"""Events that become known in another order than they happen: every question sees what was known when it was asked.

Up to the last event that was known, the kernel answers as ever. Where events before that one were still on their way,
the question's history has gaps, and is answered without them.
"""

from typing import TYPE_CHECKING

import polars as pl

from raypipe.features import events, gaps
from raypipe.features.kernel import compute
from raypipe.features.plan import GroupPlan, plans
from raypipe.features.tracks import Answer
from raypipe.stats.exact import Ints

if TYPE_CHECKING:
    from raypipe.features.reading import Tables


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
    if not plan.late:
        return compute(plan, tracks, numbers, times)
    gaps.reached(tracks)
    answers = compute(plan, tracks, numbers, times)
    for track in {id(track.times): track for track in tracks}.values():
        for some in gaps.gaps(track, numbers, times, _longest(plan)):
            asked = some.asked
            for place, again in gaps.answers(plan, tracks, track, some, numbers[asked], times[asked]):
                answers[place].values[asked] = again.values
                if (missing := answers[place].missing) is not None and again.missing is not None:
                    missing[asked] = again.missing
    return answers


def _longest(plan: GroupPlan) -> int | None:
    """How far back a question sees through a window or an age; None: without end."""
    if any(track.endless for track in plan.tracks):
        return None
    ages = (track.max_age for track in plan.tracks if track.max_age is not None)
    return max((*(window.length + window.tail for window in plan.windows), *ages), default=0)


def oldest(tables: "Tables", as_of: int, reach: int) -> int:
    """The earliest question that a state as known at ``as_of`` answers as history would.

    It reaches back as far as the state is kept, but not beyond the moment at which a late event became known: what was
    known before, the state does not tell.

    Args:
        tables: what the state is made of.
        as_of: microseconds UTC.
        reach: how far back the state is kept.
    """
    earliest = as_of - reach
    for plan in plans(tables.pipeline):
        if plan.late:
            moment, known = pl.col(plan.group.moment.at).cast(pl.Int64), plan.known_at()
            late = (known > moment + plan.delay) & known.is_between(earliest, as_of)
            rows = tables.table(plan.group.moment.stream.name)
            last = rows.filter(late).select(known.max()).collect(engine="streaming").item()
            earliest = earliest if last is None else max(earliest, last)
    return earliest
