"""However the work is cut up, the bytes are the same."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from raypipe.features import heavy, spans, spread, training_set
from raypipe.features.plan import GroupPlan
from raypipe.features.training_set import group_features
from raypipe.lake.portions import Portion
from raypipe.spec import agg, days, hours, minutes
from raypipe.stats.tracks import Answer
from tests.features import payments
from tests.features.histories import AS_OF, DAY, START, history
from tests.features.oracle import micros
from tests.features.test_tiles import sums


def features(tables: payments.Tables, asked: pl.DataFrame) -> pl.DataFrame:
    made = [group_features(one, tables, asked, AS_OF) for one in map(payments.plan, tables.pipeline.groups)]
    return pl.DataFrame([column for columns in made for column in columns])


def test_keys_may_be_worked_on_in_parts() -> None:
    rows, asked = history(1, 4_000, 500)
    whole = features(payments.tables_of(minutes(20), rows), asked)
    for rows_at_once in (2_500, 150):
        assert features(payments.tables_of(minutes(20), rows, rows_at_once), asked).equals(whole)


def test_what_is_in_memory_at_a_time_does_not_grow_with_the_history() -> None:
    """Eight times the events are eight times the parts; the benchmark weighs it, from 10M to 50M events."""
    for many in (1_000, 8_000):
        rows, _ = history(7, many, 1)
        rows = rows.with_columns(user="u" + (pl.col("id").cast(pl.Int64) % 500).cast(pl.String))
        tables = payments.tables_of(timedelta(0), rows, rows_at_once=500)
        one = payments.plan(tables.pipeline.groups[0])
        sizes = [tables.events(one, AS_OF, part).collect().height for part in range(tables.parts(one))]
        assert sum(sizes) == many
        assert max(sizes) < 500


def test_rows_may_come_in_any_order_and_twice() -> None:
    rows, asked = history(2, 2_000, 300)
    whole = features(payments.tables_of(minutes(20), rows), asked)
    shuffled = pl.concat([rows, rows.head(500)]).sample(fraction=1.0, shuffle=True, seed=3)
    assert features(payments.tables_of(minutes(20), shuffled), asked).equals(whole)


def test_questions_may_come_in_any_order() -> None:
    rows, asked = history(3, 2_000, 300)
    numbered = asked.with_row_index("n").sample(fraction=1.0, shuffle=True, seed=3)
    found = features(payments.tables_of(minutes(20), rows), numbered)
    whole = features(payments.tables_of(minutes(20), rows), asked)
    assert found.hstack([numbered["n"]]).sort("n").drop("n").equals(whole)


def test_what_happens_at_or_after_the_question_changes_nothing() -> None:
    rows, asked = history(4, 2_000, 300)
    middle = START + (AS_OF - START) // 2
    early = asked.filter(pl.col("asked_at").cast(pl.Int64) <= middle)
    before = rows.filter(pl.col("at").cast(pl.Int64) < middle)
    later = rows.filter(pl.col("at").cast(pl.Int64) >= middle)
    assert early.height > 50
    assert later.height > 500
    for delay in (timedelta(0), minutes(20)):
        found, whole = (features(payments.tables_of(delay, part), early) for part in (before, rows))
        # The latest event may be at the question's own time.
        seen_at_once = ("last", "since", "tenure", "pair_last", "pair_units", "pair_tenure")
        at_once = [n for n in whole.columns if n.startswith(seen_at_once)]
        assert found.drop(at_once).equals(whole.drop(at_once))


def test_moving_all_times_by_days_changes_nothing() -> None:
    rows, asked = history(5, 1_500, 200)
    found = features(payments.tables_of(minutes(20), rows), asked)
    moved = [frame.with_columns(pl.col(c) - pl.duration(days=3)) for frame, c in ((rows, "at"), (asked, "asked_at"))]
    shifted = features(payments.tables_of(minutes(20), moved[0]), moved[1])
    # A grid of seven minutes does not divide a day; a time among the values moves with the rest.
    rest = [n for n in found.columns if n not in ("pair_units_odd_tail", "pair_last_at")]
    assert shifted.select(rest).equals(found.select(rest))


@pytest.mark.slow
def test_tiles_and_portions_give_the_same_bytes(ray_local: None, tmp_path: Path) -> None:
    """Worked out in a task that holds no CPU, as a stage of a run does: blocks in any order, then portions of keys.

    Ray Data tells what was done: a history that lies by key is not shuffled, and only answers leave the tasks.
    """
    import ray
    import ray.data

    rows, asked = history(6, 1_500, 20)
    tables, plan = payments.tables_of(minutes(20), rows), payments.plan(sums(minutes(20), None))
    whole = pl.DataFrame(group_features(plan, tables, asked, AS_OF))
    blocks = [part.to_arrow() for part in rows.reverse().iter_slices(500)]
    files = [str(tmp_path / f"{i}.parquet") for i in range(3)]
    for path, part in zip(files, rows.with_columns(p=pl.col("user") > "u2").partition_by("p"), strict=True):
        part.drop("p").write_parquet(path)
    paths = tuple(files)  # some lie in a file of their own, and all may lie in all
    portions = [Portion("user", a, b, paths, {}) for a, b in ((None, "hot"), ("hot", "u2"), ("u2", None))]

    @ray.remote(num_cpus=0)
    def spread_out() -> tuple[list[pl.DataFrame], list[str]]:
        training_set.PARTS = 2
        read, told = ray.data.Dataset.iter_batches, list[str]()

        def watched(dataset: ray.data.Dataset, **how: Any) -> Iterator[Any]:
            yield from read(dataset, **how)
            told.append(dataset.stats())

        tables = payments.tables_of(minutes(20), rows)
        tables.scan = lambda _, columns: ray.data.from_arrow(blocks).select_columns(list(columns))
        tables.spread_rows = 1
        with patch.object(ray.data.Dataset, "iter_batches", watched):
            shuffled = pl.DataFrame(group_features(plan, tables, asked, AS_OF))
            tables.scan, tables.laid = None, lambda _, by: portions if by == "user" else None
            apart = pl.DataFrame(group_features(plan, tables, asked, AS_OF))
        return [shuffled, apart], told

    (shuffled, apart), told = ray.get(spread_out.remote(), timeout=150)
    assert shuffled.equals(whole)
    assert apart.equals(whole)
    steps = [re.findall(r"^Operator \d+ (.*?): (\d+) tasks", one, re.MULTILINE) for one in told]
    assert [sum("Shuffle" in name for name, _ in one) for one in steps] == [2, 0], "to its part, and what is made of it"
    assert steps[1][-1] == ("MapBatches(features_of_portion)", "3"), "a task for each portion"
    assert f"{asked.height} total" in told[1], "as many rows as answers"


@pytest.mark.slow
@pytest.mark.parametrize("delay", [pytest.param(minutes(20), marks=pytest.mark.long), payments.EACH_ITS_OWN])
def test_ray_data_gives_the_same_bytes_for_every_kind(ray_local: None, delay: timedelta) -> None:
    """Worked out in a task that holds no CPU, as a stage of a run does; blocks come in any order, rows late."""
    import ray
    import ray.data

    rows, asked = history(6, 3_000, 400)
    late = pl.col("at") + pl.duration(minutes=pl.col("units") * 7)
    rows = rows.with_columns(out=pl.when(pl.col("units") > 0).then(late))
    tables = payments.tables_of(delay, rows)
    whole = features(tables, asked)
    blocks = [part.to_arrow() for part in rows.reverse().iter_slices(1_000)]

    @ray.remote(num_cpus=0)
    def spread_out() -> pl.DataFrame:
        training_set.PARTS = 3
        spread.KEYS_SENT = 60  # users are sent to the blocks, users and shops are too many
        tables = payments.tables_of(delay, rows)
        tables.scan = lambda _, columns: ray.data.from_arrow(blocks).select_columns(list(columns))
        tables.spread_rows = 1
        return features(tables, asked)

    assert ray.get(spread_out.remote(), timeout=120).equals(whole)


def test_what_no_question_sees_is_not_sent_around() -> None:
    stream = payments.payments(minutes(20))
    seen = stream.by("user").features(day=agg.sum("amount", days(1)), recent=agg.last("amount", max_age=hours(30)))
    times = np.array([START + DAY, START + 9 * DAY])
    assert spread._seen_from(payments.plan(seen), times) == START - micros(hours(6))
    endless = stream.by("user").features(day=agg.sum("amount", days(1)), ever=agg.last("amount"))
    assert spread._seen_from(payments.plan(endless), times) is None


@pytest.mark.slow
def test_a_heavy_key_stays_out_of_the_repartition(ray_local: None) -> None:
    """Its events are answered apart, in spans of time, to the same bytes; only what the others have is sent around."""
    import ray
    import ray.data

    rows, asked = history(8, 1_500, 60)
    group = payments.payments(minutes(20)).by("user").features(
        median=agg.percentile("amount", 0.5, days(3)),
        last=agg.last("amount"),
        std=agg.std("amount", days(1)),
        since=agg.since(),
    )  # fmt: skip
    plan = payments.plan(group)
    whole = pl.DataFrame(group_features(plan, payments.tables_of(minutes(20), rows), asked, AS_OF))
    blocks = [part.to_arrow() for part in rows.sort("user", descending=True).iter_slices(100)]

    @ray.remote(num_cpus=0)
    def spread_out() -> tuple[pl.DataFrame, list[int], pl.DataFrame]:
        training_set.PARTS, heavy.HEAVY, spans.AT_ONCE = 2, 300, 150
        divide, answered, sent, lengths = ray.data.Dataset.groupby, heavy.answer, list[pl.DataFrame](), list[int]()

        def watched(dataset: ray.data.Dataset, *how: Any, **more: Any) -> Any:
            sent.extend(pl.DataFrame(one) for one in dataset.iter_batches(batch_format="pyarrow"))
            return divide(dataset, *how, **more)

        def told(plan: GroupPlan, found: pl.LazyFrame, *rest: Any) -> list[Answer]:
            lengths.append(found.select(pl.len()).collect().item())
            return answered(plan, found, *rest)

        tables = payments.tables_of(minutes(20), rows)
        tables.scan = lambda _, columns: ray.data.from_arrow(blocks).select_columns(list(columns))
        tables.spread_rows = 1
        with patch.object(ray.data.Dataset, "groupby", watched), patch.object(heavy, "answer", told):
            found = pl.DataFrame(group_features(plan, tables, asked, AS_OF))
        return found, lengths, pl.concat(sent)

    found, lengths, sent = ray.get(spread_out.remote(), timeout=150)
    assert found.equals(whole)
    known = pl.col("at") + minutes(20) <= asked["asked_at"].max()
    hot = rows.filter(known, pl.col("user") == "hot").height
    assert lengths == [hot], "one heavy key, with all of its events"
    assert hot > 300, "and in more than one span"
    assert set(sent["k0"]) - {None} == set(asked["user"]) - {None, "hot"}


def test_no_heavy_key_is_missed_and_few_others_are_named() -> None:
    """However the events of a key are spread over blocks."""
    random, count = np.random.default_rng(3), 0
    nobody = pl.DataFrame(schema={"k0": pl.Int64()})
    for _ in range(200):
        keys = random.zipf(1.3, 4_000) % 500
        keys = np.sort(keys) if random.random() < 0.5 else keys
        edges = np.sort(random.integers(0, len(keys), 30))
        blocks = [pl.DataFrame({"k0": part.astype(np.int64)}).to_arrow() for part in np.split(keys, edges)]
        with patch.object(heavy, "HEAVY", 400):
            named = heavy.heavy_keys(Blocks(blocks), pl.DataFrame, len(keys), nobody)["k0"].to_list()  # type: ignore[arg-type]
        values, many = np.unique(keys, return_counts=True)
        assert set(values[many >= 400]) <= set(named) <= set(values[many >= 200])
        count += len(named)
    assert count > 200


class Blocks:
    """Of a dataset, what is asked here."""

    def __init__(self, blocks: list[pa.Table]) -> None:
        self._blocks = blocks

    def map_batches(self, work: Callable[[pa.Table], pa.Table], **_: object) -> "Blocks":
        return Blocks([work(block) for block in self._blocks])

    def iter_batches(self, **_: object) -> Iterator[pa.Table]:
        return iter(self._blocks)
