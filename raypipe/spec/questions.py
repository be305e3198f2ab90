"""The columns of a training set, and of what a candidate answers to it, with their types as the definition has them."""

import polars as pl
from polars.exceptions import PolarsError

from raypipe.spec.lint.inputs import feature_types
from raypipe.spec.lint.sources import TIME, columns, type_of
from raypipe.spec.pipeline import Pipeline

#: What stands beside fields and features: when it was asked, the truth, the period; and what a candidate says.
ASKED_AT, LABEL, PERIOD, PREDICTION = "asked_at", "label", "period", "prediction"


def training_columns(pipeline: Pipeline) -> dict[str, pl.DataType | None]:
    """Request fields, ``asked_at``, the features, ``label`` and ``period``; None where the type cannot be told."""
    known = feature_types(pipeline)
    named = dict.fromkeys((*pipeline.request.fields, ASKED_AT, *pipeline.feature_names, LABEL, PERIOD))
    types: dict[str, pl.DataType | None] = {name: known.get(name) for name in named}
    return types | {ASKED_AT: TIME, LABEL: _label_type(pipeline), PERIOD: pl.String()}


def answer_columns(pipeline: Pipeline) -> dict[str, pl.DataType | None]:
    """The columns of the holdout, and ``prediction``: the most probable class of several, else a number."""
    prediction = pl.String() if pipeline.label.task == "multiclass" else pl.Float64()
    held = {name: kind for name, kind in training_columns(pipeline).items() if name != PERIOD}
    return held | {PREDICTION: prediction}


def _label_type(pipeline: Pipeline) -> pl.DataType | None:
    try:
        return type_of(pipeline.label.truth, columns(pipeline.label.stream))
    except PolarsError:
        return None  # its own rule has told the fault
