"""The trials of a search on Ray Tune: proposed, run side by side, watched; the part of it that knows Ray."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import ray
from ray import tune
from ray.tune.error import TuneError
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial as TuneTrial

from raypipe.contracts.progress import Progress
from raypipe.errors import RaypipeError, TrainingError
from raypipe.spec import Model, Pipeline
from raypipe.training.budget import Budget
from raypipe.training.outcome import Outcome, kept_count
from raypipe.training.proposals import LAG, Proposals
from raypipe.training.space import Space
from raypipe.training.tracking import Tracking
from raypipe.training.trainer import Params
from raypipe.training.trial import Data, Plan, run
from raypipe.training.waiting import waits_told
from raypipe.training.watcher import Watcher

# Tune copies these into the description of every trial's process, and whoever may see the dashboard reads it there. A
# process that needs them has them from its machine.
class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
    [name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")]
)
#: A worker process that dies gets one successor. A trainer's own fault is an outcome, and not tried again.
_LOST_WORKERS = 1


def try_all(
    pipeline: Pipeline,
    space: Space,
    data: Data,
    plan: Plan,
    tracking: Tracking,
    cpus: int,
    progress: Progress,
    warm: list[Params],
    budget: Budget,
) -> list[Outcome]:
    """The outcome of every trial, in order of number.

    ``warm`` are points to try after the defaults. Up to ``cpus`` of them run side by side; more than `LAG` of those
    change which trials are proposed.

    Raises:
        TrainingError: the cluster is smaller than one trial.
    """
    trials = pipeline.search.trials
    for model in pipeline.search.models:
        _check_room(model)
    side_by_side = max(1, min(cpus, trials))
    # Tune's own records serve one run only: what a search must remember lies in the trials' folders.
    scratch = plan.folder / "tune"
    shutil.rmtree(scratch, ignore_errors=True)
    before = kept_count(plan.folder)
    name = f"trials, {before} kept from before" if before else "trials"
    search = pipeline.search
    proposals = Proposals(space, search.seed, lag=max(LAG, side_by_side), budget=budget, warm=warm)
    with progress.step(name, trials) as step, ExitStack() as lines, _quiet_tune():
        watcher = Watcher(plan, tracking, step, lambda name: lines.enter_context(progress.step(name, trials)))
        for point, outcome in proposals.answered(plan.folder, trials):
            watcher.start(point)
            watcher.take(point, outcome)
        if proposals.next is None:
            return list(watcher.outcomes.values())
        trainable = tune.with_resources(
            tune.with_parameters(run, data=data, plan=plan),
            lambda config: tune.PlacementGroupFactory([plan.holds(config["point"])]),
        )
        trainable.__name__ = f"{pipeline.name} trial"
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=proposals,
                num_samples=trials - len(watcher.outcomes),
                max_concurrent_trials=side_by_side,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(plan.folder),
                callbacks=[watcher],
                failure_config=tune.FailureConfig(max_failures=_LOST_WORKERS),
                verbose=0,
            ),
        )
        try:
            with waits_told(lambda what: step.advance(0, what)):
                tuner.fit()
        except TuneError as error:
            raise _cause(error) from None
    shutil.rmtree(scratch, ignore_errors=True)
    return [watcher.outcomes[number] for number in sorted(watcher.outcomes)]


def _check_room(model: Model) -> None:
    """A trial that the cluster can never hold would wait for ever."""
    there = ray.cluster_resources()
    workers = int(str(model.params.get("workers", 1))) if model.spreads else 1
    for name, needed in (("CPU", model.cpus * workers), ("GPU", model.gpus * workers)):
        if needed > there.get(name, 0.0):
            what = f"a trial waits for {needed:g} {name}, and the whole cluster has {there.get(name, 0.0):g}"
            cure = "Ask for less with `.on(cpus=…, gpus=…)` or fewer `workers`, or add a node"
            raise TrainingError(what, where=f"{model.where}: {model.algorithm}", cure=cure)


def _cause(error: TuneError) -> Exception:
    """Tune hides what a callback raises in the text of its own error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RaypipeError):
            return cause
        cause = cause.__context__
    return error


def _trial_name(trial: TuneTrial) -> str:
    point = trial.config["point"]
    return f"{point.number:02d}-{point.algorithm.replace(':', '.')}"


@contextmanager
def _quiet_tune() -> Iterator[None]:
    """Progress is told to whom it is handed, results go to MLflow: Tune and Optuna need not print or write files."""
    os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_AIR_NEW_OUTPUT="0")
    loggers = {logging.getLogger(name): logging.CRITICAL for name in ("ray.tune", "optuna")}
    levels = {logger: logger.level for logger in loggers}
    for logger, level in loggers.items():
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
