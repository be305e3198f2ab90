"""Logs in the lake: rows and positions in one commit, so nothing is there twice, whoever is killed when."""

import os
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from pyiceberg.table import Table

from raypipe.contracts.logs import FEEDBACK
from raypipe.lake import Lake
from tests.lake.test_crash import PROCESSES, ended


def rows(*ids: str, at: int = 1_000_000, label: bool = True) -> pl.DataFrame:
    data = [(one, 0, at + place, label, "{}", None, None) for place, one in enumerate(ids)]
    return pl.DataFrame(data, schema=dict(FEEDBACK.columns), orient="row")


def ids(lake: Lake, **period: int) -> list[str]:
    return lake.log(FEEDBACK, "late").rows(**period).collect()["request_id"].to_list()


def test_rows_come_with_their_positions_or_not_at_all(lake: Lake) -> None:
    log = lake.log(FEEDBACK, "late")
    assert (log.positions(), ids(lake)) == ({}, [])
    assert log.append(rows("a", "b"), {"s1": 10}, before={})
    assert not log.append(rows("a", "b"), {"s1": 10}, before={}), "read from the same place twice"
    assert (log.positions(), ids(lake)) == ({"s1": 10}, ["a", "b"])


def test_of_two_collectors_at_once_one_is_told_to_look_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    log = lake.log(FEEDBACK, "late")
    log.append(rows("a"), {"s": 1}, before={})
    real = Table.transaction

    def overtaken(table: Table) -> object:
        monkeypatch.setattr(Table, "transaction", real)
        assert log.append(rows("b"), {"s": 2}, before={"s": 1})
        return real(table)

    monkeypatch.setattr(Table, "transaction", overtaken)
    assert not log.append(rows("b"), {"s": 2}, before={"s": 1})
    assert ids(lake) == ["a", "b"]


def test_the_latest_row_of_a_key_stands_and_periods_are_cut(lake: Lake) -> None:
    log = lake.log(FEEDBACK, "late")
    log.append(rows("a", "b", at=10), {"s": 1}, before={})
    log.append(rows("a", at=30, label=False), {"s": 2}, before={"s": 1})
    assert log.rows().select("request_id", "label").collect().rows() == [("b", True), ("a", False)]
    assert ids(lake, since=11, until=30) == ["b"]
    assert ids(lake, until=30) == ["a", "b"], "as it was known then"


def collect(folder: Path, failpoint: str) -> None:
    os.environ["RAYPIPE_FAILPOINT"] = failpoint
    log = Lake(folder).log(FEEDBACK, "late")
    if (before := log.positions()) != {"s": 7}:
        log.append(rows("a", "b"), {"s": 7}, before=before)


@pytest.mark.parametrize("window", ["log.before_commit", "log.after_commit"])
def test_a_killed_collector_adds_nothing_twice(tmp_path: Path, window: str) -> None:
    process = PROCESSES.Process(target=collect, args=(tmp_path / "lake", f"{window}=kill"))
    process.start()
    assert ended(process) == -9
    collect(tmp_path / "lake", "")
    assert ids(Lake(tmp_path / "lake")) == ["a", "b"]
    os.environ.pop("RAYPIPE_FAILPOINT")


def test_old_snapshots_go_and_their_rows_stay(lake: Lake) -> None:
    log = lake.log(FEEDBACK, "late")
    for number in range(3):
        log.append(rows(str(number)), {"s": number + 1}, before={"s": number} if number else {})
    table = log._find()
    assert table is not None
    log.forget_snapshots(table.snapshots()[-1].timestamp_ms * 1_000 + 7_200_000_000)
    table = log._find()
    assert table is not None
    assert (len(table.snapshots()), ids(lake)) == (1, ["0", "1", "2"])
    assert log.positions() == {"s": 3}


def test_a_table_of_old_gets_the_columns_that_came_later(lake: Lake) -> None:
    """Its rows are read with nothing in them, before and after new ones come."""
    columns = dict(list(FEEDBACK.columns.items())[:5])
    old = replace(FEEDBACK, columns=columns)
    lake.log(old, "late").append(rows("a").select(*columns), {"s": 1}, before={})
    log = lake.log(FEEDBACK, "late")
    assert log.rows().collect().select("request_id", "label", "number").rows() == [("a", True, None)]
    new = rows("b", at=2_000_000).with_columns(number=pl.lit(2.5), label=pl.lit(None, pl.Boolean))
    assert log.append(new, {"s": 2}, before={"s": 1})
    assert log.rows().collect().select("request_id", "label", "number").rows() == [("a", True, None), ("b", None, 2.5)]
    # Whoever still runs the old release reads what it knows of.
    assert lake.log(old, "late").rows().collect().columns == list(columns)
