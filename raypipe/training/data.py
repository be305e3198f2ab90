"""A training set's periods as matrices, and the faults that no search can mend."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from raypipe.contracts.records import TrainingSet
from raypipe.contracts.signature import Signature
from raypipe.contracts.target import BINARY, Target
from raypipe.errors import TrainingError, did_you_mean
from raypipe.spec import Label, Periods, Pipeline, Search, micros
from raypipe.training.trainer import Examples, Vector

LABEL, ASKED_AT = "label", "asked_at"
PERIODS = ("train", "tune", "holdout")


@dataclass(frozen=True)
class Fold:
    """One step through the tuning period.

    Its rows ``start`` to ``end`` are judged by a model that learned from the training period and from the first
    ``known`` rows of the tuning period.
    """

    known: int
    start: int
    end: int


def read(
    training_set: TrainingSet, period: str, beside: tuple[str, ...] = (), features: tuple[str, ...] | None = None
) -> pl.DataFrame:
    """The features, or some of them, and the label of one period: train, tune or holdout; then columns ``beside`` them.

    Raises:
        TrainingError: it cannot be read, has no rows, or only one of the two labels.
    """
    path = Path(training_set.folder) / f"{period}.parquet"
    where = f"{training_set.pipeline}: period {period}"
    names = training_set.features if features is None else features
    try:
        frame = pl.read_parquet(path, columns=list(dict.fromkeys([*names, LABEL, *beside])), glob=False)
    except (OSError, PolarsError) as error:
        what = f"{path} cannot be read: {str(error).splitlines()[0]}"
        raise TrainingError(what, where=where, cure="Build the training set again") from None
    if frame[LABEL].null_count():
        raise TrainingError(f"{frame[LABEL].null_count():,} rows have no label", where=where)
    _check_labels(frame, where)
    for name in names:
        if frame[name].dtype.is_float() and (infinite := int(frame[name].is_infinite().sum())):
            what = f"feature `{name}` is infinite in {infinite:,} rows"
            raise TrainingError(what, where=where, cure="Guard its division, or let it be null there")
    return frame


def check_counts(training_set: TrainingSet) -> None:
    """What can be known of every period before the search: of the holdout only whether its labels differ is looked at.

    Raises:
        TrainingError: a period has no rows, or only one label.
    """
    for period in PERIODS:
        rows, positives = training_set.rows.get(period, 0), training_set.positives.get(period)
        where = f"{training_set.pipeline}: period {period}"
        if not rows:
            raise _no_rows(training_set, where)
        if positives in {0, rows}:
            raise _same_label(rows, "true" if positives else "false", where)
        if positives is None and rows and (only := _only_label(training_set, period)) is not None:
            raise _same_label(rows, only, where)


def _no_rows(training_set: TrainingSet, where: str) -> TrainingError:
    """An empty period, with what took its rows: the reasons for which most rows were left out."""
    left = sorted(((rows, why) for why, rows in training_set.left_out.items() if rows), reverse=True)
    if not left:
        return TrainingError("has no rows", where=where, cure="Widen the period, or ingest more history")
    told = ", ".join(f"{rows:,} {_REASONS.get(why, why)}" for rows, why in left)
    cures = [cure for words, cure in _CURES.items() if any(words in why for _, why in left)]
    cure = "; ".join([*cures, "widen the period, or ingest more history"])
    what = f"has no rows; of all periods were left out: {told}"
    return TrainingError(what, where=where, cure=cure[0].upper() + cure[1:])


#: Why rows are no examples, in the words of the training set, and what to do about it.
_REASONS = {"label not settled": "because their label was not settled when the next period begins, or by now"}
_CURES = {
    "label not settled": "shorten `settled_after`, end the periods earlier, or run again when the labels have settled",
    "is in an earlier period": "leave out `apart`, or give the earlier periods other values",
}


def _check_labels(frame: pl.DataFrame, where: str) -> None:
    _check_rows(frame.height, where)
    labels = frame[LABEL]
    if labels.dtype.is_float() and (wrong := int((~labels.is_finite()).sum())):
        cure = "Let the label be null there: such rows are left out and counted"
        raise TrainingError(f"the label is NaN or infinite in {wrong:,} rows", where=where, cure=cure)
    if labels.n_unique() == 1:
        raise _same_label(frame.height, str(labels[0]).lower(), where)


def _check_rows(rows: int, where: str) -> None:
    if not rows:
        raise TrainingError("has no rows", where=where, cure="Widen the period, or ingest more history")


def _only_label(training_set: TrainingSet, period: str) -> str | None:
    """The label that all rows of a period have; None: they differ, or cannot be read, which reading them tells."""
    try:
        labels = pl.scan_parquet(Path(training_set.folder) / f"{period}.parquet", glob=False).select(LABEL)
        first, last = labels.select(pl.min(LABEL), pl.max(LABEL).alias("last")).collect().row(0)
    except (OSError, PolarsError):
        return None
    return str(first).lower() if first == last and first is not None else None


def _same_label(rows: int, label: str, where: str) -> TrainingError:
    cure = "Widen the period, or predict something that varies"
    return TrainingError(f"all {rows:,} labels are {label}", where=where, cure=cure)


def learn_target(labels: pl.Series, label: Label) -> Target:
    """What is predicted, with the classes that the training period shows."""
    classes = tuple(labels.cast(pl.String).unique().sort()) if label.task == "multiclass" else ()
    return Target(task=label.task, classes=classes, quantile=label.quantile)


def class_weights(y: Vector, target: Target, search: Search) -> Vector | None:
    """How much each row counts, by its class; None: all the same. See `class_shares`."""
    each = class_shares(y, target, search)
    return np.asarray(each, dtype=np.float32)[y.astype(int)] if each else None


def class_shares(y: Vector, target: Target, search: Search) -> list[float]:
    """How much a row of each class counts; ``balanced``: every class together counts the same. Empty: all the same.

    Raises:
        TrainingError: a class is weighed that there is not.
    """
    weights, classes = search.class_weights, target.classes or ("false", "true")
    if weights is None:
        return []
    if isinstance(weights, str):
        counts = np.bincount(y.astype(int), minlength=len(classes))
        return list(len(y) / (len(classes) * np.maximum(counts, 1)))
    if unknown := sorted(set(weights) - set(classes)):
        cure = did_you_mean(unknown[0], classes) or f"There are {', '.join(classes)}"
        raise TrainingError(f"there is no class `{unknown[0]}` to weigh", where=search.where, cure=cure)
    return [weights.get(name, 1.0) for name in classes]


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


def examples(frame: pl.DataFrame, signature: Signature, target: Target = BINARY) -> Examples:
    """A period as a matrix and its labels."""
    return Examples(signature.encode(frame), target.encode(frame[LABEL]))


def together(first: Examples, second: Examples) -> Examples:
    """The rows of both."""
    both = None if first.w is None or second.w is None else np.concatenate([first.w, second.w])
    return Examples(np.concatenate([first.x, second.x]), np.concatenate([first.y, second.y]), both)


def folds(pipeline: Pipeline, tuning: pl.DataFrame) -> tuple[Fold, ...]:
    """The steps in which the tuning period is forecast: one, unless the split walks forward.

    Args:
        pipeline: says how many, and how long labels take to settle.
        tuning: the rows of the tuning period by time, with ``asked_at`` and ``label``.

    Raises:
        TrainingError: a step has no rows, or one label only.
    """
    split, rows = pipeline.split, tuning.height
    if not isinstance(split, Periods) or split.folds == 1:
        return (Fold(0, 0, rows),)
    asked, settled = tuning[ASKED_AT].to_physical().to_numpy(), micros(pipeline.label.settled_after)
    starts = [round(start.timestamp() * 1e6) for start in split.fold_starts]
    # A label that had not settled when the step begins was not known then.
    known = np.searchsorted(asked, [start - settled for start in starts], side="right").tolist()
    edges = [*np.searchsorted(asked, starts, side="left").tolist(), rows]
    for number, (start, end) in enumerate(pairwise(edges), 1):
        _check_labels(tuning[start:end], f"{pipeline.name}: step {number} of the tuning period")
    return tuple(Fold(*step) for step in zip(known, edges[:-1], edges[1:], strict=True))
