"""One search over all algorithms on Ray Tune, from a training set to a sealed model."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from ray import tune
from ray.tune.error import TuneError
from ray.tune.experiment import Trial as TuneTrial

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Candidate, TrainingSet
from raypipe.errors import RaypipeError, TrainingError
from raypipe.failpoints import failpoint
from raypipe.spec import Pipeline, fingerprint
from raypipe.training.choice import choose
from raypipe.training.data import examples, learn_signature, read
from raypipe.training.finish import refit, seal
from raypipe.training.metrics import check_metric
from raypipe.training.outcome import Outcome
from raypipe.training.proposals import LAG, Proposals
from raypipe.training.space import Space
from raypipe.training.tracking import Tracking
from raypipe.training.trial import CPUS, Data, Plan, run
from raypipe.training.watcher import Watcher

#: What decides, beside data and search, how a trial turns out.
_LIBRARIES = ("raypipe", "lightgbm", "torch", "scikit-learn", "optuna", "onnxruntime")
#: A worker process that dies gets one successor. A trainer's own fault is an outcome, and not tried again.
_LOST_WORKERS = 1


def search(
    pipeline: Pipeline, training_set: TrainingSet, folder: Path, tracking_uri: str, cpus: int, progress: Progress
) -> Candidate:
    """Look for the best model, fit it again on train and tune, and judge it once on the holdout.

    The same pipeline, training set, seed and libraries try the same trials and find the same model. A search that was
    killed goes on when it is called again: trials that ended are not run again.

    Args:
        pipeline: says which algorithms, how many trials, and what is best.
        training_set: its folder holds ``train.parquet``, ``tune.parquet`` and ``holdout.parquet``.
        folder: each search keeps its trials and its bundle in a folder of its own in here, which every node that
            runs trials must see under this path.
        tracking_uri: where MLflow is: ``http://…`` or ``sqlite:///…``.
        cpus: how many trials may run side by side. Ray must be running; what does not fit at once waits.
        progress: is told of each trial.

    Returns:
        The candidate. Plain names in its metrics are on the holdout, ``tune_…`` on the tuning period.

    Raises:
        TrainingError: the data cannot teach anything, a name is unknown, all trials failed, or none is fast enough.
    """
    check_metric(pipeline.search.metric, pipeline.search.where)
    space = Space.of(pipeline.search)
    data = _data(pipeline, training_set)
    key = _key(pipeline, training_set)
    plan = Plan((folder / f"{pipeline.name}-{key}").absolute(), pipeline.search.metric, pipeline.search.seed)
    tracking = Tracking(tracking_uri, pipeline.name, key)
    try:
        outcomes = _try_all(pipeline, space, data, plan, tracking, cpus, progress)
        winner, reason = choose(outcomes, pipeline.search, pipeline.name)
    except TrainingError:
        tracking.fail()
        raise
    failpoint("training.before_refit")
    with progress.step("fit the winner again and judge it", 2) as step:
        model = refit(winner, data, pipeline)
        step.advance(1, winner.trial.algorithm)
        metrics = seal(model, winner, data, pipeline, training_set, plan.folder / "bundle")
        step.advance(1, f"holdout auc {metrics['auc']:.4f}")
    tracking.finish(metrics, {"algorithm": winner.trial.algorithm, "winner": winner.trial.run_id, "reason": reason})
    return Candidate(
        pipeline=pipeline.name,
        training_set=training_set.digest,
        algorithm=winner.trial.algorithm,
        params=winner.trial.params,
        seed=pipeline.search.seed,
        folder=str(plan.folder / "bundle"),
        metrics=metrics,
        trials=tuple(outcome.trial for outcome in outcomes),
        reason=reason,
        experiment=pipeline.name,
    )


def _data(pipeline: Pipeline, training_set: TrainingSet) -> Data:
    train, tuning = read(training_set, "train"), read(training_set, "tune")
    signature = learn_signature(train, training_set.features, pipeline.name)
    return Data(examples(train, signature), examples(tuning, signature), signature)


def _key(pipeline: Pipeline, training_set: TrainingSet) -> str:
    """Names a search among all searches: everything that its trials depend on."""
    versions = [f"{name}={metadata.version(name)}" for name in _LIBRARIES]
    parts = [fingerprint(pipeline.search), training_set.digest, *training_set.features, *versions]
    return sha256(chr(0).join(parts).encode()).hexdigest()[:16]


def _try_all(
    pipeline: Pipeline, space: Space, data: Data, plan: Plan, tracking: Tracking, cpus: int, progress: Progress
) -> list[Outcome]:
    """The outcome of every trial, by number."""
    trials = pipeline.search.trials
    side_by_side = max(1, min(cpus, LAG, trials))
    # Tune's own records serve one run only: what a search must remember lies in the trials' folders.
    scratch = plan.folder / "tune"
    shutil.rmtree(scratch, ignore_errors=True)
    with progress.step("trials", trials) as step, _quiet_tune():
        watcher = Watcher(plan, tracking, step)
        trainable = tune.with_resources(tune.with_parameters(run, data=data, plan=plan), {"cpu": CPUS})
        trainable.__name__ = f"{pipeline.name} trial"
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=Proposals(space, pipeline.search.seed),
                num_samples=trials,
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
            tuner.fit()
        except TuneError as error:
            raise _cause(error) from None
    shutil.rmtree(scratch, ignore_errors=True)
    return [watcher.outcomes[number] for number in sorted(watcher.outcomes)]


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
    return f"{point.number:02d}-{point.algorithm}"


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
