"""Rows that are corrected, taken back or come late between two updates: what is stored follows, against the oracle."""

from datetime import timedelta

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.features import OnlineFeatures
from tests.features import payments
from tests.features.memory import MemoryStore
from tests.features.test_meaning import histories
from tests.features.test_update import History

#: What a row said before it was corrected; None: it was not there.
BEFORE = {
    "another amount": pl.col("amount").fill_null(0.0) + 3.0,
    "no amount": pl.lit(None, dtype=pl.Float64),
    "another moment": pl.col("at") - pl.duration(minutes=7),
    "another key": pl.lit("b"),
    "not there": None,
}
COLUMN = {"another moment": "at", "another key": "user"}


def said(row: pl.DataFrame, before: str) -> pl.DataFrame:
    """A row as it was at first."""
    value = BEFORE[before]
    return row.clear() if value is None else row.with_columns(value.alias(COLUMN.get(before, "amount")))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.lists(st.tuples(st.integers(0, 19), st.sampled_from([*BEFORE, "taken back"])), max_size=6))
def test_an_update_sees_what_is_right_now(
    one: tuple[timedelta, pl.DataFrame, pl.DataFrame, int], faults: list[tuple[int, str]]
) -> None:
    delay, rows, asked, as_of = one
    faulty = {place: fault for place, fault in faults if place < rows.height}
    taken_back = [place for place, fault in faulty.items() if fault == "taken back"]
    corrected = [place for place in faulty if place not in taken_back]
    kept = rows[[place for place in range(rows.height) if place not in faulty]]
    wrong = [said(rows[place], faulty[place]) for place in corrected] + [rows[place] for place in taken_back]
    right = [rows[place] for place in corrected]
    history, store = History(delay), MemoryStore()
    history.add(kept, *wrong)
    history.add(kept, *right)
    history.materialize(store, 1, as_of - 1)
    record = history.materialize(store, 2, as_of)
    requests = asked.select("user", (pl.col("asked_at") + payments.LEAD).alias("due"), "shop")
    found = OnlineFeatures(history.pipeline, store).compute(requests)
    truth = payments.expected(delay, pl.concat([kept, *right]), asked, as_of)
    assert not payments.differences(found, truth)
    assert record.watermark == as_of
