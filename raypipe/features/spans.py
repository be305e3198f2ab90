"""A history in spans of time: of keys with more events than are worked on at once, only some are in memory at a time.

Span after span, its events are merged with what is left of those before it, the questions asked within it are answered
from these, and what no later question can see is cut off: the way in which stored states are kept up to date.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import polars as pl

from raypipe.features import early, events, keys, late
from raypipe.features.asking import compute
from raypipe.features.plan import GroupPlan
from raypipe.features.states import EXACT_FOR, entity_blocks, group_states, packed, trimmed
from raypipe.spec import hours, micros, seconds
from raypipe.stats import kernel, stored
from raypipe.stats.arrays import Ints, Values
from raypipe.stats.blocks import FOREVER, NEVER, Block, Shared
from raypipe.stats.tracks import Answer, Track, together

#: More events than these are worked on in spans, of half as many at most: in memory they take several forms.
AT_ONCE = 10_000_000
#: Events are counted by the hour; an hour that has too many of them by the second, and so on.
STEPS = (micros(hours(1)), micros(seconds(1)), 1)


def answer(plan: GroupPlan, found: pl.LazyFrame, asked: pl.DataFrame, times: Ints) -> list[Answer]:
    """What the kernel says of some events to some questions; many events are read once for each span.

    Args:
        plan: the compiled group.
        found: its events, as `events.events` gives them, in any order.
        asked: the questions' keys.
        times: when they are asked; microseconds UTC.
    """
    found = found if len(times) else found.head(0)
    if _many(found) <= AT_ONCE:
        return late.answer(plan, found.collect(), asked, times)
    history = _History(plan, found, asked)
    numbers = events.numbers(asked, history.known)
    answers = []
    for begin, end in spans(found, AT_ONCE // 2):
        history.forget(begin)
        history.add(begin, end)
        if len(here := np.flatnonzero((times >= begin) & (times < end))):
            answers.append((here, history.answer(numbers[here], times[here])))
    return [together([(here, made[i]) for here, made in answers]) for i in range(len(plan.features))]


def states(number: int, plan: GroupPlan, found: pl.LazyFrame, as_of: int) -> Iterator[tuple[bytes, bytes]]:
    """What `group_states` gives; many events are read once for each span."""
    if _many(found) <= AT_ONCE:
        yield from group_states(number, plan, found.collect(), as_of)
        return
    oldest = as_of - EXACT_FOR
    history = _History(plan, found, found.select(pl.col("^k[0-9]+$")).head(0).collect())
    for begin, end in spans(found, AT_ONCE // 2):
        history.forget(min(begin, oldest))
        history.add(begin, end)
    yield from packed(number, plan, history.known, history.blocks, oldest)


def spans(found: pl.LazyFrame, limit: int) -> list[tuple[int, int]]:
    """Spans of time one after another, from the beginning of time to its end, each of so many events at most.

    Where a span ends depends on what came before alone. What happens at the same moment is never cut apart, be it more.

    Args:
        found: events.
        limit: how many.

    Returns:
        When each begins (included) and ends (not included); microseconds UTC.
    """
    begins, many = [NEVER], 0
    for moment, more in _counts(found, limit, STEPS):
        if many and many + more > limit:
            begins.append(moment)
            many = 0
        many += more
    return list(pairwise([*begins, FOREVER]))


def _counts(found: pl.LazyFrame, limit: int, steps: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """How many events there are from some times on, up to the next of these."""
    step, *finer = steps
    each = found.group_by(pl.col(events.TIME) // step * step).len().sort(events.TIME)
    for begin, many in each.collect(engine="streaming").iter_rows():
        if many > limit and finer:
            yield from _counts(_within(found, begin, begin + step), limit, tuple(finer))
        else:
            yield begin, many


class _History:
    """What is in memory of a history: all that the next question can see.

    Args:
        plan: the compiled group.
        found: all events.
        asked: the questions' keys, or none.

    Attributes:
        known: the keys that have events, in order.
        blocks: what there is of their events so far.
    """

    def __init__(self, plan: GroupPlan, found: pl.LazyFrame, asked: pl.DataFrame) -> None:
        self._plan, self._found = plan, found
        known = found.select(asked.columns).unique().collect(engine="streaming")
        keys.require_alike(known, asked, plan.group.where)
        self.known = known.sort(known.columns)
        self.blocks: list[Block] = []

    def forget(self, asked: int) -> None:
        """Cut off what no question at this time or later can see."""
        self.blocks = trimmed(self._plan, self.blocks, asked) if self.blocks else []

    def add(self, begin: int, end: int) -> None:
        """Take in the events of a span, which is later than all before."""
        new, shared = self._blocks(begin, end), Shared()
        # One at a time: what was there of a track goes as soon as what is merged of it takes its place.
        for i, old in enumerate(self.blocks):
            self.blocks[i] = kernel.merge(old, new[i], shared)
        self.blocks = self.blocks or new

    def answer(self, numbers: Ints, times: Ints) -> list[Answer]:
        """Questions about some keys that can see nothing later, and nothing that was cut off."""
        plan = self._plan
        if plan.late:
            return late.as_then(plan, early.tracks_of(plan, self.blocks), numbers, times)
        tracks = [stored.track(shape, one, _texts(one)) for shape, one in zip(plan.tracks, self.blocks, strict=True)]
        return compute(plan, tracks, numbers, times)

    def _blocks(self, begin: int, end: int) -> list[Block]:
        return entity_blocks(self._plan, self._tracks(begin, end), np.arange(self.known.height))

    def _tracks(self, begin: int, end: int) -> list[Track]:
        rows = _within(self._found, begin, end).collect(engine="streaming")
        return events.tracks(self._plan, events.coded(rows, self.known), self.known.height)


def _texts(block: Block) -> Values | None:
    return None if block.texts is None else block.texts.to_numpy(zero_copy_only=False)


def _within(found: pl.LazyFrame, begin: int, end: int) -> pl.LazyFrame:
    return found.filter(pl.col(events.TIME).is_between(begin, end, closed="left"))


def _many(found: pl.LazyFrame) -> int:
    return int(found.select(pl.len()).collect().item())
