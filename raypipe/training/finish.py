"""From the chosen parameters to a model version: fit again on all that was not held out, mend, judge once, seal.

The parameters are settled on the tuning period; then its rows are the newest there are to learn from. On the flights
that is worth 0.01 of AUC in June. The holdout is read here for the first time, and scored once.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import ray
from threadpoolctl import threadpool_limits

from raypipe.contracts import bins, bundle
from raypipe.contracts.bins import Reference
from raypipe.contracts.hours import Hourly
from raypipe.contracts.judged import judged as outcome_of
from raypipe.contracts.records import TrainingSet
from raypipe.contracts.signature import Signature
from raypipe.contracts.target import Target
from raypipe.contracts.watched import Watched
from raypipe.errors import TrainingError
from raypipe.failpoints import failpoint
from raypipe.spec import Pipeline
from raypipe.training.ahead import CUTS, Forecasts, forecasts
from raypipe.training.calibration import Calibration, Mapped, calibrate
from raypipe.training.data import ASKED_AT, LABEL, class_weights, examples, read, together
from raypipe.training.judge import Judged, judge
from raypipe.training.limits import apart
from raypipe.training.metrics import quality
from raypipe.training.onnx_model import OnnxModel, check_scores, difference
from raypipe.training.outcome import Outcome
from raypipe.training.speed import money, timed_scores
from raypipe.training.threshold import EVEN, choose_threshold, cost_matrix
from raypipe.training.trainer import Examples, Matrix, Scores, Task, Trainer
from raypipe.training.trainers import trainer
from raypipe.training.trial import Data, Plan, Point, in_words

GOLDEN_ROWS = 64
#: So often the winner is fitted at the end of a search, at most: forecasts, on train and tune, with the holdout.
FITS = len(CUTS) + 1


@dataclass(frozen=True)
class Finished:
    """The winner as it will answer: its trainer, the map of its scores and the map's name, and the threshold."""

    algorithm: str
    trainer: Trainer
    calibration: Calibration | None
    calibrated_by: str
    threshold: float
    costs: tuple[tuple[float, ...], ...] = ()

    def save(self, folder: Path, x: Matrix, target: Target) -> tuple[OnnxModel, float]:
        """Write the model's files into an empty folder.

        Returns:
            What serves, and the largest difference between it and the trainer on ``x``, before the map of scores: that
            makes more of a difference than it is, and is compared by itself.

        Raises:
            TrainingError: they differ by more than rounding.
        """
        self.trainer.save(folder)
        served = OnnxModel(folder)
        gap = difference(self.trainer, served, x, self.algorithm, target)
        if self.calibration is not None:
            mapped = Mapped(served, self.calibration)
            self.calibration.put_into(folder)
            served = OnnxModel(folder)
            difference(mapped, served, x, f"{self.algorithm}, calibrated by {self.calibrated_by}", target)
        return served, gap


def _ahead(winner: Outcome, task: Task, data: Data) -> Callable[[], Forecasts]:
    """Forecasts of rows that were not learned from; where rows are streamed, of the tuning period."""
    params = dict(winner.trial.params)
    if data.source is None:
        return forecasts(winner.trial.algorithm, task, params, winner.trial.metrics.get("fit_seconds", 0.0))
    make = trainer(winner.trial.algorithm)
    make.fit(task, params)
    newest = np.arange(len(data.tune.y)) >= len(data.tune.y) * 2 // 3
    found = Forecasts(data.tune.y, make.predict(data.tune.x), newest.astype(np.float32))
    return lambda: found


def conclude(
    winner: Outcome, data: Data, pipeline: Pipeline, training_set: TrainingSet, scratch: Path, folder: Path
) -> "Sealed":
    """Fit the winner again and judge it: `refit`, then `seal` into ``folder``.

    Where there is code of the user's in it and Ray runs, in a process of its own, which is given as long as `FITS`
    trials.

    Raises:
        TrainingError: the trainer fails, hangs, gives NaN, or ends its process.
    """

    def both() -> Sealed:
        # As in a worker of the cluster: the last bits of a sum depend on the number of threads.
        with threadpool_limits(1):
            model = refit(winner, data, pipeline, scratch)
            return seal(model, winner, data, pipeline, training_set, folder)

    search, algorithm = pipeline.search, winner.trial.algorithm
    names = [
        search.metric,
        algorithm,
        *(str(value) for name, value in winner.trial.params.items() if "algorithm" in name),
    ]
    if not (ray.is_initialized() and any(":" in name for name in names)):
        return both()
    plan = Plan(scratch, search.metric, search.seed, models=search.models)
    holds = plan.holds(Point(winner.trial.number, algorithm, winner.trial.params, {}))
    return apart(both, scratch / "last", FITS * search.trial_seconds, holds, algorithm)


def refit(winner: Outcome, data: Data, pipeline: Pipeline, folder: Path) -> Finished:
    """The winning parameters, fitted on train and tune together; early stopping has settled the length already.

    Calibration and threshold are chosen on what such models forecast of the newest of these rows. ``folder`` is for
    what a training needs to go on.
    """
    search, finish, params = pipeline.search, pipeline.finish, dict(winner.trial.params)
    algorithm = winner.trial.algorithm
    train = together(data.train, data.tune) if data.source is None else data.train
    task = Task(train, None, data.signature, search.metric, search.seed, target=data.target)
    task = Plan(folder, search.metric, search.seed, models=search.models).on(task, algorithm)
    decides = data.target.task == "binary"
    try:
        coming = _ahead(winner, replace(task, source=data.source), data) if decides else None
        task = replace(task, source=None if data.source is None else data.source.also("tune"))
        model = trainer(algorithm)
        model.fit(task, params)
        ahead = coming() if coming else None
    except Exception as error:  # a trainer may raise anything
        what = f"the winner could not be fitted again on train and tune: {in_words(error)}"
        raise TrainingError(what, where=algorithm) from error
    if ahead is None:
        return Finished(algorithm, model, None, "none", EVEN, cost_matrix(finish, data.target, pipeline.name))
    check_scores(ahead.scores, len(ahead.y), "without rows to tune on the trainer", algorithm, data.target)
    calibration, name = calibrate(ahead.y, ahead.scores, ahead.newest, finish.calibrate)
    mended = ahead.scores if calibration is None else calibration(ahead.scores)
    return Finished(algorithm, model, calibration, name, choose_threshold(ahead.y, mended, finish))


@dataclass(frozen=True)
class Sealed:
    """The metrics of a bundle, and what the model that was judged answered on the holdout, in the order of its rows."""

    metrics: dict[str, float]
    held_out: Scores


def seal(
    model: Finished, winner: Outcome, data: Data, pipeline: Pipeline, training_set: TrainingSet, folder: Path
) -> Sealed:
    """Judge the model on the holdout and write its bundle into ``folder``.

    Names without a prefix are on the holdout, ``tune_…`` on the tuning period before the model was fitted again. Speeds
    and what they cost are among the metrics and not in the bundle: the same model made again is the same bundle.
    """
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    finish = pipeline.finish
    beside = read(training_set, "holdout", (*finish.by, *finish.fair, ASKED_AT))
    held_out = beside.select(*training_set.features, LABEL)
    rows, golden = examples(held_out, data.signature, data.target), golden_rows(held_out, data.signature)
    compared = np.concatenate([rows.x, data.signature.encode(golden)])
    served, gap = model.save(part, compared, data.target)
    scores = served.predict(rows.x)
    metric, target = pipeline.search.metric, data.target
    judged = Judged(rows, scores, served.predict, metric, target, model.threshold, model.costs)
    # A column that is judged by stands behind the features, which keep the model's order.
    evaluation = judge(judged, beside.drop(LABEL), finish)
    metrics = quality(rows.y, scores, target, metric)
    if target.task == "binary":
        auc = evaluation.metrics["auc"]
        metrics |= {"auc_low": auc.low, "auc_high": auc.high}
    metrics |= {} if evaluation.cost is None else {"cost": evaluation.cost}
    metrics |= {f"tune_{name}": winner.trial.metrics[name] for name in metrics if name in winner.trial.metrics}
    metrics |= {"bytes": float(served.bytes), "onnx_difference": gap}
    if finish.whole:
        model = _with_holdout(model, winner, data, rows, pipeline, folder.parent)
        shutil.rmtree(part)
        part.mkdir()
        served, _ = model.save(part, compared, data.target)
    scored = golden.with_columns(pl.Series(bundle.SCORE, served.predict(data.signature.encode(golden))))
    card = bundle.Card(
        algorithm=winner.trial.algorithm,
        params=winner.trial.params,
        metrics=metrics,
        threshold=model.threshold,
        seed=pipeline.search.seed,
        calibration=model.calibrated_by,
        target=target,
        costs=model.costs,
    )
    bundle.write(part, signature=data.signature, pipeline=pipeline, card=card, golden=scored)
    outcome = outcome_of(target, rows.y.astype(float), scores, model.threshold, model.costs)
    reference = Reference.of(held_out, data.signature, scores, target.classes, outcome)
    (part / bundle.BINS).write_text(reference.to_json(), encoding="utf-8")
    if pipeline.ask.timed:
        _keep_hours(part, beside, reference, data.signature, scores)
    (part / bundle.EVALUATION).write_text(evaluation.to_json(), encoding="utf-8")
    bundle.seal(part)
    failpoint("training.before_bundle")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    _, speeds = timed_scores(served, rows.x[:2_000], data.signature)
    cost = money(speeds, pipeline.search.cpu_hour) if pipeline.search.cpu_hour else {}
    return Sealed(metrics | speeds | cost, scores)


def _keep_hours(folder: Path, rows: pl.DataFrame, reference: Reference, signature: Signature, scores: Scores) -> None:
    at, watched = rows[ASKED_AT].to_physical().to_numpy(), Watched.of(reference)
    hourly = Hourly.of(rows, at, signature, bins.answers(scores), watched)
    if hourly is not None:
        hourly.write(folder / bundle.HOURS, watched)


def _with_holdout(
    model: Finished, winner: Outcome, data: Data, rows: Examples, pipeline: Pipeline, folder: Path
) -> Finished:
    """The same model, fitted on the rows that it was judged on as well; calibration and threshold stay."""
    search, algorithm = pipeline.search, winner.trial.algorithm
    held_out = replace(rows, w=class_weights(rows.y, data.target, search))
    everything = together(together(data.train, data.tune), held_out) if data.source is None else data.train
    fresh = trainer(algorithm)
    task = Task(everything, None, data.signature, search.metric, search.seed, target=data.target)
    task = Plan(folder, search.metric, search.seed, models=search.models).on(task, algorithm)
    task = replace(task, source=None if data.source is None else data.source.also("tune", "holdout"))
    try:
        fresh.fit(task, dict(winner.trial.params))
    except Exception as error:  # a trainer may raise anything
        what = f"the winner could not be fitted again with the holdout: {in_words(error)}"
        raise TrainingError(what, where=algorithm) from error
    check_scores(fresh.predict(rows.x), len(rows.y), "fitted with the holdout too the trainer", algorithm, data.target)
    return replace(model, trainer=fresh)


def golden_rows(frame: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    """Feature rows that a model is recognised by.

    One with nothing known, one with every category never seen, those with most gaps, others spread over the period.
    """
    features = frame.drop(LABEL)
    gaps = features.select(pl.sum_horizontal(pl.all().is_null())).to_series().to_numpy()
    gappy = np.argsort(-gaps, kind="stable")[: GOLDEN_ROWS // 4]
    even = np.linspace(0, len(features) - 1, GOLDEN_ROWS - 2 - len(gappy)).astype(int)
    unknown = features[:1].with_columns(pl.lit(None, dtype).alias(name) for name, dtype in features.schema.items())
    categories = [column.name for column in signature.columns if column.vocabulary is not None]
    unseen = features[:1].with_columns(pl.lit("never seen").alias(name) for name in categories)
    return pl.concat([unknown, unseen.cast(features.schema), features[np.concatenate([gappy, even])]])
