"""One search over all algorithms on Ray Tune, from a training set to a sealed model."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import numpy as np
import polars as pl

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Candidate, TrainingSet
from raypipe.contracts.signature import Column, Signature
from raypipe.contracts.target import Target
from raypipe.errors import RaypipeError, TrainingError, WorkspaceError
from raypipe.failpoints import failpoint
from raypipe.spec import Pipeline, fingerprint
from raypipe.training.budget import Budget
from raypipe.training.choice import choose
from raypipe.training.data import (
    ASKED_AT,
    LABEL,
    check_counts,
    class_shares,
    class_weights,
    examples,
    folds,
    learn_signature,
    learn_target,
    read,
)
from raypipe.training.metrics import check_metric
from raypipe.training.rows import Filed
from raypipe.training.trainer import Examples
from raypipe.training.trial import Data, Plan

#: What decides, beside data and search, how a trial turns out.
_LIBRARIES = ("raypipe", "lightgbm", "torch", "scikit-learn", "optuna", "onnxruntime")


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
        cpus: how many trials may run side by side. Ray must be running; what does not fit at once waits. More than
            eight change which trials are drawn: each draws on those that ended before it could begin.
        progress: is told of each trial.

    Returns:
        The candidate. Plain names in its metrics are on the holdout, ``tune_…`` on the tuning period.

    Raises:
        TrainingError: the data cannot teach anything, a name is unknown, all trials failed, none is fast enough, or
            MLflow does not answer.
        WorkspaceError: the folder cannot be written to, or is full.
    """
    # Not at the top: the workers import this module too, and have no use for MLflow, Optuna, fairness and pictures. Nor
    # have the trials for what the end of a search needs: they begin before that is loaded.
    from raypipe.training.space import Space
    from raypipe.training.tracking import Tracking
    from raypipe.training.tuning import try_all
    from raypipe.training.waiting import waits_told
    from raypipe.training.warm import warm_points

    space = Space.of(pipeline.search)
    data = prepare(pipeline, training_set)
    check_metric(pipeline.search.metric, pipeline.search.where, data.target)
    key = _key(pipeline, training_set)
    plan = Plan(
        (folder / f"{pipeline.name}-{key}").absolute(),
        pipeline.search.metric,
        pipeline.search.seed,
        pipeline.search.trial_seconds,
        pipeline.search.cpu_hour,
        pipeline.search.models,
        pipeline.search.gpu_hour,
    )
    with _room_in(plan.folder), Tracking(tracking_uri, pipeline.name, key) as tracking:
        budget, warm = Budget.of(pipeline.search, plan), warm_points(pipeline, space, plan.folder)
        outcomes = try_all(pipeline, space, data, plan, tracking, cpus, progress, warm, budget)
        from raypipe.training.finish import conclude
        from raypipe.training.front import draw, sentence
        from raypipe.training.further import further

        more = further(pipeline, data, plan, outcomes, tracking, cpus, progress, budget)
        outcomes += more.outcomes
        winner, reason = choose(outcomes, pipeline.search, pipeline.name)
        reason = "; ".join([reason, *more.told, sentence(outcomes, pipeline.search)])
        picture = plan.folder / "front.png"
        draw(outcomes, pipeline.search, winner, picture)
        failpoint("training.before_refit")
        with progress.step(f"fit {winner.trial.algorithm} again and judge it", 1) as step, waits_told(step):
            sealed = plan.folder / f"bundle-{fingerprint(pipeline.finish)}"
            metrics = conclude(winner, data, pipeline, training_set, plan.folder, sealed).metrics
            step.advance(1, f"holdout {pipeline.search.metric} {metrics[pipeline.search.metric]:.4f}")
        tags = {"algorithm": winner.trial.algorithm, "winner": winner.trial.run_id, "reason": reason}
        tracking.picture(picture)
        tracking.finish(metrics, tags)
    return Candidate(
        pipeline=pipeline.name,
        training_set=training_set.digest,
        algorithm=winner.trial.algorithm,
        params=winner.trial.params,
        seed=pipeline.search.seed,
        folder=str(sealed),
        metrics=metrics,
        trials=tuple(outcome.trial for outcome in outcomes),
        reason=reason,
        experiment=pipeline.name,
        metric=pipeline.search.metric,
    )


def prepare(pipeline: Pipeline, training_set: TrainingSet) -> Data:
    """The periods that models are fitted on; raises TrainingError when they cannot teach anything."""
    check_counts(training_set)
    if pipeline.search.models and all(model.spreads for model in pipeline.search.models):
        return streamed(pipeline, training_set)
    train, tuning = read(training_set, "train"), read(training_set, "tune", (ASKED_AT,))
    signature = learn_signature(train, training_set.features, pipeline.name)
    target = learn_target(train[LABEL], pipeline.label)
    both = [weighed(pipeline, part, signature, target) for part in (train, tuning)]
    return Data(both[0], both[1], signature, target, folds(pipeline, tuning))


def streamed(pipeline: Pipeline, training_set: TrainingSet) -> Data:
    """The same, with a training period that may be larger than memory: one column at a time is, to learn its values.

    Raises:
        TrainingError: the data cannot teach anything, or the split walks forward.
    """
    tuning = read(training_set, "tune", (ASKED_AT,))
    if len(steps := folds(pipeline, tuning)) > 1:
        cure = "Leave `walk_forward` out, or search one model of one worker too"
        raise TrainingError("rows that are streamed cannot walk forward", where=pipeline.name, cure=cure)
    columns: list[Column] = []
    for name in training_set.features:
        one = read(training_set, "train", features=(name,))
        columns += learn_signature(one, (name,), pipeline.name).columns
    signature, labels = Signature(columns=tuple(columns)), read(training_set, "train", features=())[LABEL]
    target = learn_target(labels, pipeline.label)
    weights = class_shares(target.encode(labels), target, pipeline.search)
    files = (str(Path(training_set.folder) / "train.parquet"),)
    nothing = Examples(np.zeros((0, len(columns)), dtype=np.float32), np.zeros(0, dtype=np.float32))
    source = Filed(files, signature, target, tuple(weights))
    return Data(nothing, weighed(pipeline, tuning, signature, target), signature, target, steps, source=source)


def weighed(pipeline: Pipeline, part: pl.DataFrame, signature: Signature, target: Target) -> Examples:
    """The rows of a period with their weights; raises TrainingError when they have classes that training lacks."""
    made = examples(part, signature, target)
    if unseen := int((made.y < 0).sum()) if target.classes else 0:
        what = f"{unseen:,} rows are of classes that the training period does not have"
        raise TrainingError(what, where=f"{pipeline.name}: period tune", cure="Widen the training period")
    return Examples(made.x, made.y, class_weights(made.y, target, pipeline.search))


def _key(pipeline: Pipeline, training_set: TrainingSet) -> str:
    """Names a search among all searches: everything that its trials depend on."""
    versions = [f"{name}={metadata.version(name)}" for name in _LIBRARIES]
    parts = [
        fingerprint(pipeline.search),
        fingerprint(pipeline.label),
        fingerprint(pipeline.split),
        training_set.digest,
        *training_set.features,
        *versions,
    ]
    return sha256(chr(0).join(parts).encode()).hexdigest()[:16]


@contextmanager
def _room_in(folder: Path) -> Iterator[None]:
    """A folder that can be written to, or a sentence about why not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except RaypipeError:
        raise
    except OSError as error:
        cure = "Check that the folder is writable and its disk has space, then run again: what was tried is kept"
        raise WorkspaceError(f"cannot be used: {error.strerror or error}", where=str(folder), cure=cure) from None
