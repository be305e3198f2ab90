"""The way through Ray Data: a fault in one piece of the work fails all of it."""

import re
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.features import reading, training_set
from raypipe.features.plan import GroupPlan
from raypipe.features.training_set import build_training_set, group_features
from raypipe.lake.portions import Portion
from raypipe.spec import Pipeline, agg, days, request
from raypipe.stats.arrays import Ints
from tests.features import payments
from tests.features.histories import AS_OF, history

NOW = timedelta(0)
#: When the planted question is asked.
PLANTED = 7


class Broken(GroupPlan):
    """Fails in the one part of the work that has a certain question; within one process it would not."""

    def edges(self, asked: Ints) -> Ints:
        if len(asked) < 100 and (asked == PLANTED).any():
            raise ValueError("planted in a part")
        return super().edges(asked)


def broken(whole: GroupPlan) -> GroupPlan:
    return Broken(*(getattr(whole, one.name) for one in fields(whole)))


def numbers() -> pl.Expr:
    """Only where each kind is a number."""
    return pl.col("kind").cast(pl.Int64)


def laid_out(folder: Path, rows: pl.DataFrame) -> list[Portion]:
    """Rows in three files by user."""
    files = [str(folder / f"{i}.parquet") for i in range(3)]
    edges = (None, "hot", "u2", None)
    portions = [Portion("user", a, b, (path,), {}) for a, b, path in zip(edges, edges[1:], files, strict=False)]
    for portion, path in zip(portions, files, strict=True):
        rows.filter(portion.holds(pl.col("user"))).write_parquet(path)
    return portions


def errors(work: Callable[[], object]) -> str:
    try:
        work()
    except Exception as error:  # noqa: BLE001  # whatever Ray makes of it
        return str(error)
    return ""


@pytest.mark.slow
def test_a_fault_in_one_piece_fails_the_run(ray_local: None, tmp_path: Path) -> None:
    """In a block, in a part, in a portion. The rows that one process would read are without fault: none reads them."""
    import ray
    import ray.data

    rows, asked = history(6, 600, 150)
    good = rows.with_columns(kind=pl.lit("3"))
    bad = good.with_columns(kind=pl.when(pl.col("user") == "u3").then(pl.lit("x")).otherwise("kind"))
    blocks = [part.to_arrow() for part in bad.sort("user").iter_slices(200)]
    portions = laid_out(tmp_path, bad)
    group = payments.payments(NOW).by("user").features(number=agg.sum(numbers(), days(1)))
    whole = payments.pipeline(NOW)
    same = {name: getattr(whole, name) for name in ("ask", "label", "split", "search")}
    pipeline = Pipeline("payments", inputs=[request("user", "due", optional=("shop",)), group], **same)
    questions = asked.select(
        id=pl.int_range(pl.len()).cast(pl.String), user="user", shop="shop",
        due=pl.col("asked_at") + payments.LEAD, late=pl.lit(value=True), settled=pl.col("asked_at") + payments.LEAD,
    )  # fmt: skip
    snapshots = payments.tables_of(NOW, good).snapshots
    among = asked.with_columns(pl.lit(PLANTED).cast(payments.TIME).alias("asked_at")).head(1)
    folder = tmp_path / "sets"

    @ray.remote(num_cpus=0)
    def spread_out() -> tuple[list[str], list[Path]]:
        tables = payments.tables_of(NOW, good)
        tables.spread_rows = 1
        tables.scan = lambda _, columns: ray.data.from_arrow(blocks).select_columns(list(columns))
        read = {"payments": good, "asks": questions}

        def whole_run() -> object:
            return build_training_set(
                pipeline, snapshots, lambda one: read[one.table].lazy(), folder, AS_OF, Silent(), scan=tables.scan
            )

        def in_a_part() -> object:
            one = broken(payments.plan(payments.groups(payments.payments(NOW))[0]))
            return group_features(one, tables, pl.concat([asked, among]), AS_OF)

        def in_a_portion() -> object:
            tables.laid = lambda _, by: portions if by == "user" else None
            return group_features(payments.plan(group), tables, asked, AS_OF)

        with patch.object(training_set, "PARTS", 3), patch.object(reading, "SPREAD_ROWS", 1):
            return [errors(whole_run), errors(in_a_part), errors(in_a_portion)], list(folder.iterdir())

    (block, part, portion), left = ray.get(spread_out.remote(), timeout=150)
    told = r"test_spread\.py:\d+: an expression does not fit what is there: conversion from `str` [^\n]+"
    assert re.fullmatch(told, block), block
    assert "planted in a part" in part
    assert re.fullmatch(told, portion), portion
    assert left == []
