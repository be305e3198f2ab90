"""A run killed at any point, then run again: the same rows as if nothing had happened, and none twice."""

import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from sqlalchemy.exc import OperationalError

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot
from raypipe.errors import SourceError, WorkspaceError
from raypipe.failpoints import FailpointError
from raypipe.lake import Lake, catalog, ingest
from raypipe.lake.catalog import load_table, open_catalog
from raypipe.lake.state import MAIN, head
from raypipe.spec import Stream, Table, csv
from tests.lake.sources import HEADER, lines, towns, trips
from tests.processes import processes_with

TOWNS = "town,zone,size\n"
PROCESSES = processes_with("tests.lake.test_crash")
#: Every crash window, with what a visit number leaves half done.
WINDOWS = [
    "ingest.table_made=kill@2",
    "ingest.while_reading=kill@1",
    "ingest.while_reading=kill@3",
    "ingest.after_bad=kill@1",
    "ingest.after_files_before_commit=kill@1",
    "ingest.after_files_before_commit=kill@2",
    "ingest.after_commit=kill@1",
    "ingest.after_commit=kill@2",
    "publish.between_tables=kill@1",
    "publish.between_tables=kill@2",
]


def rides(data: Path, at: Table | None = None) -> Stream:
    return trips(None, at=at, history=csv(str(data / "trips"), at_most_bad=0.5))


def run(lake: Lake, data: Path) -> list[Snapshot]:
    places = towns(data / "towns.csv")
    sources = [places, rides(data, at=places)]
    snapshots = [lake.ingest(source, Silent()) for source in sources]
    lake.publish(snapshots)
    return snapshots


def files(data: Path) -> None:
    (data / "trips").mkdir()
    (data / "towns.csv").write_text(TOWNS + "Bern,CET,1\n")
    (data / "trips" / "a.csv").write_text(HEADER + lines(1, 2))
    (data / "trips" / "b.csv").write_text(HEADER + lines(2, 3))


def start(lake: Path, data: Path, failpoint: str = "") -> ForkServerProcess:
    """One whole run over two tables, in a process of its own."""
    process = PROCESSES.Process(target=run_with, args=(lake, data, failpoint))
    process.start()
    return process


def run_with(lake: Path, data: Path, failpoint: str) -> None:
    if failpoint:
        os.environ["RAYPIPE_FAILPOINT"] = failpoint
    run(Lake(lake), data)


def ended(process: ForkServerProcess) -> int | None:
    process.join(60)
    return process.exitcode


def content(lake: Lake, snapshots: Sequence[Snapshot]) -> list[list[tuple[object, ...]]]:
    return [lake.frame(snapshot).collect().rows() for snapshot in snapshots]


def published(folder: Path) -> list[int]:
    opened = open_catalog(folder)
    tables = [load_table(opened, name) for name in ("towns", "trips")]
    heads = [head(table, MAIN) for table in tables if table is not None]
    return [one.snapshot_id for one in heads if one is not None]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_killed_run_goes_on(tmp_path: Path, window: str) -> None:
    files(tmp_path)
    (tmp_path / "trips" / "c.csv").write_text(HEADER + "no trip\n")
    assert ended(start(tmp_path / "lake", tmp_path, window)) == -signal.SIGKILL
    lake = Lake(tmp_path / "lake")
    snapshots = run(lake, tmp_path)
    unharmed = Lake(tmp_path / "unharmed")
    expected = run(unharmed, tmp_path)
    assert content(lake, snapshots) == content(unharmed, expected)
    assert [(s.rows, [f.path for f in s.files]) for s in snapshots] == [
        (s.rows, [f.path for f in s.files]) for s in expected
    ]
    assert published(tmp_path / "lake") == [snapshot.snapshot_id for snapshot in snapshots]
    assert lake.quarantined(rides(tmp_path)).collect()["bytes"].to_list() == [b"no trip"]
    assert run(lake, tmp_path) == run(lake, tmp_path)
    assert published(tmp_path / "lake") == [snapshot.snapshot_id for snapshot in snapshots]


#: Windows that tests of other files kill at: gates, live sources, logs, batches, upkeep.
OTHERS_KILL = ("quarantine.", "live.", "log.", "predict.", "upkeep.")


def test_every_window_of_the_lake_is_killed_at() -> None:
    source = "".join(path.read_text() for path in Path(ingest.__file__).parent.glob("*.py"))
    named = {window.partition("=")[0] for window in WINDOWS}
    found = {part.partition('"')[0] for part in source.split('failpoint("')[1:]}
    assert {name for name in found if not name.startswith(OTHERS_KILL)} == named


def test_a_failure_before_the_commit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path)
    lake = Lake(tmp_path / "lake")
    monkeypatch.setenv("RAYPIPE_FAILPOINT", "ingest.after_files_before_commit=raise")
    with pytest.raises(FailpointError):
        run(lake, tmp_path)
    assert not list((tmp_path / "lake").rglob("*.parquet"))


def test_a_commit_whose_answer_was_lost_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path)
    lake = Lake(tmp_path / "lake")
    lost: list[bool] = []

    def lost_answer(self: SqlCatalog, *args: object, **kwargs: object) -> object:
        answer = commit_table(self, *args, **kwargs)  # type: ignore[arg-type]
        if not lost and answer.metadata.snapshots[-1:] and "incoming" in answer.metadata.refs:
            lost.append(True)
            raise OperationalError("commit", {}, ConnectionError("the answer was lost"))
        return answer

    commit_table = SqlCatalog.commit_table
    monkeypatch.setattr(SqlCatalog, "commit_table", lost_answer)
    snapshots = run(lake, tmp_path)
    assert lost
    assert [snapshot.rows for snapshot in snapshots] == [1, 3]
    unharmed = Lake(tmp_path / "unharmed")
    assert content(lake, snapshots) == content(unharmed, run(unharmed, tmp_path))


def test_files_of_a_commit_that_may_still_come_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks while the catalog commits: it is done only after we looked."""
    (tmp_path / "trips.csv").write_text(HEADER + lines(1, 2))
    lake, source, late = Lake(tmp_path / "lake"), trips(tmp_path / "trips.csv"), []
    commit_table = SqlCatalog.commit_table

    def cut(self: SqlCatalog, *args: object, **kwargs: object) -> object:
        late.append(lambda: commit_table(self, *args, **kwargs))  # type: ignore[arg-type]
        raise OperationalError("commit", {}, ConnectionError("the connection was cut"))

    lake.ingest(trips(None, history=csv(str(tmp_path / "trips.csv"))), Silent())
    (tmp_path / "trips.csv").write_text(HEADER + lines(1, 2, 3))
    monkeypatch.setattr(SqlCatalog, "commit_table", cut)
    with pytest.raises(WorkspaceError, match="the connection was cut"):
        lake.ingest(source, Silent())
    monkeypatch.undo()
    late[-1]()
    snapshot = lake.ingest(source, Silent())
    assert [row[0] for row in lake.frame(snapshot).collect().rows()] == [1, 2, 3]


def test_whoever_loses_the_race_finds_the_work_done(tmp_path: Path) -> None:
    """Two at the same time, in one process and in others: the same rows, once."""
    files(tmp_path)
    others = [start(tmp_path / "lake", tmp_path) for _ in range(2)]
    gate = threading.Barrier(2)

    def ours(lake: Lake) -> list[Snapshot]:
        gate.wait(10)
        return run(lake, tmp_path)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(ours, [Lake(tmp_path / "lake"), Lake(tmp_path / "lake")]))
    assert [ended(other) for other in others] == [0, 0]
    lake = Lake(tmp_path / "lake")
    heads = published(tmp_path / "lake")
    assert all([snapshot.snapshot_id for snapshot in result] == heads for result in results)
    assert [row[0] for row in lake.frame(results[0][1]).collect().rows()] == [1, 2, 3]
    kept = [path for path in (tmp_path / "lake").rglob("*.parquet") if "trips" in path.parts]
    assert len(kept) == 2, "the files of those who lost are gone"


@pytest.mark.parametrize("attempt", range(5))
def test_many_can_make_the_same_lake_at_once(tmp_path: Path, attempt: int) -> None:
    """A lake is made by whoever comes first; the others wait for it."""
    gate = threading.Barrier(8)

    def come(_: int) -> None:
        gate.wait(10)
        open_catalog(tmp_path / f"lake-{attempt}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come, range(8)))


def test_a_lost_race_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else takes in other files just before our commit: both are in, or the loser starts again from them."""
    files(tmp_path)
    lake, other = Lake(tmp_path / "lake"), Lake(tmp_path / "lake")
    stream = trips(tmp_path / "trips")
    land, raced = ingest.land, []

    def late(*args: object) -> None:
        if not raced:
            raced.append(True)
            (tmp_path / "trips" / "c.csv").write_text(HEADER + lines(9))
            other.publish([other.ingest(stream, Silent())])
        land(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest, "land", late)
    snapshot = lake.ingest(stream, Silent())
    lake.publish([snapshot])
    assert lake.frame(snapshot, ["id"]).collect()["id"].to_list() == [1, 2, 3, 9]


def test_blind_retries_would_double_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same race with pyiceberg's own retry: this is why it is off, and shows that the test above can fail."""
    files(tmp_path)
    monkeypatch.setitem(catalog.PROPERTIES, "commit.retry.num-retries", "4")
    lake, other = Lake(tmp_path / "lake"), Lake(tmp_path / "lake")
    stream = trips(tmp_path / "trips")
    land, raced = ingest.land, []

    def late(*args: object) -> None:
        if not raced:
            raced.append(True)
            other.ingest(stream, Silent())
        land(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest, "land", late)
    snapshot = lake.ingest(stream, Silent())
    assert lake.frame(snapshot, ["id"]).collect()["id"].to_list() == [1, 2, 3, 1, 2, 3]


def test_a_race_lost_for_ever_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(tmp_path)
    lake = Lake(tmp_path / "lake")

    def lose(*_: object) -> None:
        raise CommitFailedException("moved")

    monkeypatch.setattr(ingest, "land", lose)
    with pytest.raises(WorkspaceError, match=r"table towns: other runs changed it 5 times in a row\. Run again"):
        run(lake, tmp_path)
    assert not list((tmp_path / "lake").rglob("*.parquet"))


def test_a_run_that_was_overtaken_cannot_publish(tmp_path: Path) -> None:
    files(tmp_path)
    stream = trips(tmp_path / "trips")
    slow, quick = Lake(tmp_path / "lake"), Lake(tmp_path / "lake")
    landed = slow.ingest(stream, Silent())
    (tmp_path / "trips" / "c.csv").write_text(HEADER + lines(9))
    quick.publish([quick.ingest(stream, Silent())])
    with pytest.raises(SourceError, match="was published by another run since"):
        slow.publish([landed])
