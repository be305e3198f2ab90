"""What came true of a version's predictions, out of the logs: read anew each time, taken into account once."""

import polars as pl

from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
from raypipe.contracts.watching import PerformanceReport
from raypipe.flows.collect import logged
from raypipe.flows.platform import Platform
from raypipe.flows.watching.known import Known
from raypipe.monitoring import Performance, Plan
from raypipe.monitoring.performance import Memory
from raypipe.spec import micros

#: Names a prediction in both logs.
ID = pl.concat_str("request_id", pl.lit("/"), "row").alias("id")
#: Predictions of so many ticks are taken together, and labels waited for over so many such spans.
TICKS, SPANS = 24, 60


class Told:
    """The logs of one version as they are now: read once, however many ticks ask.

    Args:
        platform: whose logs.
        known: the version.
        since: what was answered before is left out; microseconds UTC.

    Raises:
        WorkspaceError: the logs cannot be read.
    """

    def __init__(self, platform: Platform, known: Known, since: int) -> None:
        self.rows = predictions(platform, known, since).filter("answered").with_columns(pl.col("at").cast(pl.Int64))
        labels = feedback(platform, known, since).drop_nulls("truth").select("id", pl.col("truth").cast(pl.Float64))
        self.labels = labels.join(self.rows.select("id", "at"), on="id")


def outcome(told: Told, known: Known, memory: Memory, plan: Plan, at: int) -> tuple[PerformanceReport | None, Memory]:
    """The performance of a version by now, and what it has come to; None where nothing is true or false.

    Args:
        told: the logs, from `oldest` on at least.
        known: the version.
        memory: what its outcomes had come to before.
        plan: how it is watched.
        at: now, microseconds UTC.
    """
    judged = None if known.reference is None else known.reference.judged
    if judged is None:
        return None, memory
    settles = micros(known.pipeline.label.settled_after) + micros(known.pipeline.ask.lead)
    performance = Performance(judged, span=TICKS * plan.span, settles=settles, keep=SPANS + 1, memory=memory)
    inside = pl.col("at").is_between(oldest(plan, at), at)
    rows, labels = told.rows.filter(inside), told.labels.filter(inside)
    performance.predicted(rows["id"].to_list(), rows["at"].to_numpy(), rows["score"].to_numpy())
    performance.labelled(labels["id"].to_list(), labels["truth"].to_numpy())
    report = performance.report(at)
    return report, performance.memory


def oldest(plan: Plan, at: int) -> int:
    """The start of the oldest span that is looked at: half a span would be taken for one of its own."""
    span = TICKS * plan.span
    return (at - SPANS * span) // span * span


def predictions(platform: Platform, known: Known, since: int, *more: str) -> pl.DataFrame:
    """What a version answered and computed since a moment, as ``id``, ``at``, ``score``, ``answered`` and ``more``.

    Raises:
        WorkspaceError: the log cannot be read.
    """
    name = known.version.name
    rows = logged(platform.lake, platform.workspace, platform.clock, PREDICTIONS, name, since=since, until=None).filter(
        pl.col("version") == known.version.version, pl.col("score").is_not_null()
    )
    return rows.select(ID, "at", "score", "answered", *more).collect()


def feedback(platform: Platform, known: Known, since: int) -> pl.DataFrame:
    """What was told since a moment, as ``id``, ``truth`` and ``outcomes``; the last word on each prediction.

    Raises:
        WorkspaceError: the log cannot be read.
    """
    name = known.version.name
    rows = logged(platform.lake, platform.workspace, platform.clock, FEEDBACK, name, since=since, until=None)
    return rows.select(ID, pl.col("label").alias("truth"), "outcomes").collect()
