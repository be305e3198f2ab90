"""One model in service during a replay: it is watched and judged as in production, by the same code."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import polars as pl
from msgspec import structs

from raypipe.contracts.bins import Reference
from raypipe.contracts.decisions import Situation
from raypipe.contracts.judged import Judged, JudgedNumbers
from raypipe.contracts.signature import Signature
from raypipe.contracts.watched import Watched
from raypipe.contracts.watching import DriftReport, PerformanceReport
from raypipe.flows.measure import Measure
from raypipe.flows.replay.answers import Answers
from raypipe.flows.replay.models import Learned
from raypipe.flows.replay.past import Past
from raypipe.flows.watching.facts import situation
from raypipe.flows.watching.outcome import outcome
from raypipe.monitoring import Monitor, Plan
from raypipe.monitoring.diagnosis import Losses, Sides, broken, diagnose
from raypipe.monitoring.sums import Memory
from raypipe.retraining import challenge
from raypipe.spec import Pipeline, computed, of_clock
from raypipe.training.recipe import importance
from raypipe.training.trainer import Matrix, Scores

DAY = 86_400_000_000
#: A model is judged on the newest rows of so many days that neither it nor the one before has learned from.
HELD_OUT = challenge.NEWEST
#: Segments are told of for text columns of a request with at most so many values.
_VALUES = 40
#: A move by less than this share is no alarm in a replay.
MATERIAL = 0.1
#: Days between two false alarms.
_BUDGET = 90


def watching(tick: int = DAY) -> Plan:
    """How a replay watches: by ticks that time alone ends, with the budget of a quarter, for moves that are large.

    Production looks by the hour, at moves of 0.03. Half a year would be 4,400 looks at each policy, and what a policy
    decides on is what lasts for days: a replay looks by the day, when all hours have been there.

    Args:
        tick: microseconds between two looks.
    """
    return Plan(budget=_BUDGET * DAY / tick, material=MATERIAL, rows=None, span=tick)


def held_out(past: Past, since: int, now: int, onset: int | None = None) -> tuple[int, slice]:
    """Up to which moment a challenger's rehearsal may learn, and the rows that it and the champion are judged on.

    Args:
        past: what was asked.
        since: up to when the champion has learned.
        now: what is settled by now is known.
        onset: when the world changed, if it did.
    """
    # It is known of a row when its label has settled.
    seen = None if onset is None else onset + past.settles
    until = challenge.held_out(since, now, seen)
    return until, slice(past.before(until), past.before(now))


class Model(Protocol):
    """A model that answers encoded rows."""

    @property
    def signature(self) -> Signature:
        """How rows are encoded."""
        ...

    def score(self, x: Matrix) -> Scores:
        """Its scores, (rows,), or of classes (rows, classes)."""
        ...


class Asked(Protocol):
    """Models by what they have learned from, and what they say of the past."""

    pipeline: Pipeline
    past: Past

    def of(self, learned: Learned) -> Model:
        """The model that has learned from it."""
        ...

    def answers(self, learned: Learned, rows: slice) -> Answers:
        """What it answers."""
        ...


class Service:
    """A version that answers, with its monitor and its performance.

    Args:
        name: of the pipeline.
        models: makes and asks models.
        version: its number.
        learned: what it has learned from.
        rehearsal: what the model had that was judged in its place,
        judged: on these rows, which it had not learned from.
        now: since when it is in service.
        plan: how it is watched.
    """

    def __init__(
        self,
        name: str,
        models: Asked,
        version: int,
        learned: Learned,
        rehearsal: Learned,
        judged: slice,
        now: int,
        plan: Plan,
    ) -> None:
        self.models, self.past, self.version, self.learned, self.since = models, models.past, version, learned, now
        self._rehearsal, self._judged, self._now = rehearsal, judged, now
        model, frame = models.of(rehearsal), self.past.frame[judged]
        scores = model.score(encoded := model.signature.encode(frame))
        reference = Reference.of(frame, model.signature, scores, self.past.target.classes)
        self.watched = Watched.of(reference, of_clock(models.pipeline))
        weights = importance(model, encoded)
        # Of the two weeks that a rehearsal is judged on, in ticks of a day, no season can be known.
        self.monitor = Monitor(name, version, self.watched, plan, importance=weights, at=now)
        said = models.answers(rehearsal, judged)
        self.judged, self._memory = self._judge(said), Memory()
        # Outcomes are taken together by the day however often one looks, as in production.
        self._span = max(DAY, plan.span)

    def _judge(self, said: Answers) -> Judged | JudgedNumbers:
        target = self.past.target
        if target.numeric:
            return JudgedNumbers.of(said.truth, said.score, target.quantile)
        return Judged.of(said.truth, said.score, threshold=0.0 if target.classes else 0.5)

    def live(self, now: int) -> tuple[DriftReport | None, PerformanceReport]:
        """What was asked since the last call is answered and counted, what has settled is joined."""
        rows = self.past.asked(self._now, now)
        if rows.stop > rows.start:
            self._answer(rows)
        self._now = now
        report = self._tick(now) if self.monitor.ready(now) else None
        found, self._memory = outcome(
            self,
            self.judged,
            self._memory,
            span=self._span,
            settles=self.past.settles,
            quiet=self.monitor.plan.budget * self.monitor.plan.span,
            at=now,
        )
        return report, found

    def rows(self, since: int, _last: int, _again: Callable[[int], bool]) -> pl.DataFrame:
        """What it answered from a moment on, as ``at``, ``score`` and ``truth`` (NaN: not settled yet), by time."""
        # What was asked before belongs to the version before.
        rows, past = self.past.asked(max(since, self.since), self._now), self.past
        said = self.models.answers(self.learned, rows)
        truth = np.where(past.settled[rows] <= self._now, said.truth, np.nan)
        return pl.DataFrame({"at": past.at[rows], "score": said.score, "truth": truth})

    def usual(self, since: int, _until: int) -> float:
        """How many answers a span has, from a moment to now."""
        rows = self.past.asked(max(since, self.since), self._now)
        at = self.past.at[rows]
        return len(at) / max(len(np.unique(at // self._span)), 1)

    def _answer(self, rows: slice) -> None:
        counted = self.models.answers(self.learned, rows).counted
        # Categories are counted by the codes of the reference, whoever answers.
        signature, frame = self.models.of(self._rehearsal).signature, self.past.frame[rows]
        counts = self.watched.count(signature, frame, counted)
        self.monitor.add(counts)

    def situation(self, now: int, looked: int, drift: DriftReport | None, performance: PerformanceReport) -> Situation:
        """What a policy may decide on."""
        name, since = self.monitor.pipeline, self.learned.until
        return situation(name, self.version, since, now, performance, looked, drift)

    def diagnosis(self, drift: DriftReport, now: int, days: int = 7) -> str:
        """What is behind the drift, from the newest rows."""
        settled = slice(
            max(self.past.before(now - days * DAY), self.past.asked(0, self.since).stop), self.past.before(now)
        )
        losses = self._losses(settled) if settled.stop - settled.start > 500 else None
        return diagnose(drift, self._sides(drift), losses).text

    def _tick(self, now: int) -> DriftReport:
        report = self.monitor.close(now)
        # As in production: values in another unit are no more to be learned from than gaps.
        return structs.replace(report, breaks=broken(report, self._sides(report))) if report.alarms else report

    def _sides(self, report: DriftReport) -> Sides | None:
        """Rows that it was judged on, and the newest ones since the drift began."""
        model, rows = self.models.of(self._rehearsal), self.past.asked(report.onset, report.at)
        names = tuple(column.name for column in model.signature.columns)
        before, after = (model.signature.encode(self.past.frame[part].tail(3_000)) for part in (self._judged, rows))
        return Sides(names, before, after, model.score, computed(self.models.pipeline)) if len(after) else None

    def _losses(self, settled: slice) -> Losses:
        def lost(learned: Learned, rows: slice) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            said = self.models.answers(learned, rows)
            return Measure(self.past.target).losses(said.score, said.truth)

        frame = self.past.frame
        texts = [name for name, kind in frame.schema.items() if kind == pl.String and frame[name].n_unique() <= _VALUES]
        sides = [
            {name: frame[name][part].fill_null("missing").to_list() for name in texts}
            for part in (self._judged, settled)
        ]
        return Losses(lost(self._rehearsal, self._judged), lost(self.learned, settled), *sides)
