"""Policies against history, tick by tick: requests, late labels, drift, decisions, trainings, promotions.

The clock is simulated, the rest is what runs in production: the monitor, the join of labels, the policy's decision and
the challenge. The same inputs give the same result to the last digit; what a training takes is reckoned from its rows.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from msgspec import structs

from raypipe.clock import ManualClock, iso
from raypipe.contracts.decisions import Decision, Outcome, Training
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Record
from raypipe.errors import SettingsError, TrainingError
from raypipe.flows.measure import Measure
from raypipe.flows.replay.models import Learned, Models
from raypipe.flows.replay.past import Past
from raypipe.flows.replay.service import DAY, HELD_OUT, Service, held_out, watching
from raypipe.ledger import Ledger
from raypipe.retraining.challenge import LEAST, better_alone, comparable, judge
from raypipe.retraining.decide import decide, looked_after
from raypipe.spec import Pipeline
from raypipe.spec.retrain import Retrain
from raypipe.training.recipe import Recipe

#: What a training is reckoned to take: seconds a row, on one core.
SECONDS_A_ROW = 5e-5
_WEEK = 7

Floats: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]


class Trained(Record, frozen=True, kw_only=True):
    """A training of a replay: on which day, whether the challenger took over, and the time it is reckoned to take."""

    day: str
    won: bool
    seconds: float


class Replayed(Record, frozen=True, kw_only=True):
    """What became of one policy.

    Attributes:
        policy: its name.
        rows: predictions that were made, and have a label.
        loss: their mean loss, each by the model that was in service: log loss, of numbers as they are measured.
        weekly: start of each week, and its mean loss.
        trainings: how many challengers were trained,
        won: and how many of them took over.
        seconds: reckoned training time.
        alarms: alarms that were raised.
        approved: trainings that a person would have been asked for.
        recovery_days: from the day with which errors rose, as labels showed later, until another model was in service,
            on average; where none came, until the end. None: they never showed it.
        decisions: those that were more than ``nothing``, in words.
        diagnosis: of the first drift that led to a training.
        trained: each training.
        raised: days with alarms, and how many were raised on each.
    """

    policy: str
    rows: int
    loss: float
    weekly: tuple[tuple[str, float], ...]
    trainings: int
    won: int
    seconds: float
    alarms: int
    approved: int
    recovery_days: float | None
    decisions: tuple[str, ...]
    diagnosis: str = ""
    trained: tuple[Trained, ...] = ()
    raised: tuple[tuple[str, int], ...] = ()


def replay(
    pipeline: Pipeline,
    past: Past,
    recipe: Recipe,
    policies: Sequence[Retrain],
    start: int,
    end: int,
    ledger: Ledger,
    clock: ManualClock,
    progress: Progress,
    tick: int = DAY,
) -> list[Replayed]:
    """Live through a stretch of history once for each policy.

    Args:
        pipeline: what is asked.
        past: everything that was asked until ``end``.
        recipe: what every model is made by.
        policies: each has a ledger of its own decisions, told apart by their names.
        start: the first model is trained on what was known then; microseconds UTC.
        end: when the replay is over.
        ledger: takes every decision, stamped with the simulated time.
        clock: of the ledger; it is moved.
        progress: is told of each tick.
        tick: microseconds between two looks.

    Raises:
        SettingsError: there is not history enough before ``start``, or two policies have one name.
        TrainingError: a model cannot be fitted.
    """
    names = [policy.name for policy in policies]
    if len(set(names)) < len(names):
        raise SettingsError(f"two policies are called the same: {', '.join(names)}", where="--policy")
    if past.before(start - HELD_OUT) < 1_000:
        what = f"fewer than 1,000 labels were known 14 days before {iso(start)}"
        raise SettingsError(what, where="--from", cure="Give a later date")
    models, results = Models(pipeline, past, recipe), []
    for policy in policies:
        with progress.step(f"policy {policy.name}", (end - start) // tick) as step:
            clock.advance(start - clock.now())
            life = _Life(pipeline, models, policy, start, tick, ledger)
            while clock.now() + tick <= end:
                clock.advance(tick)
                life.tick(clock.now())
                step.advance(1, f"{_day(clock.now())}  {len(life.history)} trainings")
            results.append(life.result(start, end))
    return results


class _Life:
    """One policy's history."""

    def __init__(
        self, pipeline: Pipeline, models: Models, policy: Retrain, start: int, tick: int, ledger: Ledger
    ) -> None:
        self._name, self._models, self._policy, self._ledger = pipeline.name, models, policy, ledger
        self._plan = watching(tick)
        self._looked, self._start = start, start
        self.history: list[Training] = []
        self._wrong_since: int | None = None
        self._recovery: list[float] = []
        self._said: list[str] = []
        self._raised: list[tuple[str, int]] = []
        self._approved, self._diagnosis = 0, ""
        first, (until, judged) = Learned(start), held_out(models.past, 0, start)
        rehearsal = Learned(until)
        models.prepare(rehearsal, first)
        self._in_service: list[tuple[int, Learned]] = [(start, first)]
        self._service = Service(self._name, models, 1, first, rehearsal, judged, start, self._plan)

    def tick(self, now: int) -> None:
        """Serve, watch, decide, and do what was decided."""
        drift, performance = self._service.live(now)
        if drift is not None and drift.raised:
            self._raised.append((_day(now), len(drift.raised)))
        facts = self._service.situation(now, self._looked, drift, performance)
        decision = decide(self._policy, facts, self.history)
        self._looked = looked_after(decision)
        # Nobody can be asked about the past: what a person would have been asked for is approved at once.
        self._approved += decision.action == "ask"
        trains = decision.action in ("ask", "train")
        if trains and drift is not None and drift.alarms:
            decision = structs.replace(decision, diagnosis=self._service.diagnosis(drift, now))
            self._diagnosis = self._diagnosis or decision.diagnosis
        self._write_down(decision)
        if performance.alarm and self._wrong_since is None:
            self._wrong_since = now if performance.onset is None else performance.onset
        if trains:
            self._train(now, decision.onset)

    def _write_down(self, decision: Decision) -> None:
        self._ledger.append(decision.key, f"decision.{decision.action}", self._name, decision.to_json())
        if decision.action in ("train", "ask"):
            self._said.append(f"{_day(decision.situation.at)} {decision.why}")

    def _train(self, now: int, onset: int | None) -> None:
        models, champion = self._models, self._service.learned
        until, judged = held_out(models.past, champion.until, now, onset)
        rehearsals = [Learned(until, since) for since in self._beginnings(until, onset)]
        # Mostly it is this one that takes over: fitted beside the rehearsal, it has the other core.
        likely = Learned(now, champion.since)
        try:
            models.prepare(*rehearsals, likely)
        except TrainingError:
            # What came since a change may be too alike to learn from: not a drop of rain in it.
            rehearsals = rehearsals[:1]
            models.prepare(*rehearsals, likely)
        old, *new = comparable(models.past.target, *(self._lost(one, judged) for one in (champion, *rehearsals)))
        # Who learned from everything stands first; whoever would forget must win against that one as well.
        anew = better_alone(new[0], new[-1]) if len(new) > 1 else None
        place = len(new) - 1 if anew else 0
        rehearsal, verdict = rehearsals[place], judge(old, new[place])
        challenger = Learned(now, rehearsal.since)
        models.prepare(challenger)
        won = verdict.won or not self._policy.challenge
        fitted = [challenger, *(rehearsals if self._policy.challenge or len(rehearsals) > 1 else ())]
        spent = SECONDS_A_ROW * sum(rows.stop - rows.start for rows in map(models.rows, fitted))
        outcome: Outcome = "won" if won else "lost"
        self.history.append(Training(at=now, seconds=spent, outcome=outcome, onset=onset, anew=anew))
        key = f"training:{self._name}:{self._policy.name}:{now}"
        self._ledger.append(key, "training", self._name, self.history[-1].to_json())
        self._said.append(
            f"{_day(now)} The challenger {'takes over' if won else 'loses'}: it spares {verdict.gain:.4f} a row "
            f"(at least {verdict.low:.4f}) on {verdict.rows:,} rows."
        )
        if not won:
            return
        if self._wrong_since is not None:
            self._recovery.append((now - self._wrong_since) / DAY)
            self._wrong_since = None
        self._in_service.append((now, challenger))
        version = self._service.version + 1
        self._service = Service(self._name, models, version, challenger, rehearsal, judged, now, self._plan)

    def _beginnings(self, until: int, onset: int | None) -> list[int]:
        """Since when a challenger may learn: since the champion did, and where that is enough since the change."""
        before = self._service.learned.since
        if onset is None or onset <= before:
            return [before]
        newer = self._models.rows(Learned(until, onset))
        return [before, onset] if newer.stop - newer.start >= LEAST else [before]

    def _lost(self, learned: Learned, rows: slice) -> Floats:
        said = self._models.answers(learned, rows)
        return Measure(self._models.past.target).losses(said.score, said.truth)

    def result(self, start: int, end: int) -> Replayed:
        """Everything that was answered, by who answered it."""
        losses, times = [], []
        past = self._models.past
        for (since, learned), (until, _) in pairwise([*self._in_service, (end, Learned(end))]):
            rows = past.asked(since, until)
            losses.append(self._lost(learned, rows))
            times.append(past.at[rows])
        recovery = [*self._recovery, *([] if self._wrong_since is None else [(end - self._wrong_since) / DAY])]
        every, at = np.concatenate(losses), np.concatenate(times)
        weeks = (at - start) // (_WEEK * DAY)
        return Replayed(
            policy=self._policy.name,
            rows=len(every),
            loss=float(every.mean()),
            weekly=tuple(
                (_day(start + int(week) * _WEEK * DAY), float(every[weeks == week].mean())) for week in np.unique(weeks)
            ),
            trainings=len(self.history),
            won=len(self._in_service) - 1,
            seconds=sum(training.seconds for training in self.history),
            alarms=sum(count for _, count in self._raised),
            approved=self._approved,
            recovery_days=float(np.mean(recovery)) if recovery else None,
            decisions=tuple(self._said),
            diagnosis=self._diagnosis,
            trained=tuple(
                Trained(day=_day(one.at), won=one.outcome == "won", seconds=one.seconds) for one in self.history
            ),
            raised=tuple(self._raised),
        )


def _day(moment: int) -> str:
    return iso(moment)[:10]
