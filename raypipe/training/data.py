"""A training set's periods as matrices, and the faults that no search can mend."""

from pathlib import Path

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from raypipe.contracts.records import TrainingSet
from raypipe.contracts.signature import Signature
from raypipe.errors import TrainingError
from raypipe.training.trainer import Examples

LABEL = "label"
PERIODS = ("train", "tune", "holdout")


def read(training_set: TrainingSet, period: str, beside: tuple[str, ...] = ()) -> pl.DataFrame:
    """The features and the label of one period: train, tune or holdout; then the columns ``beside`` them.

    Raises:
        TrainingError: it cannot be read, has no rows, or only one of the two labels.
    """
    path = Path(training_set.folder) / f"{period}.parquet"
    where = f"{training_set.pipeline}: period {period}"
    try:
        frame = pl.read_parquet(path, columns=list(dict.fromkeys([*training_set.features, LABEL, *beside])), glob=False)
    except (OSError, PolarsError) as error:
        what = f"{path} cannot be read: {str(error).splitlines()[0]}"
        raise TrainingError(what, where=where, cure="Build the training set again") from None
    if frame[LABEL].null_count():
        raise TrainingError(f"{frame[LABEL].null_count():,} rows have no label", where=where)
    _check_labels(frame.height, int(frame[LABEL].sum()), where)
    for name in training_set.features:
        if frame[name].dtype.is_float() and (infinite := int(frame[name].is_infinite().sum())):
            what = f"feature `{name}` is infinite in {infinite:,} rows"
            raise TrainingError(what, where=where, cure="Guard its division, or let it be null there")
    return frame


def check_counts(training_set: TrainingSet) -> None:
    """What can be known of every period without reading it; the holdout is not read before a model is chosen.

    Raises:
        TrainingError: a period has no rows, or only one of the two labels.
    """
    for period in PERIODS:
        rows, positives = training_set.rows.get(period, 0), training_set.positives.get(period, 0)
        _check_labels(rows, positives, f"{training_set.pipeline}: period {period}")


def _check_labels(rows: int, positives: int, where: str) -> None:
    if not rows:
        raise TrainingError("has no rows", where=where, cure="Widen the period, or ingest more history")
    if positives in {0, rows}:
        what = f"all {rows:,} labels are {'true' if positives else 'false'}"
        raise TrainingError(what, where=where, cure="Widen the period, or predict something that varies")


def learn_signature(train: pl.DataFrame, features: tuple[str, ...], pipeline: str) -> Signature:
    """The model's inputs as the training period shows them.

    Raises:
        TrainingError: a feature never varies.
    """
    for name in features:
        if train[name].n_unique() == 1:
            value = "missing" if train[name][0] is None else f"{train[name][0]!r}"
            raise TrainingError(
                f"feature `{name}` is {value} in all {train.height:,} rows, so nothing can be learned from it",
                where=f"{pipeline}: period train",
                cure="Remove it from the inputs, or widen the period",
            )
    return Signature.fit(train, features)


def examples(frame: pl.DataFrame, signature: Signature) -> Examples:
    """A period as a matrix and its labels."""
    return Examples(signature.encode(frame), frame[LABEL].cast(pl.Float32).to_numpy())


def together(first: Examples, second: Examples) -> Examples:
    """The rows of both."""
    return Examples(np.concatenate([first.x, second.x]), np.concatenate([first.y, second.y]))
