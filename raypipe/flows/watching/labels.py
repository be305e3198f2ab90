"""What a version answered and what was told of it, out of the logs.

A correction that comes after its label was to stand for good is not shown.
"""

from collections.abc import Callable
from contextlib import suppress
from math import inf

import polars as pl
from msgspec import structs

from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
from raypipe.contracts.segment import segments
from raypipe.contracts.watching import PerformanceReport
from raypipe.flows.collect import KINDS, log_folder, logged
from raypipe.flows.measure import KEY
from raypipe.flows.platform import Platform
from raypipe.flows.tail import Tail
from raypipe.flows.watching import outcome as came_true
from raypipe.flows.watching.joined import Joined
from raypipe.flows.watching.known import Known
from raypipe.monitoring import Plan
from raypipe.monitoring.sums import Memory
from raypipe.spec import micros

#: Names a prediction in both logs.
ID = pl.concat_str("request_id", pl.lit("/"), "row").alias("id")
#: What is told of one.
TOLD = ("label", "number", "category", "outcomes")
#: Predictions of so many ticks are taken together.
TICKS = 24
#: Microseconds by which the clocks of machines may differ.
_SKEW = 60_000_000


class Told:
    """What one version answered, and what was told of it, followed from look to look: what was read stays joined.

    Args:
        platform: whose logs.
        known: the version.
        plan: how it is watched.
        at: now, microseconds UTC.

    Attributes:
        version: its number.
        new_look: set it to read what is new once more, however many ticks are closed then.
    """

    def __init__(self, platform: Platform, known: Known, plan: Plan, at: int) -> None:
        self.version, self.new_look = known.version.version, True
        self._platform, self._known = platform, known
        self._plan, self._span, self._since, self._stamp = plan, TICKS * plan.span, oldest(plan, at), at
        self._begin()

    def _begin(self) -> None:
        name, platform = self._known.version.name, self._platform
        self._joined = Joined(self._known.measure, self._span)
        self._given = Tail(platform, KINDS[0], name, (*KEY, "at", "version", "answered", "score", "category"))
        self._heard = Tail(platform, KINDS[1], name, (*KEY, "at", *TOLD[:3]))

    def after(self, memory: Memory, at: int) -> None:
        """What changes from now on has changed later than all that a memory has seen, and what it is done with goes."""
        self._stamp = max(at, memory.read, memory.whole) + 1
        self._since = max(oldest(self._plan, at), memory.through // self._span * self._span)

    def follow(self) -> None:
        """Read what is new, unless this look has.

        Raises:
            WorkspaceError: the logs cannot be read.
        """
        if not self.new_look:
            return
        self._joined.forget(self._since)
        try:
            if not self._take():
                self._begin()
                self._take()
        except BaseException:
            # Some of it may have been read, and not been joined.
            self._begin()
            raise
        self.new_look = False

    def _take(self) -> bool:
        """Join what is new; False: that cannot be told from what was there."""
        # Nothing is told of a prediction before it was made, but by clocks that differ.
        answers, labels = self._given.more(self._since), self._heard.more(self._since - _SKEW)
        if answers is None or labels is None:
            return False
        mine = pl.col("answered") & (pl.col("version") == self._known.version.version) & pl.col("score").is_not_null()
        key = ID.hash(), pl.col("at").cast(pl.Int64)
        given = answers.filter(mine).select(*key, "score", "category")
        self._joined.add(given, labels.select(*key, *TOLD[:3]), self._stamp)
        return True

    def rows(self, since: int, last: int, again: Callable[[int], bool]) -> pl.DataFrame:
        """What was answered from a moment on, see `outcome.Rows`.

        Raises:
            WorkspaceError: the logs cannot be read.
        """
        self.follow()
        return self._joined.rows(since, lambda start, changed, newest: max(changed, newest) > last or again(start))

    def usual(self, since: int, until: int) -> float:
        """How many answers a span has, from one moment to another."""
        return self._joined.usual(since, until)

    @property
    def heard(self) -> str:
        """Another text whenever something has been told: whoever is told writes it into a file before all else."""
        return heard(self._platform, self._known)

    def answers(self, since: int, until: int) -> int:
        """How many rows it answered from one moment on and before another.

        Raises:
            WorkspaceError: the log cannot be read.
        """
        return _answers(self._platform, self._known, since, until).filter("answered").select("at").collect().height


def outcome(told: Told, known: Known, memory: Memory, plan: Plan, at: int) -> tuple[PerformanceReport, Memory]:
    """The performance of a version by now, and what it has come to.

    Of a bundle of old how many of its answers have a label by now may be all that is known: labels settle.

    Args:
        told: the logs, from `oldest` on at least.
        known: the version.
        memory: what its outcomes had come to before.
        plan: how it is watched.
        at: now, microseconds UTC.

    Raises:
        WorkspaceError: the logs cannot be read.
    """
    judged = known.judged
    settles = micros(known.pipeline.label.settled_after) + micros(known.pipeline.ask.lead)
    span, quiet = TICKS * plan.span, plan.budget * plan.span
    told.after(memory, at)
    still = not came_true.due(memory.read, span, settles, at)
    if judged is None:
        return _counted(told, memory, at, memory.through if still else at - settles - _SKEW)
    # Asked before anything is read: what is told meanwhile is read once more.
    heard = told.heard
    if still and heard == memory.heard:
        return came_true.as_read(judged, memory, span=span, settles=settles, quiet=quiet, at=at), memory
    report, memory = came_true.outcome(told, judged, memory, span=span, settles=settles, quiet=quiet, at=at)
    return report, structs.replace(memory, heard=heard)


def _counted(told: Told, memory: Memory, at: int, until: int) -> tuple[PerformanceReport, Memory]:
    """Answers whose labels have settled, each counted once."""
    if until > memory.through:
        labels = memory.labels + told.answers(memory.through, until)
        memory = structs.replace(memory, labels=labels, through=until, read=at)
    report = PerformanceReport(
        at=at, cohorts=(), reference=None, alarm=False, detects=inf, regret=0.0, new_labels=memory.labels, unmatched=0
    )
    return report, memory


def heard(platform: Platform, known: Known) -> str:
    """The files of what was told and is not all in the lake, with their lengths."""
    lengths = []
    for path in segments(log_folder(platform.workspace) / FEEDBACK.name / known.version.name):
        with suppress(FileNotFoundError):  # it is all in the lake now
            lengths.append(f"{path.name}:{path.stat().st_size}")
    return " ".join(lengths)


def oldest(plan: Plan, at: int) -> int:
    """The start of the oldest span that is looked at: half a span would be taken for one of its own."""
    return came_true.oldest(TICKS * plan.span, at)


def predictions(platform: Platform, known: Known, since: int, *more: str, when: pl.Expr | None = None) -> pl.DataFrame:
    """What a version answered and computed since a moment, as ``id``, ``at``, ``score``, ``answered`` and ``more``.

    ``when`` leaves out more rows.

    Raises:
        WorkspaceError: the log cannot be read.
    """
    rows = _answers(platform, known, since, None)
    rows = rows if when is None else rows.filter(when)
    return rows.select(ID, "at", "score", "answered", *more).collect()


def _answers(platform: Platform, known: Known, since: int, until: int | None) -> pl.LazyFrame:
    name = known.version.name
    rows = logged(platform.lake, platform.workspace, platform.clock, PREDICTIONS, name, since=since, until=until)
    return rows.filter(pl.col("version") == known.version.version, pl.col("score").is_not_null())


def feedback(platform: Platform, known: Known, since: int) -> pl.DataFrame:
    """What was told since a moment, as ``id`` and `TOLD`; the last word on each prediction.

    Raises:
        WorkspaceError: the log cannot be read.
    """
    name = known.version.name
    rows = logged(platform.lake, platform.workspace, platform.clock, FEEDBACK, name, since=since, until=None)
    return rows.select(ID, *TOLD).collect()
