"""What became of predictions, by version, arm and segment: errors, latency, business figures, out of the logs."""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import polars as pl

from raypipe.contracts.logs import opened
from raypipe.contracts.records import Record
from raypipe.flows.measure import Measure
from raypipe.serving.fields import request_fields
from raypipe.spec import Pipeline
from raypipe.stats.estimate import mean, wilson

Interval = tuple[float, float, float]
#: Of a prediction log what is read here: its features are most of it.
PREDICTED = ("request_id", "row", "version", "arm", "score", "label", "category", "latency", "request")
#: What columns of `joined` begin with.
SEGMENT, VALUE = "segment:", "value:"


class Outcome(Record, frozen=True, kw_only=True):
    """What became of the predictions of one version in one arm, or of those with one value of a request field.

    Attributes:
        version: of the model.
        arm: the part it played.
        segment: empty for all, else the field and its value, written ``origin=JFK``.
        predictions: how many were answered.
        labelled: of these, how many have a label.
        loss: the mean loss, see `raypipe.contracts.judged`; None without labels.
        error: the share of errors, with its interval; None without labels, and where it is unknown what an error is.
        p50_ms: half were answered within,
        p99_ms: and 99 of 100.
        outcomes: the mean of each figure that was told as feedback.
        value: the mean of each figure that the pipeline declares, with its interval.
    """

    version: int
    arm: str
    segment: str
    predictions: int
    labelled: int
    loss: float | None
    error: Interval | None
    p50_ms: float
    p99_ms: float
    outcomes: dict[str, float]
    value: dict[str, Interval]

    @property
    def who(self) -> str:
        """For people, such as ``version 3, champion, origin=JFK``."""
        return ", ".join(filter(None, (f"version {self.version}", self.arm, self.segment)))


def outcomes(
    predictions: pl.DataFrame, feedback: pl.DataFrame, pipeline: Pipeline, measure: Measure, by: Sequence[str] = ()
) -> Iterator[Outcome]:
    """Of every version and arm in a log, and then of every value of some request fields in each.

    Args:
        predictions: rows of the prediction log, at least the columns `PREDICTED`.
        feedback: rows of the feedback log.
        pipeline: declares figures.
        measure: of its answers.
        by: request fields; one that the log does not keep is *missing* everywhere.
    """
    rows = joined(predictions, feedback, pipeline, measure, by)
    for (version, arm), part in _grouped(rows, "version", "arm"):
        yield _outcome(measure, pipeline, int(str(version)), str(arm), "", part)
    for field in by:
        for (version, arm, value), part in _grouped(rows, "version", "arm", SEGMENT + field):
            yield _outcome(measure, pipeline, int(str(version)), str(arm), f"{field}={value}", part)


def joined(
    predictions: pl.DataFrame, feedback: pl.DataFrame, pipeline: Pipeline, measure: Measure, by: Sequence[str] = ()
) -> pl.DataFrame:
    """The predictions with ``told`` and ``truth`` (`Measure.beside`), ``outcomes``, ``segment:…``, ``value:…``."""
    scored = segmented(predictions.filter(pl.col("score").is_not_null()), by)
    rows = measure.beside(scored, feedback)
    return rows.with_columns(_figures(rows, pipeline, measure)) if pipeline.value else rows


def segmented(predictions: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """The predictions with ``segment:…`` of some request fields, each worked out once."""
    return predictions.with_columns(
        pl.col("request").str.json_path_match(f"$.{field}").fill_null("missing").alias(SEGMENT + field)
        for field in by
        if SEGMENT + field not in predictions.columns
    )


def _figures(rows: pl.DataFrame, pipeline: Pipeline, measure: Measure) -> list[pl.Series]:
    roots = {root for figure in pipeline.value.values() for root in figure.roots}
    asked = {field.name: field.dtype for field in request_fields(pipeline) if field.name in roots}
    told = {name: pl.Float64() for name in roots - set(asked) - {"score", "label", "truth"}}
    # To its author what was decided, and what is true of it, is what callers were told and what they tell.
    decided = "category" if measure.target.classes else "label"
    answer = (pl.col(decided).alias("label"), pl.col("told").alias("truth"))
    frame = rows.select("score", *answer, "request", pl.col("outcomes").fill_null("{}"))
    frame = opened(opened(frame, "request", asked), "outcomes", told)
    # What nobody has told yet is not false: a row counts for a figure once all is known that the figure reads.
    return [
        frame.select(
            pl.when(
                pl.all_horizontal(pl.lit(1) == 1, *(pl.col(n).is_not_null() for n in figure.roots if n not in asked))
            )
            .then(figure.polars.cast(pl.Float64))
            .alias(VALUE + name)
        ).to_series()
        for name, figure in pipeline.value.items()
    ]


def _grouped(rows: pl.DataFrame, *by: str) -> Iterator[tuple[tuple[object, ...], pl.DataFrame]]:
    yield from rows.sort(*by).group_by(*by, maintain_order=True)


def _outcome(measure: Measure, pipeline: Pipeline, version: int, arm: str, segment: str, rows: pl.DataFrame) -> Outcome:
    known = rows.drop_nulls("truth")
    lost = measure.losses(known["score"].to_numpy(), known["truth"].to_numpy())
    wrong = None if measure.wrong is None else int(known.select(measure.wrong.sum()).item())
    error = None if wrong is None or not len(known) else wilson(wrong, len(known))
    latency = rows["latency"].cast(pl.Float64) / 1e3
    known_of = {name: rows[VALUE + name].drop_nulls().to_numpy() for name in pipeline.value}
    values = {name: mean(of) for name, of in known_of.items() if len(of)}
    return Outcome(
        version=version,
        arm=arm,
        segment=segment,
        predictions=rows.height,
        labelled=known.height,
        loss=float(lost.mean()) if len(known) else None,
        error=None if error is None else (error.value, error.low, error.high),
        p50_ms=float(latency.quantile(0.5) or 0.0),
        p99_ms=float(latency.quantile(0.99) or 0.0),
        outcomes=_told(rows["outcomes"].drop_nulls()),
        value={name: (one.value, one.low, one.high) for name, one in values.items()},
    )


def _told(told: pl.Series) -> dict[str, float]:
    sums: dict[str, tuple[list[float], list[int]]] = {}
    # Many are told the same, most of them nothing.
    for text, times in told.value_counts(sort=True).rows():
        for name, value in msgspec.json.decode(text, type=dict[str, float | None]).items():
            if value is not None:
                values, weights = sums.setdefault(name, ([], []))
                values.append(value)
                weights.append(times)
    return {name: float(np.average(values, weights=weights)) for name, (values, weights) in sorted(sums.items())}
