"""The cluster reads: many files at a time into the lake, and a snapshot as a Ray dataset."""

import pickle
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.errors import SourceError, WorkspaceError
from raypipe.lake import Lake, stage
from tests.lake.sources import HEADER, lines, towns, trips


@pytest.mark.usefixtures("ray_local")
def test_files_read_by_the_cluster_give_the_same_rows_in_the_same_order(tmp_path: Path, data: Path) -> None:
    (tmp_path / "towns.csv").write_text("town,zone,size\nBern,CET,1\n")
    places = towns(tmp_path / "towns.csv")
    for place in range(4):
        (data / f"{place}.csv").write_text(HEADER + lines(*range(place * 50, place * 50 + 60)))
    snapshots, rows = [], []
    for name, spread_bytes in (("here", 2**40), ("there", 1)):
        lake = Lake(tmp_path / name, spread_bytes=spread_bytes)
        lake.ingest(places, Silent())
        snapshots.append(lake.ingest(trips(data, at=places), Silent()))
        rows.append(lake.frame(snapshots[-1]).collect())
    assert rows[0].equals(rows[1])
    assert (snapshots[1].added, snapshots[1].repeated) == (210, 30)
    assert snapshots[0].files == snapshots[1].files


@pytest.mark.usefixtures("ray_local")
def test_a_fault_found_by_the_cluster_reads_like_any_other(tmp_path: Path, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    (data / "b.csv").write_text(HEADER + lines(2) + "3,Bern,2024-01-01T00:00:00Z,much,1\n")
    lake = Lake(tmp_path / "lake", spread_bytes=1)
    with pytest.raises(SourceError, match=r"^\S*b\.csv:3: column `minutes` holds `much`, expected a number\. Change"):
        lake.ingest(trips(data), Silent())
    assert not list((tmp_path / "lake").rglob("*.parquet"))


@pytest.mark.usefixtures("ray_local")
def test_a_disk_that_fails_on_the_cluster_is_the_workspaces_fault(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    (data / "b.csv").write_text(HEADER + lines(2))
    spread = stage._spread
    monkeypatch.setattr(
        stage, "_spread", lambda tasks, step: spread([replace(t, folder=tmp_path / "gone") for t in tasks], step)
    )
    with pytest.raises(WorkspaceError, match=r"lake: cannot be used: .*[Nn]o such file or directory.*nothing was lost"):
        Lake(tmp_path / "lake", spread_bytes=1).ingest(trips(data), Silent())


@pytest.mark.usefixtures("ray_local")
def test_a_snapshot_is_a_dataset_too(tmp_path: Path, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1, 2, 3))
    lake = Lake(tmp_path / "lake")
    hour = {"ended_at": pl.col("started"), "hour": pl.col("started").dt.hour()}
    snapshot = lake.ingest(trips(data, derive=hour), Silent())
    columns = ["id", "known_at", "hour"]
    expected = lake.frame(snapshot, columns).collect()
    got = pl.concat(
        pl.DataFrame(pl.from_arrow(b)) for b in lake.dataset(snapshot, columns).iter_batches(batch_format="pyarrow")
    )
    assert got.sort("id").equals(expected)
    assert got.schema == expected.schema
    assert set(lake.dataset(snapshot).schema().names) == set(lake.frame(snapshot).collect_schema())
    (data / "a.csv").write_text(HEADER)
    empty = Lake(tmp_path / "empty")
    assert empty.dataset(empty.ingest(trips(data), Silent()), ["id"]).count() == 0


def test_a_lake_crosses_processes(lake: Lake, data: Path) -> None:
    (data / "a.csv").write_text(HEADER + lines(1))
    snapshot = lake.ingest(trips(data), Silent())
    other: Lake = pickle.loads(pickle.dumps(lake))
    assert other.frame(snapshot).collect().equals(lake.frame(snapshot).collect())
