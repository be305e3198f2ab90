"""Batches of predictions: each appended once, whole; one that was begun goes on; nothing earlier is touched."""

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from raypipe.errors import SourceError, WorkspaceError
from raypipe.failpoints import FailpointError
from raypipe.lake import Lake

COLUMNS: dict[str, pl.DataType] = {"batch": pl.String(), "row": pl.Int64(), "carrier": pl.String()}


def write(lake: Lake, batch: str, rows: int, columns: dict[str, pl.DataType] = COLUMNS) -> list[str]:
    with lake.batches("late").begun(batch, columns) as (folder, schema):
        frame = pl.DataFrame({"batch": [batch] * rows, "row": range(rows), "carrier": "UA"})
        missing = [pl.lit(None).alias(name) for name in schema.names if name not in frame.columns]
        path = folder / "000000.parquet"
        pq.write_table(frame.with_columns(missing).select(schema.names).to_arrow().cast(schema), path)
    return [str(path)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.mark.parametrize("window", ["predict.before_commit", "predict.after_commit"])
def test_a_batch_is_there_once_wherever_a_run_breaks_off(
    lake: Lake, window: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = lake.batches("late")
    table.append("a", write(lake, "a", 3))
    paths = write(lake, "b", 5)
    with monkeypatch.context() as patch:
        patch.setenv("RAYPIPE_FAILPOINT", f"{window}=raise")
        with pytest.raises(FailpointError):
            table.append("b", paths)
    first = table.append("b", paths)
    assert table.append("b", paths) == first == table.snapshot("b")
    assert table.frame("b").collect()["row"].to_list() == list(range(5))
    assert table.frame().collect().height == 8


def test_what_was_begun_stays_and_what_is_left_of_others_goes(lake: Lake) -> None:
    table = lake.batches("late")
    table.append("a", write(lake, "a", 3))
    left = Path(write(lake, "b", 5)[0])
    with table.begun("b", COLUMNS) as (folder, _):
        assert (folder / "000000.parquet") == left
        assert left.exists()
        with pytest.raises(WorkspaceError, match="another batch is being worked on"), table.begun("c", COLUMNS):
            pass
    with table.begun("c", COLUMNS):
        assert not left.exists()
    assert table.frame("a").collect().height == 3


def test_later_columns_take_nothing_from_earlier_batches(lake: Lake) -> None:
    table = lake.batches("late")
    table.append("a", write(lake, "a", 3))
    changed = {"batch": pl.String(), "row": pl.Int64(), "unit": pl.String()}
    table.append("b", write(lake, "b", 2, changed))
    assert table.frame().select("batch", "carrier").collect().rows() == [("a", "UA")] * 3 + [("b", "UA")] * 2
    with pytest.raises(SourceError, match="batch z of late: is not in the lake"):
        table.frame("z")
