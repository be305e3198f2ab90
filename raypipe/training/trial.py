"""One trial, in a worker process: fit, compare with the ONNX file, measure, keep.

What waits for what: a trial holds `CPUS` while it runs and waits for nothing but its data. When replicas or other
work hold the CPUs, trials wait in Ray's queue and hold nothing there, so nothing can wait for them in a circle.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isinf, nan
from pathlib import Path
from threading import Timer
from time import perf_counter

from ray import tune

from raypipe.contracts.records import Trial
from raypipe.contracts.signature import Signature
from raypipe.contracts.target import BINARY, Target
from raypipe.errors import TrainingError
from raypipe.failpoints import failpoint
from raypipe.spec.search import Metric
from raypipe.training.metrics import goodness, quality
from raypipe.training.onnx_model import OnnxModel, difference
from raypipe.training.outcome import FAILED, FINISHED, STOPPED, Outcome, keep, kept, trial_folder
from raypipe.training.trainer import Examples, Params, Task
from raypipe.training.trainers import trainer

#: A trial keeps one core busy but asks for half, so that as many trials as cores run beside Serve replicas, which hold
#: a tenth each for good. How many run at once is bounded by the search.
CPUS = 0.5
#: Rows of the tuning period that a model and its ONNX file are compared on.
COMPARED = 2_000


@dataclass(frozen=True)
class Data:
    """What every trial of a search reads, from Ray's object store."""

    train: Examples
    tune: Examples
    signature: Signature
    target: Target = BINARY


@dataclass(frozen=True)
class Plan:
    """What every trial of a search is told. ``folder`` is the search's; all nodes that run trials must see it.

    A trial that takes ``longest`` seconds is ended. ``cpu_hour`` is what an hour of one core costs; 0: nobody
    said.
    """

    folder: Path
    metric: Metric
    seed: int
    longest: float = inf
    cpu_hour: float = 0.0


@dataclass(frozen=True)
class Point:
    """One trial's question. ``bars`` holds the goodness after a step below which the trial is not worth finishing."""

    number: int
    algorithm: str
    params: Params
    bars: Mapping[int, float]


class _Stopped(Exception):  # noqa: N818  # not an error
    """The trial fell below a bar."""


def run(config: Mapping[str, Point], data: Data, plan: Plan) -> None:
    """The function that Ray Tune calls in a worker process."""
    point = config["point"]
    with watched(point, plan):
        outcome = hung(point, plan) or answer(point, data, plan)
    # Tune insists on the number that its searcher was told of.
    tune.report({"outcome": outcome.to_json(), "goodness": nan if outcome.goodness is None else outcome.goodness})


@contextmanager
def watched(point: Point, plan: Plan) -> Iterator[None]:
    """End this process when the trial takes too long: nothing else stops a loop in compiled code.

    The reason is written down first; the process that Tune starts in place of this one finds it.
    """
    if isinf(plan.longest):
        yield
        return
    timer = Timer(plan.longest, _end, (point, plan))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(point: Point, plan: Plan) -> None:
    note = _note(point, plan)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(str(os.getpid()), encoding="utf-8")
    os._exit(1)


def _note(point: Point, plan: Plan) -> Path:
    return trial_folder(plan.folder, point.algorithm, point.params) / "hung"


def hung(point: Point, plan: Plan) -> Outcome | None:
    """The outcome of a trial that was ended because it took too long, told once; asked again, it gets another try."""
    note = _note(point, plan)
    if not note.exists():
        return None
    note.unlink()
    error = f"it was ended after {plan.longest:g} s: it hangs, or needs more than `trial_seconds`"
    outcome = _outcome(point, plan, FAILED, plan.longest, {}, {}, error=error)
    keep(note.parent, outcome)
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
        outcome = _outcome(point, plan, STOPPED, perf_counter() - began, curve, metrics)
    except Exception as error:  # noqa: BLE001  # a trainer may raise anything; the search goes on and tells
        outcome = _outcome(point, plan, FAILED, perf_counter() - began, curve, {}, error=in_words(error))
    failpoint("training.trial.before_keep")
    keep(folder, outcome)
    return outcome


def in_words(error: BaseException) -> str:
    """An error as one line."""
    text = str(error).strip()
    if isinstance(error, TrainingError):
        return text
    return f"{type(error).__name__}: {text.splitlines()[0][:300]}" if text else type(error).__name__


def _fit(point: Point, data: Data, plan: Plan, curve: dict[int, float]) -> Outcome:
    def report(step: int, value: float) -> None:
        curve[step] = goodness(plan.metric, value)
        if curve[step] < point.bars.get(step, float("-inf")):
            raise _Stopped

    model = trainer(point.algorithm)
    began = perf_counter()
    task = Task(data.train, data.tune, data.signature, plan.metric, plan.seed, report, data.target)
    found = model.fit(task, dict(point.params))
    fitted = perf_counter() - began
    # Only measured here: the winner is fitted again, on more data.
    with tempfile.TemporaryDirectory() as files:
        model.save(Path(files))
        served = OnnxModel(Path(files))
    gap = difference(model, served, data.tune.x[:COMPARED], point.algorithm, data.target)
    metrics = quality(data.tune.y, served.predict(data.tune.x), data.target, plan.metric) | served.speed(
        data.tune.x[:COMPARED]
    )
    if plan.cpu_hour:
        # A million rows, one by one, on one core.
        metrics["money_per_million"] = metrics["p50_ms_1"] * 1_000 / 3_600 * plan.cpu_hour
    metrics |= {"bytes": float(served.bytes), "onnx_difference": gap, "fit_seconds": fitted}
    return _outcome(point, plan, FINISHED, perf_counter() - began, curve, metrics, found)


def _outcome(
    point: Point,
    plan: Plan,
    status: str,
    seconds: float,
    curve: dict[int, float],
    metrics: dict[str, float],
    found: Params | None = None,
    error: str = "",
) -> Outcome:
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
    return Outcome(trial=trial, goodness=value, curve=tuple(curve.items()))
