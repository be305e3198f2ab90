"""From the chosen parameters to a model version: fit again on all that was not held out, judge once, seal.

The parameters are settled on the tuning period; then its rows are the newest there are to learn from. On the flights
that is worth 0.01 of AUC in June. The holdout is read here for the first time, and scored once.
"""

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from raypipe.contracts import bundle
from raypipe.contracts.records import TrainingSet
from raypipe.contracts.signature import Signature
from raypipe.errors import TrainingError
from raypipe.failpoints import failpoint
from raypipe.spec import Pipeline
from raypipe.training.data import LABEL, examples, read, together
from raypipe.training.metrics import MEASURES, auc_interval, quality
from raypipe.training.onnx_model import OnnxModel, difference
from raypipe.training.outcome import Outcome
from raypipe.training.trainer import Task, Trainer
from raypipe.training.trainers import trainer
from raypipe.training.trial import Data, in_words

GOLDEN_ROWS = 64
#: Without a stated cost both errors weigh the same.
THRESHOLD = 0.5


def refit(winner: Outcome, data: Data, pipeline: Pipeline) -> Trainer:
    """The winning parameters, fitted on train and tune together; early stopping has settled the length already."""
    search = pipeline.search
    model = trainer(winner.trial.algorithm)
    task = Task(together(data.train, data.tune), None, data.signature, search.metric, search.seed)
    try:
        model.fit(task, dict(winner.trial.params))
    except Exception as error:  # a trainer may raise anything
        what = f"the winner could not be fitted again on train and tune: {in_words(error)}"
        raise TrainingError(what, where=winner.trial.algorithm) from error
    return model


def seal(
    model: Trainer, winner: Outcome, data: Data, pipeline: Pipeline, training_set: TrainingSet, folder: Path
) -> dict[str, float]:
    """Judge the model on the holdout and write its bundle into ``folder``; returns the metrics.

    Names without a prefix are on the holdout, ``tune_…`` on the tuning period before the model was fitted again.
    """
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    model.save(part)
    held_out = read(training_set, "holdout")
    rows = examples(held_out, data.signature)
    served = OnnxModel(part)
    gap = difference(model, served, rows.x, winner.trial.algorithm)
    scores = served.predict(rows.x)
    low, high = auc_interval(rows.y, scores)
    metrics = quality(rows.y, scores) | {"auc_low": low, "auc_high": high} | served.speed(rows.x[:2_000])
    metrics |= {f"tune_{name}": winner.trial.metrics[name] for name in MEASURES}
    metrics |= {"bytes": float(served.bytes), "onnx_difference": gap}
    golden = golden_rows(held_out, data.signature)
    scored = golden.with_columns(pl.Series(bundle.SCORE, model.predict(data.signature.encode(golden))))
    card = bundle.Card(
        algorithm=winner.trial.algorithm,
        params=winner.trial.params,
        metrics=metrics,
        threshold=THRESHOLD,
        seed=pipeline.search.seed,
    )
    bundle.write(part, signature=data.signature, pipeline=pipeline, card=card, golden=scored)
    bundle.seal(part)
    failpoint("training.before_bundle")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return metrics


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
