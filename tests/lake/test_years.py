"""Times that no table can hold are bad data like any other: named, and set aside where bad data may be."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.contracts.progress import Silent
from raypipe.errors import SourceError
from raypipe.lake import Lake
from raypipe.spec import Table, avro, csv, json_lines, kafka, parquet
from tests.lake.logs import Broker, ride
from tests.lake.sources import HEADER, START, line, lines, trips

#: `known_at` of a trip is some minutes after it started.
OUTSIDE = {
    "9999-12-31T23:59:59Z": "column `known_at`, as it is derived, holds a time outside of the years 1 to 9999",
    "9999-12-31T23:59:59-05:00": "column `started` holds a time outside of the years 1 to 9999",
    "0001-01-01T00:00:00+05:00": "column `started` holds a time outside of the years 1 to 9999",
}
LIMITS = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]


def record(started: str) -> str:
    """A trip of which no more is known than that it started."""
    return f"3,Bern,{started},,\n"


def places(files: object) -> Table:
    return Table("places", files, key="id", columns={int: "id", datetime: "at"})  # type: ignore[arg-type]


@pytest.mark.parametrize(("started", "words"), OUTSIDE.items())
def test_a_message_with_such_a_time_is_poison(tmp_path: Path, cluster: Broker, started: str, words: str) -> None:
    topic = "".join(c for c in started if c.isalnum())
    lake = Lake(tmp_path / "lake", connections={"kafka": cluster.connection})
    stream = trips(None, live=kafka(topic, at_most_bad=0.5))
    cluster.send(topic, ride(1), ride(3, started=started, minutes=None), ride(2))
    snapshot = lake.ingest(stream, Silent())
    lake.publish([snapshot])
    assert sorted(lake.frame(snapshot, ["id"]).collect()["id"]) == [1, 2]
    (bad,) = lake.quarantined(stream).collect().rows(named=True)
    assert (bad["offset"], bad["reason"]) == ("1", f"{words} (UTC)")
    cluster.send(topic, ride(4))
    assert lake.ingest(stream, Silent()).rows == 3, "the topic goes on"


@pytest.mark.parametrize(("started", "words"), OUTSIDE.items())
def test_a_line_with_such_a_time(tmp_path: Path, started: str, words: str) -> None:
    path = tmp_path / "trips.csv"
    path.write_text(HEADER + line(1) + record(started) + line(2))
    with pytest.raises(SourceError, match=rf"trips\.csv:3: {words}"):
        Lake(tmp_path / "strict").ingest(trips(path), Silent())
    lake, stream = Lake(tmp_path / "lake"), trips(None, history=csv(str(path), at_most_bad=0.5))
    snapshot = lake.ingest(stream, Silent())
    lake.publish([snapshot])
    assert snapshot.rows == 2
    (bad,) = lake.quarantined(stream).collect().rows(named=True)
    assert (bad["offset"], bad["bytes"]) == ("3", record(started).encode().rstrip())
    assert bad["reason"].startswith(words)


def test_a_line_of_json_with_such_a_time(tmp_path: Path) -> None:
    path = tmp_path / "trips.jsonl"
    path.write_bytes(b"\n".join([ride(1), ride(3, started="9999-12-31T23:59:59Z"), ride(2)]))
    with pytest.raises(SourceError, match=r"trips\.jsonl:2: column `\w+`, as it is derived, holds a time outside"):
        Lake(tmp_path / "lake").ingest(trips(None, history=json_lines(str(path))), Silent())


def test_a_row_of_parquet_with_such_a_time(tmp_path: Path) -> None:
    beyond = (LIMITS[1] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) + 1
    times = pa.array([0, beyond], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"id": [1, 2], "at": times}), tmp_path / "p.parquet")
    with pytest.raises(SourceError, match=r"p\.parquet row 2: column `at` holds a time outside of the years 1 to 9999"):
        Lake(tmp_path / "lake").ingest(places(parquet(str(tmp_path / "p.parquet"))), Silent())


def test_a_row_of_avro_with_such_a_time(tmp_path: Path) -> None:
    import fastavro

    kind = {"type": "long", "logicalType": "timestamp-micros"}
    schema = {"type": "record", "name": "P", "fields": [{"name": "id", "type": "long"}, {"name": "at", "type": kind}]}
    with (tmp_path / "p.avro").open("wb") as out:
        fastavro.writer(out, schema, [{"id": 1, "at": 0}, {"id": 2, "at": 2**62}])
    with pytest.raises(SourceError, match=r"p\.avro row 2: holds a time outside of the years 1 to 9999"):
        Lake(tmp_path / "lake").ingest(places(avro(str(tmp_path / "p.avro"))), Silent())


def test_a_derived_date_beyond_all_years_names_its_derivation(tmp_path: Path) -> None:
    path = tmp_path / "trips.csv"
    path.write_text(HEADER + lines(1, 2) + line(3, fare=1e7))
    derive = {"due": pl.col("started").dt.date() + pl.duration(days=pl.col("fare").cast(pl.Int64))}
    with pytest.raises(SourceError, match=r"trips\.csv:4: column `due`, as it is derived, .* the derivation at .*\.py"):
        Lake(tmp_path / "lake").ingest(trips(path, derive=derive, reveals={}), Silent())


def test_the_first_and_the_last_moment_are_rows(tmp_path: Path) -> None:
    """A sentinel such as the end of all years is a value where nothing is added to it."""
    pq.write_table(pa.table({"id": [1, 2, 3], "at": [*LIMITS, START]}), tmp_path / "p.parquet")
    lake = Lake(tmp_path / "lake")
    rows = lake.frame(lake.ingest(places(parquet(str(tmp_path / "p.parquet"))), Silent())).collect()
    assert rows.sort("id")["at"].to_list() == [*LIMITS, START]
