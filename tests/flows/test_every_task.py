"""Models of numbers and of classes are watched, explained, compared and retrained as those of truths are."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts.decisions import Decision
from raypipe.contracts.judged import JudgedNumbers
from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
from raypipe.contracts.target import Target
from raypipe.flows import Platform
from raypipe.flows.collect import logged
from raypipe.flows.effect import Release, effects
from raypipe.flows.experiment import experiment
from raypipe.flows.figures import outcomes
from raypipe.flows.measure import Measure
from raypipe.flows.watch import watch
from raypipe.flows.watching.actor import Round
from raypipe.flows.watching.telling import RAISED
from raypipe.monitoring import Plan
from raypipe.settings import Settings
from raypipe.spec.expressions import Expression
from raypipe.spec.retrain import Errors, EstimatedLoss, Regret, Retrain
from raypipe.spec.values import FrozenMap
from tests.flows.test_experiment import ARMS
from tests.flows.test_experiment import logs as of_truths
from tests.flows.watched import MINUTE, Written, asked, classes_of, make_champion, opened, scored, true_of

AT = 1_372_640_400_000_000
TARGETS = {
    "regression": Target(task="regression"),
    "quantile": Target(task="quantile", quantile=0.8),
    "multiclass": Target(task="multiclass", classes=("late", "early")),
}
TASKS = pytest.mark.parametrize("task", TARGETS)


class Watched:
    """A champion of a task that answers and hears what came true by the minute, and a watcher that looks after each."""

    def __init__(self, platform: Platform, clock: ManualClock) -> None:
        champion = platform.registry.champion("rides")
        assert champion is not None
        self.platform, self.clock, self.rng, self.champion = platform, clock, np.random.default_rng(1), champion
        self.replica = Written(platform.workspace, champion, AT)
        self.round = Round(platform, "rides")
        self.frames: list[pl.DataFrame] = []

    def minute(self, *, turned: bool = False) -> None:
        """Whoever is turned has another truth, in one zone."""
        self.clock.advance(MINUTE)
        frame, at = asked(self.rng, 150), self.clock.now()
        scores, target = scored(frame), self.replica.target
        other = scores + 1.5 if target.numeric else 1 - scores
        truth = true_of(target, self.rng, np.where(turned & (frame["zone"] == "b").to_numpy(), other, scores))
        self.frames.append(frame.with_columns(score=scores, truth=pl.Series(truth)))
        self.replica.log(frame, at - MINUTE // 2, truth)
        self.replica.count(frame, at, failed=0)
        self.round.go()

    def told(self) -> list[dict[str, str]]:
        return [json.loads(one.body) for one in self.platform.ledger.entries(RAISED, "rides")]

    def decided(self) -> list[Decision]:
        entries = [one for one in self.platform.ledger.entries(subject="rides") if one.kind.startswith("decision.")]
        return [Decision.from_json(one.body) for one in entries if one.kind != "decision.done"]

    def logs(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        where = self.platform.lake, self.platform.workspace, self.clock
        found = (logged(*where, kind, "rides", since=None, until=None).collect() for kind in (PREDICTIONS, FEEDBACK))
        predictions, feedback = found
        return predictions, feedback


@pytest.fixture
def made(tmp_path: Path):
    @contextmanager
    def make(target: Target) -> Iterator[Watched]:
        settings, clock = Settings(workspace=tmp_path / "home", tick_seconds=60, tick_rows=100), ManualClock(AT)
        policy = Retrain((Errors(), Regret(1e9), EstimatedLoss(1e9)), new_rows=0)
        make_champion(settings, tmp_path / "v1", clock, policy=policy, target=target)
        with opened(settings, clock) as platform:
            watched = Watched(platform, clock)
            try:
                yield watched
            finally:
                watched.round.close()

    return make


def lost(target: Target, score: float, truth: float | str) -> float:
    """By hand; of classes how sure it was of the class that it gave, in log loss."""
    if isinstance(truth, str):
        right = truth == ("late" if score >= 0.5 else "early")
        sure = max(score, 1 - score)
        return float(-np.log(sure if right else 1 - sure))
    gap = truth - score
    return gap * gap if target.quantile is None else (0.8 * gap if gap > 0 else -0.2 * gap)


@TASKS
def test_errors_that_rise_are_alarmed_explained_and_trained_for(made, task):
    with made(TARGETS[task]) as watched:
        for _ in range(36):
            watched.minute()
        assert {one.action for one in watched.decided()} == {"nothing"}
        assert not watched.told()
        for _ in range(60):
            watched.minute(turned=True)
            if watched.decided()[-1].action == "train":
                break
        last = watched.decided()[-1]
        assert last.action == "train"
        assert last.situation.errors
        assert last.situation.error_rise
        assert last.situation.error_rise > 0.2
        assert last.situation.regret is not None
        assert last.situation.estimated_rise is not None
        [alarm, *_] = watched.told()
        assert alarm["title"] == "rides/1: the share of errors has risen"
        assert "zone b accounts for +" in alarm["text"]
        assert "zone a accounts" not in alarm["text"]


@TASKS
def test_what_became_of_answers_is_told_in_the_models_own_measure(made, task):
    target = TARGETS[task]
    with made(target) as watched:
        for _ in range(8):
            watched.minute()
        predictions, feedback = watched.logs()
        found = watch(watched.champion, predictions, feedback, Plan(rows=300, least=100), "zone")
    everything = pl.concat(watched.frames)
    who = {one.who: one for one in found.outcomes}
    assert set(who) == {"version 1, champion", "version 1, champion, zone=a", "version 1, champion, zone=b"}
    measure = Measure.of(watched.champion)
    limit = None if measure.numbers is None else measure.numbers.limit
    for one, frame in (("", everything), (", zone=b", everything.filter(zone="b"))):
        told = who["version 1, champion" + one]
        losses = [lost(target, *row) for row in frame.select("score", "truth").rows()]
        assert (told.labelled, told.predictions) == (frame.height, frame.height)
        assert told.loss == pytest.approx(np.mean(losses), rel=1e-5)
        assert told.error
        wrong = (
            (classes_of(frame["score"].to_numpy()) != frame["truth"].to_numpy())
            if limit is None
            else (np.array(losses) > limit)
        )
        assert told.error[0] == pytest.approx(float(np.mean(wrong)))
    assert len(found.ticks) == 4
    assert not any(tick.alarms for tick in found.ticks)


@TASKS
def test_an_authors_figure_reads_answer_and_truth_as_they_were_told(made, task):
    target = TARGETS[task]
    figure = pl.col("truth") == pl.col("label") if target.classes else (pl.col("truth") - pl.col("score")).abs()
    with made(target) as watched:
        watched.minute()
        known = watched.round._watcher.known(1)
        object.__setattr__(known.pipeline, "value", FrozenMap({"mine": Expression.of(figure)}))
        [whole] = outcomes(*watched.logs(), known.pipeline, known.measure)
    [frame] = watched.frames
    rows = frame.select("score", "truth").rows()
    by_hand = [
        float(truth == ("late" if score >= 0.5 else "early")) if target.classes else abs(truth - score)
        for score, truth in rows
    ]
    assert whole.value["mine"][0] == pytest.approx(np.mean(by_hand), rel=1e-5)


def shifted(target: Target, worse: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """3,000 units whose truth is a number or a class; the challenger is off by more, or right less often."""
    predictions, _ = of_truths()
    rng = np.random.default_rng(2)
    off = predictions["arm"].str.starts_with("challenger").cast(pl.Float64) * worse
    if target.classes:
        right = rng.random(predictions.height) < 0.8 - off.to_numpy()
        said = pl.Series("category", ["late"] * predictions.height)
        return predictions.with_columns(said), told(predictions, category=np.where(right, "late", "early"))
    truth = 40 + rng.normal(0, 5, predictions.height)
    answers = pl.Series("score", truth + rng.normal(0, 5, predictions.height)) - off * 10
    return predictions.with_columns(answers, label=None), told(predictions, number=truth)


def told(predictions: pl.DataFrame, **truth: np.ndarray) -> pl.DataFrame:
    rows = predictions.select("request_id", "row", "at").with_columns(
        label=None, outcomes=None, number=None, category=None
    )
    return rows.with_columns(**{name: pl.Series(values) for name, values in truth.items()}).cast(dict(FEEDBACK.columns))


@TASKS
@pytest.mark.parametrize(("worse", "fault"), [(0.0, False), (0.4, True)])
def test_challengers_are_compared_by_what_the_task_loses(task, worse, fault):
    target = TARGETS[task]
    rng = np.random.default_rng(3)
    numbers = JudgedNumbers.of(rng.normal(0, 5, 5_000), np.zeros(5_000), target.quantile) if target.numeric else None
    predictions, feedback = shifted(target, worse)
    told = experiment(predictions, feedback, ARMS, "s", measure=Measure(target, numbers))
    champion, challenger = told.of("champion"), told.of("challenger/2")
    assert champion.labelled + challenger.labelled == 3_000
    assert champion.loss == pytest.approx(0.2 if target.classes else 1.0, abs=0.1)
    assert bool(challenger.faults) is fault
    found = list(
        effects(
            predictions, feedback, watchable(), Release(version=2, at=-1, share=0.5), 10**6, Measure(target, numbers)
        )
    )
    assert [one.figure for one in found] == [Measure(target).name]
    assert (found[0].low > 0) is fault


def watchable():
    from types import SimpleNamespace

    return SimpleNamespace(value={})


def test_numbers_whose_usual_error_nobody_knows_are_not_compared():
    """A bundle of old does not say it: that none is worse must not be read out of it."""
    target = TARGETS["regression"]
    told = experiment(*shifted(target, 0.4), ARMS, "s", measure=Measure(target, None))
    assert [one.loss for one in told.arms] == [None, None]
    assert not told.of("challenger/2").faults
