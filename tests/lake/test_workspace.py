"""A folder that cannot be written to, or is full: one sentence, and nothing lost."""

import errno
import os
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raypipe.contracts.progress import Silent
from raypipe.errors import WorkspaceError
from raypipe.lake import Lake
from raypipe.lake import stage as staging
from tests.lake.sources import HEADER, lines, trips


def test_a_file_in_the_way(tmp_path: Path, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    (tmp_path / "lake").write_text("in the way")
    with pytest.raises(WorkspaceError, match=r"lake: cannot be used: File exists\. Check that the folder is writable"):
        Lake(tmp_path / "lake").ingest(trips(data), Silent())


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder(tmp_path: Path, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(WorkspaceError, match="Permission denied"):
        Lake(tmp_path / "locked" / "lake").ingest(trips(data), Silent())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_while_rows_are_written(lake: Lake, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    first = lake.ingest(trips(data), Silent())
    lake.publish([first])
    (data / "b.csv").write_text(HEADER + lines(2))

    class Full(pq.ParquetWriter):
        def __init__(self, path: str, *args: object, **kwargs: object) -> None:
            Path(path).symlink_to("/dev/full")
            super().__init__(path, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(staging.pq, "ParquetWriter", Full)
        with pytest.raises(
            WorkspaceError, match=r"lake: cannot be used: .*[Nn]o space left on device.*nothing was lost"
        ):
            lake.ingest(trips(data), Silent())
    assert lake.frame(first, ["id"]).collect()["id"].to_list() == [1]
    assert lake.ingest(trips(data), Silent()).rows == 2, "with space again, the same run goes on"


def test_a_full_disk_while_the_commit_is_written(lake: Lake, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    from pyiceberg.catalog import MetastoreCatalog

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(MetastoreCatalog, "_write_metadata", full)
        with pytest.raises(WorkspaceError, match="No space left on device"):
            lake.ingest(trips(data), Silent())
    assert lake.ingest(trips(data), Silent()).rows == 1


@pytest.mark.parametrize("damage", ["not a database", ""])
def test_a_catalog_that_is_no_database(tmp_path: Path, data: Path, damage: str) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    lake = Lake(tmp_path / "lake")
    lake.ingest(trips(data), Silent())
    (tmp_path / "lake" / "catalog.db").write_text(damage * 100)
    if not damage:  # an empty file is an empty catalog: the lake is filled again
        assert Lake(tmp_path / "lake").ingest(trips(data), Silent()).rows == 1
        return
    with pytest.raises(WorkspaceError, match="cannot be used: file is not a database"):
        Lake(tmp_path / "lake").ingest(trips(data), Silent())


def test_a_locked_catalog_is_waited_for_and_then_said(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    monkeypatch.setattr("raypipe.lake.catalog.WAIT_SECONDS", 1)
    lake = Lake(tmp_path / "lake")
    lake.ingest(trips(data), Silent())
    (data / "b.csv").write_text(HEADER + lines(2))
    holder = sqlite3.connect(tmp_path / "lake" / "catalog.db")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(WorkspaceError, match="cannot be used: database is locked"):
            Lake(tmp_path / "lake").ingest(trips(data), Silent())
    finally:
        holder.rollback()
        holder.close()
    assert lake.ingest(trips(data), Silent()).rows == 2
