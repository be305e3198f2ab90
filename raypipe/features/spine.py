"""The questions that history could have asked: when, with what, and what the answer turned out to be."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from raypipe.spec import Pipeline, micros

ASKED_AT = "asked_at"
LABEL = "label"
PERIOD = "__period"
_REASON = "__reason"
_UTC = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Spine:
    """One row a question, by time of asking, then id: request fields, ``asked_at``, ``label``, ``__period``.

    ``left_out`` counts the rows of the asked stream that are no questions, by reason.
    """

    frame: pl.DataFrame
    left_out: dict[str, int]


def spine(pipeline: Pipeline, table: pl.LazyFrame, as_of: int) -> Spine:
    """Questions from the rows of the asked stream.

    A row is left out when it lacks a field that a live request must give, when it is asked in none of the periods, when
    its label was not settled by the start of the next period (of the last: by ``as_of``), or when it has no label.

    Args:
        pipeline: says what is asked, when, and what is right.
        table: the rows of the asked stream.
        as_of: nothing known later is used; microseconds UTC.
    """
    ask, request = pipeline.ask, pipeline.request
    asked_at = (pl.col(ask.moment).cast(pl.Int64) - micros(ask.lead)).alias(ASKED_AT)
    ids = [pl.col(name).alias(f"__id{i}") for i, name in enumerate(ask.stream.id)]
    period, cutoff = _periods(pipeline, as_of)
    frame = table.select(*request.fields, asked_at, pipeline.label.truth.polars.alias(LABEL), *ids)
    judged = frame.with_columns(period.alias(PERIOD)).with_columns(_first_reason(pipeline, cutoff).alias(_REASON))
    kept = judged.filter(pl.col(_REASON).is_null()).sort(ASKED_AT, pl.col("^__id[0-9]+$")).drop(_REASON, "^__id[0-9]+$")
    counted = judged.group_by(_REASON).len().sort(_REASON).drop_nulls()
    questions, left_out = pl.collect_all([kept.with_columns(pl.col(ASKED_AT).cast(_UTC)), counted])
    return Spine(questions, dict(left_out.iter_rows()))


def _first_reason(pipeline: Pipeline, cutoff: pl.Expr) -> pl.Expr:
    request, settled = pipeline.request, micros(pipeline.label.settled_after)
    required = [field for field in request.fields if field not in request.optional]
    reasons = [
        *(pl.when(pl.col(field).is_null()).then(pl.lit(f"no {field}")) for field in required),
        pl.when(pl.col(PERIOD).is_null()).then(pl.lit("outside the periods")),
        pl.when(pl.col(ASKED_AT) + settled > cutoff).then(pl.lit("label not settled")),
        pl.when(pl.col(LABEL).is_null()).then(pl.lit("no label")),
    ]
    return pl.coalesce(reasons)


def _periods(pipeline: Pipeline, as_of: int) -> tuple[pl.Expr, pl.Expr]:
    """The period that a question is asked in, and when its label must be settled."""
    asked = pl.col(ASKED_AT)
    period, cutoff = pl.lit(None, dtype=pl.String), pl.lit(as_of, dtype=pl.Int64)
    for name, start, end, limit in limits(pipeline, as_of):
        inside = (asked >= start) & (asked < end)
        period = pl.when(inside).then(pl.lit(name)).otherwise(period)
        cutoff = pl.when(inside).then(pl.lit(limit, dtype=pl.Int64)).otherwise(cutoff)
    return period, cutoff


def limits(pipeline: Pipeline, as_of: int) -> Iterator[tuple[str, int, int, int]]:
    """Name, start and end of each period, and by when a label must be settled to count in it."""
    items = list(pipeline.split.items())
    starts = [_micros(start) for _, (start, _) in items]
    for (name, (start, end)), following in zip(items, [*starts[1:], as_of], strict=True):
        yield name, _micros(start), _micros(end), min(following, as_of)


def _micros(moment: datetime) -> int:
    return round(moment.timestamp()) * 1_000_000
