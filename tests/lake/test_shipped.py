"""Columns that change: more is taken note of and accepted; less, or another meaning, stops the source."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot
from raypipe.errors import SourceError
from raypipe.lake import Lake, units
from raypipe.lake.state import candidate, held_by
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


@pytest.mark.parametrize("factor", [100.0, 1_000.0, 1 / 60])
@pytest.mark.parametrize("kind", FORMATS)
def test_another_unit_shows_in_a_small_file(lake: Lake, data: Path, kind: str, factor: float) -> None:
    folder = data / kind
    ship(folder, "a", frame(*range(200)))
    ship(folder, "b", frame(*range(200, 290), factor=1.1))
    taken(lake, stream(folder))
    ship(folder, "c", frame(*range(300, 390), factor=factor))
    with pytest.raises(SourceError, match="column `minutes` seems to be in another unit"):
        lake.ingest(stream(folder), Silent())
    assert taken(lake, stream(folder, rescales=["minutes"])).rows == 380


def test_another_unit_shows_in_a_trickle(tmp_path: Path) -> None:
    """Also where no batch ever had many rows; what was judged is not kept."""
    broker, minutes = Broker(), [10.0 + i * 7 % 17 for i in range(200)]
    lake = Lake(tmp_path / "lake", connections={"kafka": broker.connection})
    live = trips(None, live=kafka("trickle"))
    for start in range(0, 120, 30):
        broker.send("trickle", *[ride(i, minutes=minutes[i]) for i in range(start, start + 30)])
        taken(lake, live)
    held = held_by(lake._catalog.load_table("lake.trips"), candidate(lake._catalog.load_table("lake.trips")))
    assert "minutes" in held.shape.scales
    assert not held.shape.few
    for start in range(120, 160, 4):
        broker.send("trickle", *[ride(i, minutes=minutes[i] * 1000) for i in range(start, start + 4)])
        if start < 136:
            taken(lake, live)
        else:
            with pytest.raises(SourceError, match="`minutes` seems to be in another unit: its values are 1,000 times"):
                lake.ingest(live, Silent())
            break


def test_values_that_wait_to_be_judged_are_erased(lake: Lake, data: Path) -> None:
    folder = data / "csv"
    ship(folder, "a", frame(1, 2).with_columns(fare=pl.Series([7.5, 8762.0])))
    taken(lake, stream(folder))
    assert b"8760.0" in b"".join(path.read_bytes() for path in (lake._folder).rglob("*.json"))
    lake.erase(stream(folder), "id", 2)
    assert not [path for path in lake._folder.rglob("*") if path.is_file() and b"8760.0" in path.read_bytes()]
    ship(folder, "b", frame(3))
    assert taken(lake, stream(folder)).added == 1, "it goes on"


DISTRIBUTIONS = {
    "normal": lambda random, many: np.abs(random.normal(50, 12, many)),
    "wide": lambda random, many: random.lognormal(3, 1, many),
    "very wide": lambda random, many: random.lognormal(3, 3, many),
    "of one group at a time": lambda random, many: random.lognormal(random.normal(3, 1.5), 0.4, many),
    "of two groups": lambda random, many: random.lognormal(random.choice([1.0, 6.0]), random.uniform(0.2, 1), many),
    "a few values": lambda random, many: random.choice(
        [1.0, 2.0, 5.0, 100.0, 250.0], many, p=[0.3, 0.3, 0.2, 0.1, 0.1]
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_few_values_of_the_same_unit_raise_no_alarm(name: str) -> None:
    """Nor do batches each of which is of one sort, in a column whose sorts lie far apart."""
    random, draw = np.random.default_rng(7), DISTRIBUTIONS[name]
    scale = units.quantiles(np.concatenate([draw(random, 40) for _ in range(100)]))
    alarms = sum(
        units.factor_of_few(scale, draw(random, int(random.integers(20, 100)))) is not None for _ in range(3_000)
    )
    assert alarms == 0


@pytest.mark.parametrize("name", ["normal", "wide", "very wide", "a few values"])
@pytest.mark.parametrize("factor", [60.0, 1_000.0, 1e6, 1 / 100])
def test_few_values_of_another_unit_are_found(name: str, factor: float) -> None:
    random, draw = np.random.default_rng(8), DISTRIBUTIONS[name]
    scale = units.quantiles(draw(random, 2_000))
    many = [int(random.integers(20, 100)) for _ in range(300)]
    found = [units.factor_of_few(scale, factor * draw(random, one)) for one in many]
    spread = scale[-1] / scale[0]
    if max(factor, 1 / factor) > 10 * spread:  # else too many still lie where they did
        assert sum(one is not None for one in found) >= 0.95 * len(found)


def test_times_since_an_epoch_are_found_among_few() -> None:
    scale = units.quantiles([1.7e9 + i for i in range(200)])
    assert units.factor_of_few(scale, [1e3 * (1.7e9 + 1e5 + i) for i in range(25)]) == 1e3
    assert units.factor_of_few(scale, [1.7e9 + 1e5 + i for i in range(25)]) is None
