"""A lake whose files lie in S3, as moto's server plays it: what is erased is in no object of the bucket."""

from pathlib import Path

import pytest
from pyarrow.fs import FileSelector, FileType

from benchmarks.ingest_kills.ways import BUCKET, s3
from raypipe.contracts.progress import Silent
from raypipe.lake import Lake, storage
from tests.lake.sources import HEADER, line, trips

SECRET = "Rumpelstilzchen"


def content() -> bytes:
    store = storage.filesystem("s3://")
    files = [one for one in store.get_file_info(FileSelector(BUCKET, recursive=True)) if one.type == FileType.File]
    return b"".join(store.open_input_file(one.path).read() for one in files)


def test_what_is_erased_is_in_no_object(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3() as way:
        for name, value in way.env.items():
            monkeypatch.setenv(name, value)
        lake, stream = Lake(tmp_path / "lake", warehouse=f"s3://{BUCKET}/there"), trips(data)

        def shipped(name: str, *lines: str) -> list[int]:
            (data / f"{name}.csv").write_text(HEADER + "".join(lines))
            lake.publish([snapshot := lake.ingest(stream, Silent())])
            return lake.frame(snapshot).collect()["id"].to_list()

        shipped("a", line(1), line(2, SECRET, fare=8762.0))
        assert shipped("b", line(3)) == [1, 2, 3]
        assert all(word in content() for word in (SECRET.encode(), b"8760.0"))
        assert lake.erase(stream, "town", SECRET) == (1, 0)
        assert not any(word in content() for word in (SECRET.encode(), b"8760.0"))
        lake.tidy(stream, 2**62, 2**62)
        assert shipped("c", line(4)) == [1, 3, 4]
