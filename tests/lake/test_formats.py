"""Every format, from every place, gives the same rows; what is broken or of another type is refused."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import polars as pl
import pyarrow as pa
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

from raypipe.contracts.progress import Silent
from raypipe.errors import SourceError
from raypipe.lake import Lake, remote, storage
from raypipe.lake.files import find
from raypipe.spec import Stream, avro, csv, json_lines, orc, parquet
from raypipe.spec.files import Files
from tests.lake.sources import HEADER, line, trips

ROWS = HEADER + line(1) + line(2, "", None, None) + line(3, "é")
FORMATS = {"csv": csv, "jsonl": json_lines, "parquet": parquet, "orc": orc, "avro": avro}
SCHEMA = {
    "type": "record",
    "name": "Trip",
    "fields": [
        *({"name": name, "type": ["null", kind]} for name, kind in (("id", "long"), ("town", "string"))),
        {"name": "started", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        *({"name": name, "type": ["null", "double"]} for name in ("minutes", "fare")),
    ],
}


def written(folder: Path, suffix: str) -> Path:
    """The same three trips in another format."""
    plain, path = folder / "plain.csv", folder / f"trips.{suffix}"
    plain.write_text(ROWS)
    rows = pl.read_csv(plain, try_parse_dates=True).with_columns(pl.col("started").dt.cast_time_unit("us"))
    if suffix == "csv":
        path.write_text(ROWS)
    elif suffix == "jsonl":
        rows.with_columns(pl.col("started").dt.to_string("iso:strict")).write_ndjson(path)
    elif suffix == "parquet":
        rows.write_parquet(path)
    elif suffix == "orc":
        from pyarrow import orc as writer

        writer.write_table(rows.to_arrow().cast(rows.to_arrow().schema), path)
    else:
        import fastavro

        with path.open("wb") as out:
            fastavro.writer(out, SCHEMA, rows.to_dicts())
    return path


def read(folder: Path, files: Files) -> pl.DataFrame:
    stream = Stream(**{**_declared(), "history": files})  # type: ignore[arg-type]
    lake = Lake(folder / "lake")
    return lake.frame(lake.ingest(stream, Silent())).collect()


def _declared() -> dict[str, object]:
    like = trips(None)
    columns: dict[object, str] = {}
    for name, kind in like.columns.items():
        columns[kind] = f"{columns.get(kind, '')} {name}"
    ended = {"ended_at": pl.col("started") + pl.duration(seconds=(pl.col("minutes") * 60).round())}
    return {"name": "trips", "id": ["id"], "time": "started", "columns": columns, "derive": ended}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    folder = tmp_path_factory.mktemp("expected")
    return read(folder, csv(str(written(folder, "csv"))))


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bucket of an S3 that moto serves on loopback, as the environment names it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "none")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "none")
        storage._s3.cache_clear()
        remote._filesystem.cache_clear()
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="trips")
        folder = tmp_path_factory.mktemp("s3")
        for suffix in FORMATS:
            client.upload_file(str(written(folder, suffix)), "trips", f"in/{suffix}/trips.{suffix}")
        client.put_object(Bucket="trips", Key="in/csv/_trips.csv.tmp", Body=b"half")
        client.close()
        yield "s3://trips"
    server.stop()
    storage._s3.cache_clear()
    remote._filesystem.cache_clear()


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str, expected: pl.DataFrame) -> None:
    assert read(tmp_path, FORMATS[suffix](str(written(tmp_path, suffix)))).equals(expected)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_read_from_s3(tmp_path: Path, s3: str, suffix: str, expected: pl.DataFrame) -> None:
    assert read(tmp_path, FORMATS[suffix](f"{s3}/in/{suffix}")).equals(expected)


@pytest.mark.parametrize("path", ["in/csv/trips.csv", "in/*/trips.csv", "in/csv/*.csv", "in/**/trips.csv"])
def test_a_file_or_a_pattern_of_s3(tmp_path: Path, s3: str, path: str, expected: pl.DataFrame) -> None:
    assert read(tmp_path, csv(f"{s3}/{path}")).equals(expected)


def test_any_filesystem_that_fsspec_knows(tmp_path: Path, expected: pl.DataFrame) -> None:
    memory = fsspec.filesystem("memory")
    for suffix in ("csv", "parquet"):
        memory.pipe(f"/trips/{suffix}/a.{suffix}", written(tmp_path, suffix).read_bytes())
        assert read(tmp_path / suffix, FORMATS[suffix](f"memory://trips/{suffix}")).equals(expected)


def test_what_is_not_there_is_said(tmp_path: Path, s3: str) -> None:
    with pytest.raises(SourceError, match=r"s3://trips/none \(.*\): no file is there"):
        read(tmp_path, csv(f"{s3}/none"))
    with pytest.raises(SourceError, match="no filesystem for it"):
        read(tmp_path, csv("smoke://signals/x.csv"))


@pytest.mark.parametrize(
    "head",
    ["abfss://trips@lake.dfs.core.windows.net", "abfss://lake.dfs.core.windows.net/trips", "gs://trips"],
)
@pytest.mark.parametrize("path", ["in", "in/trips.csv", "in/*.csv"])
def test_other_stores_are_named_as_their_makers_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, path: str, expected: pl.DataFrame
) -> None:
    """Arrow says what a URL's bucket or container is called; a folder stands for the store."""
    (tmp_path / "store/trips/in").mkdir(parents=True)
    written(tmp_path, "csv").rename(tmp_path / "store/trips/in/trips.csv")
    native = remote._native.__wrapped__

    def stands_in(of: str) -> tuple[FileSystem, str]:
        return SubTreeFileSystem(str(tmp_path / "store"), LocalFileSystem()), native(of)[1]

    monkeypatch.setattr(remote, "_native", stands_in)
    source = csv(f"{head}/{path}")
    assert [file.name for file in find(source)] == [f"{head}/in/trips.csv"]
    assert read(tmp_path, source).equals(expected)


def test_a_store_that_does_not_let_us_in_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Locked:
        def get_file_info(self, path: str) -> None:
            raise pa.ArrowException("Unknown error: no token\nsee the manual")

    monkeypatch.setattr(remote, "_native", lambda head: (Locked(), "trips/"))
    with pytest.raises(SourceError, match=r"abfss://.*: cannot be read: Unknown error: no token\. Check"):
        read(tmp_path, csv("abfss://trips@lake.dfs.core.windows.net/x.csv"))


@pytest.mark.parametrize("suffix", ["orc", "avro", "parquet"])
def test_a_file_that_is_cut_off_is_refused_wherever_it_is_cut(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix)
    whole = path.read_bytes()
    for part in range(24):
        path.write_bytes(whole[: len(whole) * part // 24])
        with pytest.raises(SourceError, match=r"corrupt|cannot be read|lacks column"):
            read(tmp_path, FORMATS[suffix](str(path)))


@pytest.mark.parametrize("suffix", ["orc", "avro"])
def test_another_type_is_refused(tmp_path: Path, suffix: str) -> None:
    import fastavro

    path = tmp_path / f"trips.{suffix}"
    rows = pl.DataFrame({"id": ["1"], "town": ["x"], "started": [0], "minutes": [1.0], "fare": [1.0]})
    if suffix == "orc":
        from pyarrow import orc as writer

        writer.write_table(rows.to_arrow().cast(rows.to_arrow().schema), path)
    else:
        kinds = {"id": "string", "town": "string", "started": "long", "minutes": "double", "fare": "double"}
        fields = [{"name": name, "type": kind} for name, kind in kinds.items()]
        with path.open("wb") as out:
            fastavro.writer(out, {"type": "record", "name": "T", "fields": fields}, rows.to_dicts())
    with pytest.raises(SourceError, match=r"trips\.(orc: column `id` is|avro row 1: Expected `int)"):
        read(tmp_path, FORMATS[suffix](str(path)))
