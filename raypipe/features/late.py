"""Events that become known in another order than they happen: every question sees what was known when it was asked.

Where nothing was still on its way, a question is answered as ever. Where something was - an event that had happened,
but was not known yet - it is asked of a history of its own, from which what was not known is left out: the one kernel
answers both. Such a question costs as much as there are events in its longest window.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from raypipe.features import events
from raypipe.features.kernel import compute
from raypipe.features.plan import GroupPlan, plans
from raypipe.features.tracks import Answer
from raypipe.stats.exact import Ints
from raypipe.stats.ranges import places

if TYPE_CHECKING:
    from raypipe.features.reading import Tables

#: So many events of histories of their own are in memory at a time.
AT_ONCE = 2_000_000


def answer(plan: GroupPlan, found: pl.DataFrame, asked_keys: pl.DataFrame, times: Ints) -> list[Answer]:
    """What the kernel says of some events to some questions.

    Args:
        plan: the compiled group.
        found: its events, as `events.events` gives them, in any order.
        asked_keys: the questions' keys.
        times: when they are asked.
    """
    coded, numbers, known = events.numbered(found, asked_keys, plan.group.where)
    answers = compute(plan, events.tracks(plan, coded, known.height), numbers, times)
    if plan.late:
        waiting = _waiting(coded, numbers, times, known.height, plan.delay)
        for places_, again in _as_known(plan, coded, numbers, times, waiting, known.height):
            for one, other in zip(answers, again, strict=True):
                one.values[places_] = other.values
                if one.missing is not None and other.missing is not None:
                    one.missing[places_] = other.missing
    return answers


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


def _waiting(coded: pl.DataFrame, keys: Ints, times: Ints, many: int, delay: int) -> Ints:
    """The questions at whose time an event of their key had happened and was not known."""
    late = coded.filter(pl.col(events.KNOWN) > pl.col(events.TIME) + delay)
    some = np.flatnonzero(keys >= 0)  # nothing is on its way to a key that has no events
    order = some[events.in_order(keys[some], times[some])]
    starts = np.searchsorted(keys[order], np.arange(many + 1, dtype=np.int64))
    bounds = np.stack([late[events.TIME].to_numpy(), late[events.KNOWN].to_numpy()])
    first, end = places(starts, times[order], late[events.KEY].to_numpy(), bounds)
    opened = np.zeros(len(order) + 1, np.int64)
    np.add.at(opened, first, 1)
    np.add.at(opened, end, -1)
    found: Ints = order[np.cumsum(opened[:-1]) > 0]
    return found


def _as_known(
    plan: GroupPlan, coded: pl.DataFrame, keys: Ints, times: Ints, waiting: Ints, many: int
) -> Iterator[tuple[Ints, list[Answer]]]:
    """Some of the questions at a time, with answers from what each of them could know."""
    happened, known = coded[events.TIME].to_numpy(), coded[events.KNOWN].to_numpy()
    starts = np.searchsorted(coded[events.KEY].to_numpy(), np.arange(many + 1, dtype=np.int64))
    bounds = np.stack([_first_seen(plan, times[waiting]), times[waiting] + 1])
    low, high = places(starts, happened, keys[waiting], bounds)
    if any(track.endless for track in plan.tracks):
        low = starts[keys[waiting]]
    sizes = high - low
    # Those that reach the same limit are worked on together.
    rounds = np.cumsum(sizes) // AT_ONCE
    for number in np.unique(rounds).tolist():
        mine = rounds == number
        owners = np.repeat(np.arange(int(mine.sum()), dtype=np.int64), sizes[mine])
        before = np.cumsum(sizes[mine]) - sizes[mine]
        rows = np.arange(len(owners), dtype=np.int64) - before[owners] + low[mine][owners]
        seen = known[rows] <= times[waiting[mine]][owners]
        own = coded[pl.Series(rows[seen])].with_columns(pl.Series(events.KEY, owners[seen]))
        asked = np.arange(int(mine.sum()), dtype=np.int64)
        yield waiting[mine], compute(plan, events.tracks(plan, own, len(asked)), asked, times[waiting[mine]])


def _first_seen(plan: GroupPlan, asked: Ints) -> Ints:
    """The earliest event time that each question sees through a window or an age."""
    ages = [track.max_age for track in plan.tracks if track.max_age is not None]
    edges = plan.edges(asked)
    first: Ints = np.concatenate([edges, *((asked - age)[None] for age in ages)]).min(axis=0)
    return first
