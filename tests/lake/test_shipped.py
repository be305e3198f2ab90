"""Columns that change: more is taken note of and accepted; less, or another meaning, stops the source."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot
from raypipe.errors import SourceError
from raypipe.lake import Lake
from raypipe.spec import Stream, json_lines, kafka, parquet
from raypipe.spec import csv as csv_files
from tests.lake.logs import Broker, ride
from tests.lake.sources import START, trips

FORMATS = {"csv": csv_files, "json": json_lines, "parquet": parquet}


def frame(*ids: int, factor: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": ids,
            "town": ["Bern"] * len(ids),
            "started": [START + timedelta(hours=id) for id in ids],
            "minutes": [factor * (10.0 + id % 17) for id in ids],
            "fare": [7.5] * len(ids),
        }
    )


def ship(folder: Path, name: str, rows: pl.DataFrame) -> None:
    folder.mkdir(exist_ok=True)
    kind = folder.name
    if kind == "parquet":
        rows.write_parquet(folder / f"{name}.parquet")
        return
    texts = rows.with_columns(pl.col(n).dt.strftime("%Y-%m-%dT%H:%M:%SZ") for n in rows.columns if n == "started")
    if kind == "csv":
        texts.write_csv(folder / f"{name}.csv")
    else:
        texts.write_ndjson(folder / f"{name}.json")


def taken(lake: Lake, stream: Stream) -> Snapshot:
    snapshot = lake.ingest(stream, Silent())
    lake.publish([snapshot])
    return snapshot


def stream(folder: Path, **changes: object) -> Stream:
    return trips(None, **({"history": FORMATS[folder.name](str(folder))} | changes))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_column_more_and_another_order_are_told_and_accepted(lake: Lake, data: Path, kind: str) -> None:
    folder = data / kind
    ship(folder, "a", frame(1, 2))
    assert taken(lake, stream(folder)).changed == ()
    ship(
        folder, "b", frame(3).with_columns(note=pl.lit("x")).select("town", "note", "id", "started", "minutes", "fare")
    )
    snapshot = lake.ingest(stream(folder), Silent())
    told = [what.partition(": ")[2] for what in snapshot.changed]
    assert told == ["`note` was added", "the columns are in another order"]
    assert lake.frame(snapshot, ["id"]).collect()["id"].to_list() == [1, 2, 3]
    assert lake.ingest(stream(folder), Silent()).changed == snapshot.changed, "until it is published it is told again"
    lake.publish([snapshot])
    assert lake.ingest(stream(folder), Silent()).changed == ()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"fare": "fares"}, "`fare"), ({"fare": None}, "lacks column `fare`")],
    ids=["renamed", "removed"],
)
def test_a_column_that_is_gone_stops(
    lake: Lake, data: Path, kind: str, change: dict[str, str | None], sentence: str
) -> None:
    folder = data / kind
    ship(folder, "a", frame(1, 2))
    before = taken(lake, stream(folder)).snapshot_id
    rows = frame(3)
    ship(folder, "b", rows.rename(change) if change["fare"] else rows.drop("fare"))  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=sentence):
        lake.ingest(stream(folder), Silent())
    now = lake.published(stream(folder))
    assert now is not None
    assert now.snapshot_id == before


def test_json_that_is_renamed_in_the_middle_of_a_file_stops(lake: Lake, data: Path) -> None:
    folder = data / "json"
    ship(folder, "a", frame(1, 2))
    whole = (folder / "a.json").read_text().splitlines()
    more = whole[0].replace('"id":1', '"id":3,"note":"x"')
    (folder / "a.json").write_text("\n".join([*whole, more]))
    assert taken(lake, stream(folder)).rows == 3
    renamed = whole[0].replace('"id":1', '"id":4').replace('"fare"', '"fares"')
    (folder / "a.json").write_text("\n".join([*whole, renamed]))
    with pytest.raises(SourceError, match=r"a\.json:3: has `fares`, and lacks column `fare`\. Was it renamed\?"):
        lake.ingest(stream(folder), Silent())


def typed(folder: Path, name: str, kind: pa.DataType, unit: str, *ids: int) -> None:
    """Parquet whose floats are of this type and unit, and whose whole numbers are as wide."""
    folder.mkdir(exist_ok=True)
    rows = frame(*ids).to_arrow()
    whole = pa.int32() if kind == pa.float32() else pa.int64()
    fields = {
        "id": pa.field("id", whole),
        "minutes": pa.field("minutes", kind, metadata={"unit": unit} if unit else None),
    }
    schema = pa.schema([fields.get(field.name, field) for field in rows.schema])
    pq.write_table(rows.cast(schema), folder / f"{name}.parquet")


def test_wider_is_told_and_narrower_stops(lake: Lake, data: Path) -> None:
    folder = data / "parquet"
    typed(folder, "a", pa.float32(), "", 1, 2)
    taken(lake, stream(folder))
    typed(folder, "b", pa.float64(), "", 3)
    wider = taken(lake, stream(folder))
    assert [what.partition(": ")[2] for what in wider.changed] == [
        "`id` was int32 and is int64",
        "`minutes` was float and is double",
    ]
    lake.tidy(stream(folder), 10**17, 10**17)
    typed(folder, "c", pa.float32(), "", 4)
    with pytest.raises(SourceError, match=r"c\.parquet: column `(id|minutes)` was (int64|double) and is only"):
        lake.ingest(stream(folder), Silent())


def test_another_unit_that_a_column_names_stops(lake: Lake, data: Path) -> None:
    folder = data / "parquet"
    typed(folder, "a", pa.float64(), "min", 1, 2)
    taken(lake, stream(folder))
    typed(folder, "b", pa.float64(), "s", 3)
    with pytest.raises(SourceError, match=r"b\.parquet: column `minutes` was in min and is in s"):
        lake.ingest(stream(folder), Silent())


@pytest.mark.parametrize("kind", FORMATS)
def test_another_unit_shows_in_the_values(lake: Lake, data: Path, kind: str) -> None:
    folder = data / kind
    ship(folder, "a", frame(*range(200)))
    taken(lake, stream(folder))
    ship(folder, "b", frame(*range(200, 400), factor=60))
    sentence = "column `minutes` seems to be in another unit: its values are 60 times as large"
    with pytest.raises(SourceError, match=sentence):
        lake.ingest(stream(folder), Silent())
    assert taken(lake, stream(folder, rescales=["minutes"])).rows == 400


def test_drift_is_no_other_unit(lake: Lake, data: Path) -> None:
    folder = data / "csv"
    ship(folder, "a", frame(*range(200)))
    taken(lake, stream(folder))
    ship(folder, "b", frame(*range(200, 400), factor=3.0))
    ship(folder, "c", frame(*range(100_000, 100_200)))
    assert taken(lake, stream(folder)).rows == 600


def test_another_unit_in_a_log_stops(tmp_path: Path) -> None:
    broker = Broker()
    lake = Lake(tmp_path / "lake", connections={"kafka": broker.connection})
    live = trips(None, live=kafka("units"))
    broker.send("units", *[ride(i, minutes=10.0 + i % 17) for i in range(200)])
    taken(lake, live)
    broker.send("units", *[ride(i, minutes=60 * (10.0 + i % 17)) for i in range(200, 400)])
    with pytest.raises(SourceError, match="column `minutes` seems to be in another unit"):
        lake.ingest(live, Silent())
    assert lake.published(live) is not None
