"""What came true of a version's predictions: each span of time is read until its labels have had their time.

After that its figures are kept, with its scores and labels added up, and it is not read again: what a tick reads does
not grow with what was answered before. Of spans older than those that are shown more becomes known once in a while:
they are read once a span, not at every tick. The same in production and in a replay: only the rows come from elsewhere.
"""

from typing import Protocol

import polars as pl
from msgspec import structs

from raypipe.contracts.bins import Judged
from raypipe.contracts.watching import PerformanceReport
from raypipe.monitoring import Performance
from raypipe.monitoring.sums import Memory

#: Labels are waited for over so many spans.
SPANS = 60
#: Spans that a report shows.
_SHOWN = 8
#: How many labels are usual is read from so many spans.
_USUAL = 28


class Rows(Protocol):
    """What was answered and what is known of it now."""

    def rows(self, since: int) -> pl.DataFrame:
        """What was answered from a moment on, as ``at``, ``score`` and ``truth`` (NaN: not known yet), by time."""
        ...


def outcome(
    told: Rows, judged: Judged, memory: Memory, *, span: int, settles: int, quiet: float, at: int
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

    rows = told.rows(since).filter(pl.col("at").is_between(since, at))
    budget = _labels(memory, rows, span) * quiet / span
    performance = Performance(judged, span=span, settles=settles, budget=budget, keep=SPANS + 1, memory=memory)
    performance.joined(rows["at"].to_numpy(), rows["score"].to_numpy(), rows["truth"].to_numpy())
    report = performance.report(at, SPANS + 1)
    cohorts = (*(one for one in memory.shown if one.start < since), *report.cohorts)[-_SHOWN:]
    now = structs.replace(performance.memory, shown=list(cohorts))
    if since == done:
        # Whatever began before has had its time, and was taken into account as it is.
        now = structs.replace(now, through=max(done, (at - settles) // span * span), whole=at)
    return structs.replace(report, cohorts=cohorts), now


def oldest(span: int, at: int) -> int:
    """The start of the oldest span that is looked at: half a span would be taken for one of its own."""
    return (at - SPANS * span) // span * span


def _labels(memory: Memory, rows: pl.DataFrame, span: int) -> float:
    """How many labels a span has, as those before it had; at first, how many it may have."""
    if memory.errors:
        newest = [labels for _, _, labels in memory.errors[-_USUAL:]]
        return max(sum(newest) / len(newest), 1.0)
    return max(rows.height / max((rows["at"] // span).n_unique(), 1), 1.0)
