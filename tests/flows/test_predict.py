"""Parts of a batch: whatever its files look like, many actors work on them, and a killed one loses one part."""

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from raypipe.errors import SourceError
from raypipe.flows import predict
from raypipe.serving.fields import Field

FIELDS = (Field("n", int, pl.Int64(), required=True),)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "PART_ROWS", 10)


def numbers(paths: list[Path], folder: Path) -> list[list[int]]:
    """What the rows of each part are, after it was checked that they stand where they are said to."""
    found, at = [], 0
    with predict._as_parquet([str(path) for path in paths], folder, FIELDS) as files:
        for part in predict._parts(files, folder):
            assert part.first == at
            with pq.ParquetFile(part.path) as file:
                found.append(file.read_row_groups(list(part.groups))["n"].to_pylist())
            at += len(found[-1])
    assert not list(folder.glob("*.draft"))
    return found


def test_a_file_of_one_row_group_becomes_many_parts(tmp_path: Path) -> None:
    rows = pl.DataFrame({"n": range(45), "more": ["x"] * 45})
    whole, fine, text = (tmp_path / name for name in ("whole.parquet", "fine.parquet", "rows.csv"))
    rows.write_parquet(whole, row_group_size=1_000_000)
    rows.write_parquet(fine, row_group_size=5)
    rows.write_csv(text)
    out = tmp_path / "out"
    out.mkdir()
    tens = [list(range(at, min(at + 10, 45))) for at in range(0, 45, 10)]
    assert numbers([whole], out) == numbers([fine], out) == tens
    assert numbers([whole, fine, whole], out) == 3 * tens
    assert [[int(n) for n in part] for part in numbers([text], out)] == tens


def test_a_file_that_is_not_there_is_told_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nope\.csv: cannot be read: No such file or directory\. Check the path"):
        predict._found(None, None, str(tmp_path / "nope.csv"))  # type: ignore[arg-type]  # the file is looked for first


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.parquet").write_text("n\n1\n")
    with pytest.raises(SourceError, match="is not Parquet"):
        numbers([tmp_path / "wrong.parquet"], tmp_path)
