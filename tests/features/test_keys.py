"""Keys of any length, and orders of any span."""

from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.features import OnlineFeatures, keys, materialize
from raypipe.features.events import in_order
from raypipe.features.parity import replayed
from raypipe.features.reading import Tables
from raypipe.features.stores.lmdb import LmdbStore
from raypipe.spec import Stream, agg, changed, csv, days, hours, minutes, request
from tests.features import payments
from tests.features.flights import snapshot
from tests.features.histories import START
from tests.features.test_online import AS_OF, some_events


def test_keys_of_many_groups_are_told_apart() -> None:
    found = [keys.stored(number, ("a", 1)) for number in range(600)]
    assert len(set(found)) == 600
    assert found == sorted(found)


def test_a_long_key_is_stored_under_a_short_one() -> None:
    """Stores take keys of at most 256 bytes."""
    long = ["x" * many for many in (190, 198, 199, 200, 201, 256, 1_000)] + ["x" * 1_000 + "y"]
    found = [keys.stored(3, (text, 1)) for text in long]
    assert all(one is not None and len(one) <= 256 and one[0] == 3 for one in found)
    assert len(set(found)) == len(long)
    assert keys.stored(3, (long[-1], 1)) == found[-1]


def test_entities_of_long_keys_are_found_in_a_store(tmp_path: Path) -> None:
    names = {f"u{i}": "x" * 1_000 + str(i) for i in range(7)}
    rows = some_events().with_columns(pl.col("user").replace(names))
    asked = payments.asked_frame([(name, 1, AS_OF) for name in (*names.values(), "x" * 1_000)])
    tables, store = payments.tables_of(timedelta(0), rows), LmdbStore(tmp_path)
    materialize(tables.pipeline, tables.snapshots, tables.read, store, AS_OF, Silent())
    due = asked.select("user", (pl.col("asked_at") + payments.LEAD).alias("due"), "shop")
    found = OnlineFeatures(tables.pipeline, store).compute(due)
    assert not payments.differences(found, payments.expected(timedelta(0), rows, asked, AS_OF))
    assert found["sum_1h"].to_list()[-1] == 0
    assert found["sum_1h"].head(7).min() > 0


@pytest.mark.parametrize("span", [10, 2**40])
@pytest.mark.parametrize("keys", [5, 2**30])
def test_events_are_ordered_by_key_then_time_and_stay_where_both_are_equal(keys: int, span: int) -> None:
    """Also where key and time do not fit into one number: ninety days of six hundred thousand keys."""
    random = Random(1)
    numbers = np.array([random.choice([0, 1, keys // 2, keys]) for _ in range(200)])
    times = np.array([random.choice([-span, 0, 7, span]) for _ in range(200)])
    pairs = sorted(range(200), key=lambda i: (numbers[i], times[i], i))
    assert in_order(numbers, times).tolist() == pairs


def test_numbers_that_are_equal_are_one_key_however_they_are_written(tmp_path: Path) -> None:
    """In history, for one request and for many: the zeros are one key, and so is all that is no number."""
    negative = np.frombuffer(np.uint64(0xFFF8000000000001).tobytes(), np.float64)[0]
    levels = [0.0, -0.0, float("nan"), negative, 1.5]
    stream = Stream("rides", csv("r.csv"), id=["id"], time="at", columns={str: "id", float: "level", datetime: "at"})
    pipeline = changed(
        payments.pipeline(timedelta(0)),
        ask=stream.before("at", minutes(10)),
        inputs=(request("level", "at"), stream.by("level").features(rides=agg.count(days(1)))),
        label=stream.label(pl.col("level") > 0, settled_after=hours(1)),
    )
    at = pl.Series([START + i * 1_000_000 for i in range(5)]).cast(payments.TIME)
    rows = pl.DataFrame({"id": list("abcde"), "level": levels, "at": at})
    tables = Tables(pipeline, {"rides": snapshot("rides", 1, rows)}, lambda _: rows.lazy())
    store, moment = LmdbStore(tmp_path), START + 3_600_000_000
    materialize(pipeline, tables.snapshots, tables.read, store, moment, Silent())
    due = pl.lit(moment + 600_000_000).cast(payments.TIME)
    asked = pl.DataFrame({"level": levels}).with_columns(at=due)
    assert replayed(tables, asked, moment)["rides"].to_list() == [2, 2, 2, 2, 1]
    for many in (1, 2, 5):
        online = OnlineFeatures(pipeline, store)
        found = [online.compute(part)["rides"].to_list() for part in asked.iter_slices(many)]
        assert [one for part in found for one in part] == [2, 2, 2, 2, 1], many
    often = pl.concat([asked] * 100)
    assert OnlineFeatures(pipeline, store).compute(often)["rides"].to_list() == [2, 2, 2, 2, 1] * 100
