"""How files are brought into the warehouse: several at once, the next block read while one is written, small."""

from pathlib import Path
from threading import Barrier, Event

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.contracts.progress import Silent
from raypipe.errors import SourceError
from raypipe.lake import Lake, stage, storage
from raypipe.lake.stage import PartWriter, Task
from tests.lake.sources import HEADER, lines, trips


def test_files_are_read_side_by_side_and_come_in_order(lake: Lake, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(6):
        (data / f"{place}.csv").write_text(HEADER + lines(*range(10 * place, 10 * place + 3)))
    monkeypatch.setattr(stage.os, "sched_getaffinity", lambda _: {0, 1})
    both, run = Barrier(2, timeout=20), Task.run
    monkeypatch.setattr(Task, "run", lambda task, advance: (both.wait(), run(task, advance))[1])
    snapshot = lake.ingest(trips(data), Silent())
    lake.publish([snapshot])
    assert lake.frame(snapshot, ["id"]).collect()["id"].to_list() == [10 * a + b for a in range(6) for b in range(3)]
    assert [Path(file.path).name for file in snapshot.files] == [f"{place}.csv" for place in range(6)]


def test_a_fault_of_one_file_ends_the_others(lake: Lake, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "0.csv").write_text(HEADER + lines(1) + "2,Bern,when,3,4\n")
    for place in range(1, 6):
        (data / f"{place}.csv").write_text(HEADER + lines(place * 10))
    monkeypatch.setattr(stage.os, "sched_getaffinity", lambda _: {0, 1})
    failed, run, done = Event(), Task.run, []

    def watched(task: Task, advance: object) -> object:
        if task.file.path.name == "0.csv":
            try:
                return run(task, advance)
            finally:
                failed.set()
        assert failed.wait(20)
        done.append(run(task, advance))
        return done[-1]

    monkeypatch.setattr(Task, "run", watched)
    with pytest.raises(SourceError, match=r"0\.csv:3"):
        lake.ingest(trips(data), Silent())
    assert len(done) < 5
    assert not list(lake._folder.rglob("*.parquet"))


def test_a_disk_that_fails_while_a_block_is_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it was the last block, which nothing comes after."""
    schema, real = pa.schema([("a", pa.int64())]), storage.writer

    class Full:
        def __init__(self, path: str, schema: pa.Schema) -> None:
            self._file = real(path, schema)

        def write_table(self, rows: pa.Table) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            self._file.close()

    monkeypatch.setattr(storage, "writer", Full)
    with pytest.raises(OSError, match="No space left"), PartWriter(str(tmp_path), "part", schema) as writer:
        writer.write(pa.table({"a": [1]}, schema))


def test_numbers_and_times_that_all_differ_take_little_room(tmp_path: Path) -> None:
    """A dictionary of values of which none is there twice is as large as they are."""
    rows = pl.DataFrame({"id": range(100_000), "town": ["Bern", "Chur"] * 50_000}).to_arrow()
    storage.write(rows, str(tmp_path / "written.parquet"))
    column = [pq.read_metadata(tmp_path / "written.parquet").row_group(0).column(i) for i in (0, 1)]
    assert ["RLE_DICTIONARY" in one.encodings for one in column] == [False, True]
    assert column[0].total_uncompressed_size < 1.01 * 8 * 100_000


def test_where_a_process_cannot_ask_for_its_cores_the_machines_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.sys, "platform", "darwin")
    monkeypatch.delattr(stage.os, "sched_getaffinity")
    monkeypatch.setattr(stage.os, "cpu_count", lambda: 7)
    assert stage._cores() == 7
