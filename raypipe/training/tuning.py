"""The trials of a search on Ray Tune: proposed, run side by side, watched; the part of it that knows Ray."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ray import tune
from ray.tune.error import TuneError
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial as TuneTrial

from raypipe.contracts.progress import Progress
from raypipe.errors import RaypipeError
from raypipe.spec import Pipeline
from raypipe.training.budget import Budget
from raypipe.training.outcome import Outcome, kept_count
from raypipe.training.proposals import LAG, Proposals
from raypipe.training.room import Group, check_room, groups_in
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
        check_room(model)
    side_by_side = max(1, min(cpus, trials))
    # Tune's own records serve one run only: what a search must remember lies in the trials' folders.
    scratch, groups = plan.folder / "tune", plan.folder / "groups"
    shutil.rmtree(scratch, ignore_errors=True)
    before = kept_count(plan.folder)
    name = f"trials, {before} kept from before" if before else "trials"
    search = pipeline.search
    proposals = Proposals(space, search.seed, lag=max(LAG, side_by_side), budget=budget, warm=warm)
    with progress.step(name, trials) as step, ExitStack() as lines, _quiet_tune():
        watcher = lines.enter_context(
            Watcher(plan, tracking, step, lambda name: lines.enter_context(progress.step(name, trials)))
        )
        for point, outcome in proposals.answered(plan.folder, trials):
            watcher.start(point)
            watcher.take(point, outcome)
        if proposals.next is None:
            return watcher.finished()
        trainable = tune.with_resources(
            tune.with_parameters(run, data=data, plan=plan),
            lambda config: Group(plan.holds(config["point"]), groups),
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
            with groups_in(groups), waits_told(step):
                tuner.fit()
        except TuneError as error:
            raise _cause(error) from None
        shutil.rmtree(scratch, ignore_errors=True)
        return watcher.finished()


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
    # Nobody reads what Tune keeps of itself: to write it down now and then is work for nothing.
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1e9"
    # Tune would take Ctrl-C for the end of the trials, and the search would choose among those that there are.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    loggers = {logging.getLogger(name): logging.CRITICAL for name in ("ray.tune", "optuna")}
    levels = {logger: logger.level for logger in loggers}
    for logger, level in loggers.items():
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
