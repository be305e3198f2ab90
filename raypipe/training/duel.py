"""Two models on the same newest rows that neither has learned from: what each loses on each row."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raypipe.contracts import bundle
from raypipe.contracts.records import TrainingSet
from raypipe.contracts.target import Target
from raypipe.errors import TrainingError
from raypipe.stats.estimate import point_loss
from raypipe.training.data import LABEL, read
from raypipe.training.metrics import quality
from raypipe.training.onnx_model import OnnxModel
from raypipe.training.trainer import Scores

Losses = NDArray[np.float64]
_LEAST = 1e-7


def losses_of(training_set: TrainingSet, folder: Path) -> Losses:
    """What the model of a bundle loses on each row of the holdout, float64 (rows,).

    Raises:
        TrainingError: it sees other columns than the training set has.
    """
    frame, scores = _answered(training_set, folder)
    return losses(frame, scores, bundle.card(folder).target)


def quality_of(training_set: TrainingSet, folder: Path, metric: str) -> float:
    """A metric of the model of a bundle on the holdout; errors as in `losses_of`."""
    frame, scores = _answered(training_set, folder)
    target = bundle.card(folder).target
    return quality(target.encode(frame[LABEL]), scores, target, metric)[metric]


def _answered(training_set: TrainingSet, folder: Path) -> tuple[pl.DataFrame, Scores]:
    signature, names = bundle.signature(folder), set(training_set.features)
    if missing := [column.name for column in signature.columns if column.name not in names]:
        what = f"the model in service sees `{missing[0]}`, which the definition has no more"
        raise TrainingError(what, where=training_set.pipeline, cure="Run `raypipe run` for the new definition")
    frame = read(training_set, "holdout")
    return frame, OnnxModel(folder).predict(signature.encode(frame))


def losses(frame: pl.DataFrame, scores: Scores, target: Target) -> Losses:
    """What scores lose against the labels of a frame: log loss, of quantiles the pinball loss, else the squared error.

    Args:
        frame: has the column ``label``.
        scores: float32 (rows,), or of classes (rows, classes).
        target: what is predicted.

    >>> frame = pl.DataFrame({"label": [True, False]})
    >>> losses(frame, np.array([0.5, 0.5], dtype=np.float32), Target(task="binary")).round(3).tolist()
    [0.693, 0.693]
    """
    truth, score = target.encode(frame[LABEL]).astype(np.float64), np.asarray(scores, dtype=np.float64)
    if target.task == "binary":
        kept = np.clip(score, _LEAST, 1 - _LEAST)
        return np.asarray(-(truth * np.log(kept) + (1 - truth) * np.log1p(-kept)))
    if target.classes:
        # A class that the model has never seen: it gave it nothing.
        given = score[np.arange(len(truth)), np.maximum(truth, 0).astype(int)] * (truth >= 0)
        return np.asarray(-np.log(np.clip(given, _LEAST, 1.0)))
    return point_loss(truth, score, target.quantile)
