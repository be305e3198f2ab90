"""What came true of a version's predictions: each span of time is read until its labels have had their time.

After that its figures are kept, with its scores and labels added up, and it is not read again: what a tick reads does
not grow with what was answered before. A span of which nothing is new keeps the figures that it had. Of spans older
than those that are shown more becomes known once in a while: they are looked at once a span, not at every tick. The
same in production and in a replay: only the rows come from elsewhere.

Nothing is looked at while nothing new has been told, but when a span ends or its labels have had their time, and a few
times in a span, so that the newest predictions are counted soon.
"""

from collections.abc import Callable
from typing import Protocol

import polars as pl
from msgspec import structs

from raypipe.contracts.judged import Judged, JudgedNumbers
from raypipe.contracts.watching import PerformanceReport
from raypipe.monitoring import Performance
from raypipe.monitoring.sums import Memory

#: Labels are waited for over so many spans.
SPANS = 60
#: Spans that a report shows.
_SHOWN = 8
#: How many labels are usual is read from so many spans.
_USUAL = 28
#: Where nothing is told one reads so often in a span.
_OFTEN = 4


class Rows(Protocol):
    """What was answered and what is known of it now."""

    def rows(self, since: int, last: int, again: Callable[[int], bool]) -> pl.DataFrame:
        """What was answered from a moment on, as ``at``, ``score`` and ``truth`` (NaN: not known yet), by time.

        Spans may be left out of which nothing is new since the ``last`` look, but those that are asked for ``again``,
        by their start.
        """
        ...

    def usual(self, since: int, until: int) -> float:
        """How many answers a span has, from one moment to another."""
        ...


def outcome(
    told: Rows, judged: Judged | JudgedNumbers, memory: Memory, *, span: int, settles: int, quiet: float, at: int
) -> tuple[PerformanceReport, Memory]:
    """The performance of a version by now, and what it has come to.

    Args:
        told: what was answered, from `oldest` on at least.
        judged: the rows it was judged on.
        memory: what its outcomes had come to before.
        span: predictions of so many microseconds are taken together.
        settles: microseconds after which a label that has not come is not waited for.
        quiet: microseconds between two false alarms of errors, on average, or more.
        at: now, microseconds UTC.

    Raises:
        WorkspaceError: the logs cannot be read.
    """
    done = max(oldest(span, at), memory.through // span * span)
    since = done if at - memory.whole >= span else max(done, at // span * span - _SHOWN * span)

    last = memory.whole if since == done else memory.read

    def again(start: int) -> bool:
        """It ends, or its labels have had their time: labels that were there already count now."""
        return any(last < start + span + after <= at for after in (0, settles))

    rows = told.rows(since, last, again).filter(pl.col("at").is_between(since, at))
    usual = told.usual(since, at)
    performance = _performance(judged, memory, span, settles, _labels(memory, usual) * quiet / span)
    performance.joined(rows["at"].to_numpy(), rows["score"].to_numpy(), rows["truth"].to_numpy())
    report = performance.report(at, SPANS + 1)
    shown = {one.start: one for one in (*memory.shown, *report.cohorts)}
    cohorts = tuple(shown[start] for start in sorted(shown)[-_SHOWN:])
    now = structs.replace(performance.memory, shown=list(cohorts), usual=usual, read=at)
    if since == done:
        # Whatever began before has had its time, and was taken into account as it is.
        now = structs.replace(now, through=max(done, (at - settles) // span * span), whole=at)
    return structs.replace(report, cohorts=cohorts), now


def as_read(
    judged: Judged | JudgedNumbers, memory: Memory, *, span: int, settles: int, quiet: float, at: int
) -> PerformanceReport:
    """As `outcome`, as it was when it was read last: nothing is read."""
    report = _performance(judged, memory, span, settles, _labels(memory, memory.usual) * quiet / span).report(at)
    return structs.replace(report, cohorts=tuple(memory.shown))


def due(read: int, span: int, settles: int, at: int) -> bool:
    """Whether one has to read though nothing new has been told since ``read``: spans end, and labels settle."""
    ended = (read // span, (read - settles) // span) != (at // span, (at - settles) // span)
    return ended or at - read >= span // _OFTEN


def _performance(judged: Judged | JudgedNumbers, memory: Memory, span: int, settles: int, budget: float) -> Performance:
    return Performance(judged, span=span, settles=settles, budget=budget, keep=SPANS + 1, memory=memory)


def oldest(span: int, at: int) -> int:
    """The start of the oldest span that is looked at: half a span would be taken for one of its own."""
    return (at - SPANS * span) // span * span


def _labels(memory: Memory, answers: float) -> float:
    """How many labels a span has, as those before it had; at first, how many it may have."""
    newest = [labels for _, _, labels in memory.errors[-_USUAL:]]
    return max(sum(newest) / len(newest) if newest else answers, 1.0)
