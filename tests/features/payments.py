"""A small made-up pipeline with every kind of aggregate, and the three ways to its features."""

import math
import sys
from datetime import datetime, timedelta

import polars as pl
import polars.selectors as cs

from raypipe.contracts.progress import Silent
from raypipe.features import OnlineFeatures, materialize
from raypipe.features.plan import plan
from raypipe.features.reading import Tables
from raypipe.features.training_set import group_features
from raypipe.spec import (
    Derived,
    FeatureGroup,
    FrozenMap,
    Pipeline,
    Search,
    Stream,
    agg,
    changed,
    csv,
    days,
    hours,
    minutes,
    models,
    periods,
    request,
)
from tests.features import oracle
from tests.features.flights import snapshot
from tests.features.memory import MemoryStore

AMOUNT = pl.col("amount")
LEAD = minutes(10)
SIZE = "size of "


#: Given as a delay: every payment says when it was published.
EACH_ITS_OWN = timedelta(microseconds=7)


def payments(delay: timedelta) -> Stream:
    return Stream(
        "payments",
        csv("payments.csv"),
        id=["id"],
        time="at",
        columns={str: "id user kind", int: "shop units", float: "amount", datetime: "at out", bool: "refund"},
        delay=delay,
        published="out" if delay == EACH_ITS_OWN else None,
    )


def groups(stream: Stream) -> list[FeatureGroup]:
    by_user = stream.by("user").features(
        count_10m=agg.count(minutes(10)),
        amounts_1h=agg.count(hours(1), "amount"),
        sum_1h=agg.sum("amount", hours(1)),
        sum_30d=agg.sum("amount", days(30)),
        mean_10m=agg.mean("amount", minutes(10)),
        mean_3d=agg.mean("amount", days(3)),
        std_1h=agg.std("amount", hours(1)),
        min_1h=agg.min("amount", hours(1)),
        max_3d=agg.max("amount", days(3)),
        first_1h=agg.first("amount", hours(1)),
        last_1h=agg.last("amount", hours(1)),
        median_3d=agg.percentile("amount", 0.5, days(3)),
        p90_1h=agg.percentile("amount", 0.9, hours(1)),
        lowest_3d=agg.percentile("amount", 1e-7, days(3)),
        third_3d=agg.percentile("amount", 0.3333334, days(3)),
        highest_1h=agg.percentile("amount", 1.0, hours(1)),
        kinds_3d=agg.distinct("kind", days(3)),
        amounts_3d=agg.distinct("amount", days(3)),
        last_amount=agg.last("amount"),
        last_kind=agg.last("kind", max_age=hours(12)),
        since=agg.since(),
        since_2h=agg.since(max_age=hours(2)),
        tenure=agg.tenure(),
        fading=agg.decayed_sum("amount", half_life=hours(6)),
        faded_count=agg.decayed_count(half_life=hours(6)),
        faded_mean=agg.decayed_mean("amount", half_life=hours(6)),
    )
    by_user_and_shop = stream.by("user", "shop").features(
        pair_refunds_1d=agg.mean("refund", days(1), tail=timedelta(0)),
        pair_units_odd_tail=agg.sum("units", minutes(45), tail=minutes(7)),
        pair_large_3d=agg.mean((AMOUNT > 10).cast(pl.Float64), days(3)),
        pair_first_kind=agg.first("kind", days(1)),
        pair_last_kind=agg.last("kind", days(1)),
        pair_last_units_odd_tail=agg.last("units", minutes(45), tail=minutes(7)),
        pair_last_refund=agg.last("refund"),
        pair_last_at=agg.last("at", max_age=days(1)),
        pair_units=agg.last("units"),
        pair_tenure=agg.tenure(),
    )
    return [by_user, by_user_and_shop]


def pipeline(delay: timedelta, *more: Derived | FeatureGroup) -> Pipeline:
    asks = Stream(
        "asks",
        csv("asks.csv"),
        id=["id"],
        time="due",
        columns={str: "id user", int: "shop", datetime: "due", bool: "late"},
        derive={"settled": pl.col("due")},
        reveals={"settled": ["late"]},
    )
    return Pipeline(
        "payments",
        ask=asks.before("due", LEAD),
        inputs=[request("user", "due", optional=("shop",)), *groups(payments(delay)), *more],
        label=asks.label(pl.col("late"), settled_after=hours(1)),
        split=periods(train="2013-01", tune="2013-02", holdout="2013-03"),
        search=Search([models.Linear()], trials=1),
    )


SCHEMA = {
    "id": pl.String(), "user": pl.String(), "shop": pl.Int64(), "kind": pl.String(), "units": pl.Int64(),
    "amount": pl.Float64(), "refund": pl.Boolean(), "at": pl.Datetime("us", "UTC"),
    "out": pl.Datetime("us", "UTC"),
}  # fmt: skip
TIME = pl.Datetime("us", "UTC")


def frame_of(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def asked_frame(asks: list[tuple[str | None, int | None, int]]) -> pl.DataFrame:
    columns = {"user": pl.String(), "shop": pl.Int64(), "asked_at": pl.Int64()}
    return pl.DataFrame(asks, schema=columns, orient="row").with_columns(pl.col("asked_at").cast(TIME))


def offline(
    delay: timedelta, rows: pl.DataFrame, asked: pl.DataFrame, as_of: int, rows_at_once: int = 1_000_000
) -> pl.DataFrame:
    tables = tables_of(delay, rows, rows_at_once)
    made = [group_features(plan(group), tables, asked, as_of) for group in tables.pipeline.groups]
    return pl.DataFrame([column for columns in made for column in columns])


def tables_of(delay: timedelta, rows: pl.DataFrame, rows_at_once: int = 1_000_000) -> Tables:
    nothing = pl.DataFrame(schema={"id": pl.String})
    snapshots = {"payments": snapshot("payments", 1, rows), "asks": snapshot("asks", 1, nothing)}
    return Tables(pipeline(delay), snapshots, lambda one: {"payments": rows}[one.table].lazy(), rows_at_once)


def online(delay: timedelta, rows: pl.DataFrame, asked: pl.DataFrame, as_of: int) -> pl.DataFrame:
    tables, store = tables_of(delay, rows), MemoryStore()
    materialize(tables.pipeline, tables.snapshots, tables.read, store, as_of, Silent())
    requests = asked.select("user", (pl.col("asked_at") + LEAD).alias("due"), "shop")
    return OnlineFeatures(tables.pipeline, store).compute(requests)


def expected(delay: timedelta, rows: pl.DataFrame, asked: pl.DataFrame, as_of: int) -> list[dict[str, object]]:
    seen = rows.to_dicts()
    answers: list[dict[str, object]] = [{} for _ in range(asked.height)]
    for group in groups(payments(delay)):
        values = {
            name: [] if one.value is None else rows.select(one.value.polars.alias("v"))["v"].to_list()
            for name, one in group.features.items()
        }
        for answer, row in zip(answers, asked.to_dicts(), strict=True):
            key = tuple(row[part] for part in group.asked)
            q = oracle.micros(row["asked_at"])
            answer.update(oracle.features(group, seen, values, key, q, as_of))
            # Beside what fades the same of absolute values: where values cancel, rounding is a share of this.
            fades = changed(group, features=FrozenMap({n: one for n, one in group.features.items() if one.half_life}))
            sizes = {n: [v if v is None else abs(v) for v in values[n]] for n in fades.features}
            sizes = oracle.features(fades, seen, sizes, key, q, as_of)
            answer.update({f"{SIZE}{name}": size for name, size in sizes.items()})
    return answers


def signed(value: object) -> object:
    """A double's sign, which tells one zero from the other."""
    return math.copysign(1, value) if isinstance(value, float) else None


def bits(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with doubles as their bits: two zeros are not the same."""
    return frame.with_columns(cs.float().reinterpret(dtype=pl.Int64))


def differences(found: pl.DataFrame, truth: list[dict[str, object]]) -> list[str]:
    """Where the features are not what they must be: the same bits, but for decay and deviations.

    What fades may be off by a share of what was added up, and by what values below 1e-288 lose.
    """
    wrong = []
    for place, (row, answer) in enumerate(zip(found.to_dicts(), truth, strict=True)):
        for name, value in answer.items():
            if name.startswith(SIZE):
                continue
            got = row[name]
            if got == value and signed(got) == signed(value):
                continue
            close = isinstance(got, float) and isinstance(value, float)
            if close and name.startswith(("std", "mean", "pair_refunds", "pair_large")):
                close = abs(got - value) <= 1e-15 * abs(value) + 5e-324
            elif close and name.startswith("fad"):
                size = min(answer[f"{SIZE}{name}"], sys.float_info.max)
                close = math.isfinite(got) and abs(got - value) <= 1e-12 * size + 1e-302
            else:
                close = False
            if not close:
                wrong.append(f"question {place}: {name} is {got!r}, must be {value!r}")
    return wrong
