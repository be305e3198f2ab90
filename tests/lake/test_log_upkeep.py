"""Logs in few files: the same rows for whoever reads, follows or adds meanwhile, whoever is killed when."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from pyiceberg.table import Table

from raypipe.clock import SystemClock
from raypipe.contracts.logs import FEEDBACK
from raypipe.lake import Lake, log_upkeep
from raypipe.lake.log import LogTable
from tests.lake.test_crash import PROCESSES, ended
from tests.lake.test_log import ids, rows

HOUR, DAY = 3_600_000_000, 86_400_000_000
WINDOWS = ["log.compact_after_files", "log.compact_before_commit", "log.compact_after_commit"]


def now() -> int:
    return SystemClock().now()


def later(hours: float = 2) -> int:
    """When snapshots that are made now are forgotten."""
    return now() + int(hours * HOUR)


def filled(lake: Lake, sizes: Sequence[int], at: int = 0, first: int = 0) -> LogTable:
    """One commit for each size, a second after the one before."""
    log = lake.log(FEEDBACK, "late")
    for number, size in enumerate(sizes, first):
        some = rows(*(f"{number}.{i}" for i in range(size)), at=at + number * 1_000_000)
        assert log.append(some, {"s": number + 1}, before={"s": number} if number else {})
    return log


def table(log: LogTable) -> Table:
    found = log._find()
    assert found is not None
    return found


def sizes(log: LogTable) -> list[int]:
    """Rows of its files, by time."""
    files = [task.file for task in table(log).scan().plan_files()]
    return [one.record_count for one in sorted(files, key=lambda one: log_upkeep._at(table(log), one))]


def test_many_files_become_one_and_say_the_same(lake: Lake) -> None:
    log = filled(lake, [2] * 20)
    before, rows_before = log.positions(), log.rows().collect()
    kept = log.tidy(later())
    assert (kept.rows, kept.files) == (0, 18)
    # The newest state is never forgotten: what it brought stays as it is.
    assert sizes(log) == [38, 2]
    assert log.rows().collect().equals(rows_before)
    assert (log.positions(), ids(lake, since=3_000_000, until=5_000_000)) == (before, ["3.0", "3.1", "4.0", "4.1"])
    assert log.tidy(later()).files == 0, "there is nothing left to do"
    manifests = table(log).current_snapshot().manifests(table(log).io)  # type: ignore[union-attr]
    assert len(manifests) <= 4
    assert filled(lake, [1], first=20).positions() == {"s": 21}, "and the log goes on"


def test_a_reader_of_a_period_opens_few_files(lake: Lake) -> None:
    log = filled(lake, [1] * 40)
    log.tidy(later())
    filled(lake, [1] * 12, first=40)
    log.tidy(later())
    assert sizes(log) == [39, 12, 1]
    assert len(list(table(log).scan(row_filter="at < '1970-01-01T00:00:10+00:00'").plan_files())) == 1


def test_rows_are_written_anew_seldom(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    real = log_upkeep._written_anew

    def counted(of: Table, files: Sequence[object], since: int | None) -> tuple[int, int] | None:
        nonlocal written
        found = real(of, files, since)  # type: ignore[arg-type]
        written += 0 if found is None else found[0]
        return found

    monkeypatch.setattr(log_upkeep, "_written_anew", counted)
    log = filled(lake, [])
    for turn in range(16):
        filled(lake, [1] * 10, first=10 * turn)
        log.tidy(later())
        assert len(sizes(log)) <= 16
    assert log.rows().collect().height == 160
    # Whoever wrote all anew each time would have come to 1,360.
    assert written <= 160 * 5


def test_full_files_stay_as_they_are(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_upkeep, "FULL_ROWS", 12)
    log = filled(lake, [12] + [3] * 10)
    log.tidy(later())
    assert sizes(log) == [12, 27, 3]
    assert ids(lake)[:13] == [*(f"0.{i}" for i in range(12)), "1.0"]


def test_what_was_committed_lately_is_left_alone_and_followers_see_each_row_once(lake: Lake) -> None:
    """Who knew the log an hour ago goes on from there, though what he has read lies elsewhere now."""
    log = filled(lake, [2] * 20)
    first = log.added(None, {}, 0)
    assert first is not None
    filled(lake, [1] * 3, first=20)
    # All but the last commit are forgotten then, and the follower is told to begin anew: he was away for hours.
    assert log.tidy(now()).files == 0
    assert len(sizes(log)) == 23
    log.tidy(later())
    assert log.added(first.snapshot, first.positions, 0) is None
    known = log.added(None, {}, 0)
    assert known is not None
    assert known.rows.collect().height == 43
    filled(lake, [1] * 12, first=23)
    real = now() - HOUR
    # What he knows is not forgotten yet, and what came since is written anew by nobody.
    assert log.tidy(real).files == 0
    new = log.added(known.snapshot, known.positions, 0)
    assert new is not None
    assert new.rows.sort("at").collect()["request_id"].to_list() == [f"{i}.0" for i in range(23, 35)]


def test_a_follower_does_not_notice_that_older_rows_lie_elsewhere(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(lake, [2] * 20)
    log.forget_snapshots(later())
    known = log.added(None, {}, 0)
    assert known is not None
    filled(lake, [1], first=20)
    assert log_upkeep.tidy(table(log), now(), None).files == 18
    filled(lake, [1], first=21)
    opened: list[str] = []
    real = LogTable._scan
    monkeypatch.setattr(LogTable, "_scan", lambda self, paths: opened.extend(paths) or real(self, paths))
    new = log.added(known.snapshot, known.positions, 0)
    assert new is not None
    assert sorted(new.rows.collect()["request_id"]) == ["20.0", "21.0"]
    assert len(opened) == 2
    assert log.added(new.snapshot, new.positions, 0).rows.collect().is_empty()  # type: ignore[union-attr]


def test_who_looked_before_reads_to_the_end(lake: Lake) -> None:
    log = filled(lake, [2] * 20)
    reader, told = log.rows(), log.rows().collect()
    log.tidy(later())
    log.tidy(later(12))
    assert reader.collect().equals(told)
    # A day after it was written, and an hour after it was replaced, nobody has any use for it.
    assert log.tidy(later(48)).removed >= 19
    assert log.rows().collect().equals(told)
    assert len(list(Path(table(log).location()).rglob("*.parquet"))) == 2


def test_rows_that_come_meanwhile_are_there_too(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(lake, [1] * 12)
    real = Table.transaction
    log.forget_snapshots(later())

    def overtaken(of: Table) -> object:
        monkeypatch.setattr(Table, "transaction", real)
        filled(lake, [1], first=12)
        return real(of)

    monkeypatch.setattr(Table, "transaction", overtaken)
    assert log_upkeep.tidy(table(log), now(), None).files == 10
    assert sorted(ids(lake)) == sorted(f"{i}.0" for i in range(13))
    assert log.positions() == {"s": 13}


def test_of_two_at_once_one_gives_up(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(lake, [1] * 12)
    log.forget_snapshots(later())
    real = log_upkeep._take_place

    def overtaken(of: Table, files: Sequence[object], paths: Sequence[str]) -> bool:
        monkeypatch.setattr(log_upkeep, "_take_place", real)
        assert log_upkeep.tidy(table(log), now(), None).files == 10
        return real(of, files, paths)  # type: ignore[arg-type]

    monkeypatch.setattr(log_upkeep, "_take_place", overtaken)
    assert log_upkeep.tidy(table(log), now(), None).files == 0
    assert sorted(ids(lake)) == sorted(f"{i}.0" for i in range(12))
    assert len(list(Path(table(log).location()).rglob("*-compacted-*.parquet"))) == 1


def test_old_rows_go(lake: Lake) -> None:
    log = filled(lake, [2] * 5)
    filled(lake, [2] * 15, at=10 * DAY, first=5)
    log.tidy(later())
    assert sizes(log) == [38, 2]
    assert log.tidy(later(), since=5_000_000).rows == 0, "a file that reaches beyond stays a day longer"
    kept = log.tidy(later(), since=2 * DAY)
    assert (kept.rows, sizes(log)) == (10, [28, 2])
    assert ids(lake)[0] == "5.0"
    assert log.tidy(later(), since=11 * DAY).rows == 30
    assert (ids(lake), log.positions()) == ([], {"s": 20})


def test_files_of_old_have_the_columns_of_today(lake: Lake) -> None:
    columns = dict(list(FEEDBACK.columns.items())[:5])
    old = lake.log(replace(FEEDBACK, columns=columns), "late")
    before: Mapping[str, int] = {}
    for number in range(9):
        assert old.append(rows(f"{number}.0", at=number).select(*columns), {"s": number + 1}, before=before)
        before = {"s": number + 1}
    log = lake.log(FEEDBACK, "late")
    new = rows("new", at=100).with_columns(number=pl.lit(2.5))
    assert log.append(new, {"s": 10}, before={"s": 9})
    assert log.append(rows("last", at=200), {"s": 11}, before={"s": 10})
    told = log.rows().collect()
    assert log.tidy(later()).files == 9
    assert log.rows().collect().equals(told)


def test_a_log_that_is_not_there_is_tidy(lake: Lake) -> None:
    assert lake.log(FEEDBACK, "late").tidy(now()) == log_upkeep.Kept()


def tidied(folder: Path, failpoint: str) -> None:
    os.environ["RAYPIPE_FAILPOINT"] = failpoint
    Lake(folder).log(FEEDBACK, "late").tidy(later())


@pytest.mark.parametrize("window", WINDOWS)
def test_killed_and_done_again(tmp_path: Path, window: str) -> None:
    log = filled(Lake(tmp_path / "lake"), [2] * 12)
    told = log.rows().collect()
    process = PROCESSES.Process(target=tidied, args=(tmp_path / "lake", f"{window}=kill"))
    process.start()
    assert ended(process) == -9
    assert log.rows().collect().equals(told)
    log.tidy(later())
    assert (sizes(log), log.rows().collect().equals(told)) == ([22, 2], True)
    log.tidy(later(48))
    assert len(list(Path(table(log).location()).rglob("*.parquet"))) == 2, "what the one before has left is gone"


def test_every_window_is_killed_in() -> None:
    source = Path(log_upkeep.__file__).read_text()
    assert [line.split('"')[1] for line in source.splitlines() if "failpoint(" in line] == WINDOWS
