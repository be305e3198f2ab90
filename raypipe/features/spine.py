"""The questions that history could have asked: when, with what, and what the answer turned out to be."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

import polars as pl

from raypipe.features.plan import known_at
from raypipe.spec import PARTS, Periods, Pipeline, Shares, Stream, micros
from raypipe.spec.shape import known_from
from raypipe.spec.sources import Label

ASKED_AT = "asked_at"
LABEL = "label"
PERIOD = "__period"
#: What helps to split rows goes by names of this kind, and is dropped.
_OWN = "__own_"
_REASON, _BESIDE, _DRAWN, _PLACE = "__reason", f"{_OWN}beside", f"{_OWN}drawn", f"{_OWN}place"
_TOLD = f"{_OWN}told"
_UTC = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class Spine:
    """One row a question, by time of asking, then id: request fields, ``asked_at``, ``label``, ``__period``.

    ``left_out`` counts the rows of the asked stream that are no questions, by reason.
    """

    frame: pl.DataFrame
    left_out: dict[str, int]


def spine(pipeline: Pipeline, table: pl.LazyFrame, as_of: int) -> Spine:
    """Questions from the rows of what is asked about.

    A row is left out when it lacks a field that a live request must give, or when it has no label. Where rows have a
    time, also when it is asked in none of the periods, when its label was not settled, or a column that it is made
    of not known, by the start of the next period (of the last: by ``as_of``), or when an earlier period has its value
    of the column that is kept apart.

    Args:
        pipeline: says what is asked, when, and what is right.
        table: the rows of what is asked about.
        as_of: nothing known later is used; microseconds UTC.
    """
    split = pipeline.split
    if isinstance(split, Shares):
        judged, order = _by_chance(pipeline, split, table), [_PLACE]
    else:
        judged, order = _by_time(pipeline, split, table, as_of), [ASKED_AT, *_ids(pipeline)]
    kept = judged.filter(pl.col(_REASON).is_null()).sort(order).drop(_REASON, f"^{_OWN}.*$")
    counted = judged.group_by(_REASON).len().sort(_REASON).drop_nulls()
    questions, left_out = pl.collect_all([kept.with_columns(pl.col(ASKED_AT).cast(_UTC)), counted])
    return Spine(questions, dict(left_out.iter_rows()))


def asked_at(pipeline: Pipeline) -> pl.Expr:
    """When each row is asked about, microseconds UTC; null for rows without time."""
    ask = pipeline.ask
    moment = pl.col(ask.moment).cast(pl.Int64) if ask.timed else pl.lit(None, dtype=pl.Int64)
    return (moment - micros(ask.lead)).alias(ASKED_AT)


def _select(pipeline: Pipeline, table: pl.LazyFrame, beside: str) -> pl.LazyFrame:
    """What a question needs, with ``beside``, the column that the split looks at, as ``__own_beside``."""
    ids = [pl.col(name).alias(own) for name, own in zip(pipeline.ask.stream.id, _ids(pipeline), strict=True)]
    extra = [pl.col(beside).alias(_BESIDE)] if beside else []
    label = pipeline.label.truth.polars.alias(LABEL)
    told = [_told(pipeline.label).alias(_TOLD)] if pipeline.ask.timed else []
    return table.select(*pipeline.request.fields, asked_at(pipeline), label, *ids, *extra, *told)


def _told(label: Label) -> pl.Expr:
    """When the last column that a label is made of was known; null where no moment that reveals one ever came."""
    since = known_from(label.stream)
    moments = sorted({moment for root in label.truth.roots if (moment := since[root]) is not None})
    if not moments or not isinstance(label.stream, Stream):
        return pl.lit(None, dtype=pl.Int64)
    revealed = pl.max_horizontal(moments)
    return pl.when(revealed.is_not_null()).then(
        pl.max_horizontal(revealed.cast(pl.Int64), known_at(label.stream, revealed))
    )


def _ids(pipeline: Pipeline) -> list[str]:
    return [f"{_OWN}id{i}" for i in range(len(pipeline.ask.stream.id))]


def _by_time(pipeline: Pipeline, split: Periods, table: pl.LazyFrame, as_of: int) -> pl.LazyFrame:
    period, cutoff = _periods(split, as_of)
    settled = pl.max_horizontal(pl.col(ASKED_AT) + micros(pipeline.label.settled_after), _TOLD)
    reasons = [
        *_lacking(pipeline),
        pl.when(pl.col(PERIOD).is_null()).then(pl.lit("outside the periods")),
        pl.when(settled > cutoff).then(pl.lit("label not settled")),
        pl.when(pl.col(LABEL).is_null()).then(pl.lit("no label")),
    ]
    frame = _select(pipeline, table, split.apart).with_columns(period.alias(PERIOD))
    judged = frame.with_columns(pl.coalesce(reasons).alias(_REASON))
    if not split.apart:
        return judged
    place = pl.col(PERIOD).replace_strict(list(PARTS), range(len(PARTS)), default=None, return_dtype=pl.Int8)
    first = place.filter(pl.col(_REASON).is_null()).min().over(_BESIDE)
    again = pl.col(_BESIDE).is_not_null() & (place > first)
    why = pl.when(again).then(pl.lit(f"{split.apart} is in an earlier period"))
    return judged.with_columns(pl.coalesce(_REASON, why).alias(_REASON))


def _by_chance(pipeline: Pipeline, split: Shares, table: pl.LazyFrame) -> pl.LazyFrame:
    """The part is told by the hash of what stays together, the order of the rows by that of their keys."""
    frame = _select(pipeline, table, split.together)
    units = frame.select(_ids(pipeline)[0] if not split.together else _BESIDE).collect().to_series()
    keys = frame.select(_ids(pipeline)[0]).collect().to_series()
    drawn = pl.Series(_DRAWN, [_chance(split.seed, unit) for unit in units], dtype=pl.Float64)
    order = pl.Series(_PLACE, [_chance(split.seed, key) for key in keys], dtype=pl.Float64)
    first, second = split.train / 100, (split.train + split.tune) / 100
    part = pl.when(pl.col(_DRAWN) < first).then(pl.lit("train")).when(pl.col(_DRAWN) < second).then(pl.lit("tune"))
    reasons = [*_lacking(pipeline), pl.when(pl.col(LABEL).is_null()).then(pl.lit("no label"))]
    whole = frame.collect().with_columns(drawn, order).lazy()
    return whole.with_columns(part.otherwise(pl.lit("holdout")).alias(PERIOD), pl.coalesce(reasons).alias(_REASON))


def _chance(seed: int, key: object) -> float:
    """A number from 0 to 1 that a key has for ever, whatever the library's version."""
    digest = blake2b(f"{seed}|{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _lacking(pipeline: Pipeline) -> Iterator[pl.Expr]:
    request = pipeline.request
    for field in request.fields:
        if field not in request.optional:
            yield pl.when(pl.col(field).is_null()).then(pl.lit(f"no {field}"))


def _periods(split: Periods, as_of: int) -> tuple[pl.Expr, pl.Expr]:
    """The period that a question is asked in, and when its label must be settled."""
    asked = pl.col(ASKED_AT)
    period, cutoff = pl.lit(None, dtype=pl.String), pl.lit(as_of, dtype=pl.Int64)
    for name, start, end, limit in limits(split, as_of):
        inside = (asked >= start) & (asked < end)
        period = pl.when(inside).then(pl.lit(name)).otherwise(period)
        cutoff = pl.when(inside).then(pl.lit(limit, dtype=pl.Int64)).otherwise(cutoff)
    return period, cutoff


def limits(split: Periods, as_of: int) -> Iterator[tuple[str, int, int, int]]:
    """Name, start and end of each period, and by when a label must be settled to count in it."""
    items = list(split.items())
    starts = [_micros(start) for _, (start, _) in items]
    for (name, (start, end)), following in zip(items, [*starts[1:], as_of], strict=True):
        yield name, _micros(start), _micros(end), min(following, as_of)


def _micros(moment: datetime) -> int:
    return round(moment.timestamp()) * 1_000_000
