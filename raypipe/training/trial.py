"""One trial, in a worker process: fit, compare with the ONNX file, measure, keep.

What waits for what: a trial holds what `Plan.holds` says while it runs and waits for nothing but its data. When
replicas or other work hold the CPUs, trials wait in the queue and hold nothing there: nothing waits in a circle.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import inf, nan
from pathlib import Path
from time import perf_counter

import numpy as np
from ray import tune

from raypipe.contracts.records import Trial
from raypipe.contracts.signature import Signature
from raypipe.contracts.target import BINARY, Target
from raypipe.errors import RaypipeError
from raypipe.failpoints import failpoint
from raypipe.spec.search import Metric, Model
from raypipe.training import limits
from raypipe.training.data import Fold, together
from raypipe.training.limits import NICE
from raypipe.training.metrics import goodness, quality
from raypipe.training.onnx_model import TOLERANCE, OnnxModel, difference
from raypipe.training.outcome import FAILED, FINISHED, PART, STOPPED, Outcome, keep, keep_scores, kept, trial_folder
from raypipe.training.room import WAITING
from raypipe.training.rows import Filed
from raypipe.training.speed import money, timed_scores
from raypipe.training.trainer import CPUS, Examples, Matrix, Params, Scores, Task, Vector, unreported
from raypipe.training.trainers import trainer
from raypipe.training.trainers.several import code_of, column_of, only

#: Rows of the tuning period that a model and its ONNX file are compared on.
COMPARED = 2_000


@dataclass(frozen=True)
class Data:
    """What every trial of a search reads, from Ray's object store.

    With a ``source`` the training period is not in it: workers read it from its files.
    """

    train: Examples
    tune: Examples
    signature: Signature
    target: Target = BINARY
    folds: tuple[Fold, ...] = ()
    source: Filed | None = None

    def steps(self) -> Iterator[tuple[Examples, Examples]]:
        """What each step learns from, and what it is judged on."""
        for fold in self.folds or (Fold(0, 0, len(self.tune.y)),):
            known = together(self.train, self.tune.rows(0, fold.known)) if fold.known else self.train
            yield known, self.tune.rows(fold.start, fold.end)


@dataclass(frozen=True)
class Plan:
    """What every trial of a search is told. ``folder`` is the search's; all nodes that run trials must see it.

    A trial that takes ``longest`` seconds is ended. ``cpu_hour`` and ``gpu_hour`` are what an hour of one core and one
    GPU costs; 0: nobody said. ``models`` say what a trial of their algorithm holds.
    """

    folder: Path
    metric: Metric
    seed: int
    longest: float = inf
    cpu_hour: float = 0.0
    models: tuple[Model, ...] = ()
    gpu_hour: float = 0.0

    def cost(self, outcome: Outcome) -> float:
        """What a trial has cost: the cores and GPUs that it and its workers held, for as long as it ran."""
        cpus, gpus = self.needs(outcome.trial.algorithm)
        held = (cpus * self.cpu_hour + gpus * self.gpu_hour) * workers(outcome.trial.params)
        return held * outcome.trial.seconds / 3_600

    def needs(self, algorithm: str) -> tuple[float, float]:
        """Cores and GPUs for a model of this algorithm."""
        return next(((m.cpus, m.gpus) for m in self.models if m.algorithm == algorithm), (CPUS, 0.0))

    def on(self, task: Task, algorithm: str) -> Task:
        """A task with what it may use, and where it may keep what it needs to go on."""
        cpus, gpus = self.needs(algorithm)
        return replace(task, cpus=cpus, gpus=gpus, scratch=self.folder / "spread")

    def holds(self, point: "Point") -> dict[str, float]:
        """What a trial holds itself.

        One that is spread holds next to nothing, so it cannot hold what its own workers wait for; they all start
        together, or none does.
        """
        if spreads(point.params):
            return {"CPU": WAITING, "GPU": 0.0}
        cpus, gpus = self.needs(point.algorithm)
        return {"CPU": cpus, "GPU": gpus}


def workers(params: Params) -> int:
    """How many workers fit a model, or the part of it that most do."""
    return max([1, *(int(value) for name, value in params.items() if name.split(".")[-1] == "workers")])


def spreads(params: Params) -> bool:
    """Whether a model, or one that it is made of, is fitted by several workers."""
    return workers(params) > 1


@dataclass(frozen=True)
class Point:
    """One trial's question.

    ``bars`` holds the goodness after a step below which the trial is not worth finishing. With ``by`` it is about the
    rows alone that have the ``value`` among its parameters in that feature.
    """

    number: int
    algorithm: str
    params: Params
    bars: Mapping[int, float]
    by: str = ""

    def task(self, task: Task) -> Task:
        """What it is to learn of all that there is."""
        if not self.by:
            return task
        column = column_of(task.signature, self.by)
        return only(task, column, code_of(task.signature, column, str(self.params["value"])))

    @property
    def learned(self) -> Params:
        """The parameters of its algorithm."""
        return {name: value for name, value in self.params.items() if not (self.by and name == "value")}


class _Stopped(Exception):  # noqa: N818  # not an error
    """The trial fell below a bar."""


def run(config: Mapping[str, Point], data: Data, plan: Plan) -> None:
    """The function that Ray Tune calls in a worker process."""
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    point = config["point"]
    with watched(point, plan):
        outcome = hung(point, plan) or answer(point, data, plan)
    # Tune insists on the number that its searcher was told of.
    value = nan if outcome.goodness is None else outcome.goodness
    # Told that this was all, Tune does not ask once more before it lets the next trial begin.
    tune.report({"outcome": outcome.to_json(), "goodness": value, "done": True})


def watched(point: Point, plan: Plan) -> AbstractContextManager[None]:
    """Hold this process to the time that a trial may take; the one that Tune starts in its place finds the reason."""
    return limits.watched(_folder(point, plan), plan.longest)


def _folder(point: Point, plan: Plan) -> Path:
    return trial_folder(plan.folder, point.algorithm, point.params)


def hung(point: Point, plan: Plan) -> Outcome | None:
    """The outcome of a trial that was ended because it took too long, told once; asked again, it gets another try."""
    folder = _folder(point, plan)
    if not limits.hung(folder):
        return None
    error = f"it was ended after {plan.longest:g} s: it hangs, or needs more than `trial_seconds`"
    outcome = outcome_of(point, plan, FAILED, plan.longest, {}, {}, error=error)
    keep(folder, outcome)
    return outcome


def answer(point: Point, data: Data, plan: Plan) -> Outcome:
    """The outcome of a trial: the one that was kept, or a new one. A trainer's fault is an outcome as well."""
    folder = trial_folder(plan.folder, point.algorithm, point.params)
    if (known := kept(folder)) is not None:
        return known
    curve: dict[int, float] = {}
    began = perf_counter()
    try:
        outcome = _fit(point, data, plan, curve)
    except _Stopped:
        metrics: dict[str, float] = {plan.metric: goodness(plan.metric, curve[max(curve)])}
        outcome = outcome_of(point, plan, STOPPED, perf_counter() - began, curve, metrics)
    except Exception as error:  # noqa: BLE001  # a trainer may raise anything; the search goes on and tells
        outcome = outcome_of(point, plan, FAILED, perf_counter() - began, curve, {}, error=in_words(error))
    failpoint("training.trial.before_keep")
    keep(folder, outcome)
    return outcome


def in_words(error: BaseException) -> str:
    """An error as one line."""
    text = str(error).strip()
    if isinstance(error, RaypipeError):
        return text
    return f"{type(error).__name__}: {text.splitlines()[0][:300]}" if text else type(error).__name__


def _fit(point: Point, data: Data, plan: Plan, curve: dict[int, float]) -> Outcome:
    def report(step: int, value: float) -> None:
        curve[step] = goodness(plan.metric, value)
        if curve[step] < point.bars.get(step, float("-inf")):
            raise _Stopped

    began, fitted = perf_counter(), 0.0
    forecast: list[Scores] = []
    told: list[Scores] = []
    truths: list[Vector] = []
    for train, tuning in data.steps():
        model = trainer(point.algorithm)
        # What walks forward is held against its peers in its first step.
        heard = unreported if forecast else report
        whole = Task(train, tuning, data.signature, plan.metric, plan.seed, heard, data.target, data.source)
        whole = plan.on(replace(whole, scored=told.append), point.algorithm)
        task = point.task(whole)
        rows = task.tune or tuning
        told.clear()
        started = perf_counter()
        found = model.fit(task, point.learned)
        fitted += perf_counter() - started
        truths.append(rows.y)
        if len(truths) < len(data.folds):
            forecast.append(model.predict(rows.x))
    # Only measured here: the winner is fitted again, on more data.
    with tempfile.TemporaryDirectory() as files:
        model.save(Path(files))
        served = OnnxModel(Path(files))
    gap = difference(model, served, rows.x[:COMPARED], point.algorithm, data.target)
    first, speeds = timed_scores(served, rows.x, data.signature)
    scores = _scores(told, first, served, rows.x)
    forecast.append(scores)
    keep_scores(trial_folder(plan.folder, point.algorithm, point.params), np.concatenate(forecast))
    steps = [quality(y, scores, data.target, plan.metric) for y, scores in zip(truths, forecast, strict=True)]
    metrics = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
    metrics |= speeds
    if plan.cpu_hour:
        metrics |= money(metrics, plan.cpu_hour)
    metrics |= {"bytes": float(served.bytes), "onnx_difference": gap, "fit_seconds": fitted}
    return outcome_of(point, plan, PART if point.by else FINISHED, perf_counter() - began, curve, metrics, found)


def _scores(told: list[Scores], first: Scores, served: OnnxModel, x: Matrix) -> Scores:
    """Of all rows, of which the first are answered: as the trainer told, if that is what is served; else as served.

    That is one pass over the tuning period less, most of what a trial of trees takes beside fitting.
    """
    if told and told[-1].shape == (len(x), *first.shape[1:]) and np.isfinite(told[-1]).all():
        gaps = np.abs(told[-1][: len(first)] - first) / np.maximum(1, np.abs(first))
        if gaps.max() <= TOLERANCE:
            return told[-1]
    rest = x[len(first) :]
    return np.concatenate([first, served.predict(rest)]) if len(rest) else first


def outcome_of(
    point: Point,
    plan: Plan,
    status: str,
    seconds: float,
    curve: dict[int, float],
    metrics: dict[str, float],
    found: Params | None = None,
    error: str = "",
) -> Outcome:
    """What came of a point."""
    trial = Trial(
        number=point.number,
        algorithm=point.algorithm,
        params=point.params | (found or {}),
        status=status,
        metrics=metrics,
        seconds=seconds,
        error=error,
    )
    value = goodness(plan.metric, metrics[plan.metric]) if plan.metric in metrics else None
    folder = trial_folder(plan.folder, point.algorithm, point.params).name
    return Outcome(trial=trial, goodness=value, curve=tuple(curve.items()), folder=folder)
