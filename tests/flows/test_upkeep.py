"""Old snapshots go, small files become one, and what is to be forgotten is in no byte any more."""

import json
import os
import signal
from pathlib import Path

import polars as pl
import pytest

from raypipe import validation
from raypipe.contracts.progress import Silent
from raypipe.errors import SourceError
from raypipe.flows.erase import erase
from raypipe.flows.ingest import ingest
from raypipe.lake import Lake, stage, upkeep
from raypipe.lake import ingest as lake_ingest
from raypipe.spec import checks, csv, days, kafka
from tests.flows.gated import LATE, House, pipeline
from tests.lake.logs import Broker, ride
from tests.lake.sources import HEADER, line, trips
from tests.processes import processes_with

PROCESSES = processes_with("tests.flows.test_upkeep")
WINDOWS = [
    "upkeep.after_files",
    "upkeep.before_commit",
    "upkeep.before_publish",
    "upkeep.before_expiry",
    "upkeep.after_expiry",
]
SECRET = "Zweisimmen-7f3a"
#: A file is surely nobody's once it is this old, says a clock that is far ahead.
FAR = 10**17


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def lived_in(folder: Path) -> House:
    """Trips of several days; somebody's are among them, and among the quarantined."""
    house = House(folder, (checks.between("fare", 0, 100).quarantine(),))
    for day in range(2):
        house.ship(f"d{day}", line(10 * day + 1), line(10 * day + 2, SECRET), line(10 * day + 3, SECRET, fare=900.0))
        house.run()
    return house


def published(house: House) -> pl.DataFrame:
    snapshot = house.lake.published(house.stream)
    assert snapshot is not None
    return house.lake.frame(snapshot).collect()


def test_somebody_who_is_erased_is_in_no_byte(tmp_path: Path) -> None:
    house = lived_in(tmp_path)
    before = published(house)
    assert SECRET.encode() in bytes_of(tmp_path / "lake")
    record = erase(house, pipeline=pipeline(house.stream), column="town", value=SECRET, why="asked on 3 May")  # type: ignore[arg-type]
    assert (record.rows, record.quarantined) == (2, 2)
    assert published(house).equals(before.filter(pl.col("town") != SECRET))
    assert house.aside().is_empty()
    assert SECRET.encode() not in bytes_of(tmp_path / "lake")
    (entry,) = house.ledger.entries("data.erased", "trips")
    assert SECRET not in entry.body
    assert "asked on 3 May" in entry.body
    assert house.ingest().added == 0, "files that were read are not read again"


def test_what_was_no_row_and_what_gates_keep_is_erased_too(tmp_path: Path) -> None:
    """Quarantined lines and messages that name the value anywhere, and files that nobody can look into."""
    gate = (checks.between("fare", 0, 100).quarantine(), checks.drift("town", 1.0))
    house = House(tmp_path, gate)
    broker = Broker()
    lake, live = Lake(tmp_path / "lake", connections={"kafka": broker.connection}), kafka("gone", at_most_bad=1.0)
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.csv").write_text(HEADER + line(1) + f"2,{SECRET}\n" + f"3,{SECRET}x\n" + line(4, SECRET))
    (folder / "b.csv").write_bytes(b"")
    stream = trips(None, history=csv(str(folder), at_most_bad=1.0), live=live, gate=list(gate))
    escaped = "".join(f"\\u{ord(c):04x}" for c in SECRET).encode()
    broker.send("gone", b'{"name": "' + escaped + b'"}', b"[{}]", b"\xff" + SECRET.encode(), ride(5, fare=900.0))
    for _ in range(2):
        snapshot = lake.ingest(stream, Silent())
        examined = validation.examine(
            pipeline(stream), [snapshot], lake.frame, LATE, Silent(), [snapshot], kept=tmp_path / "gates"
        )
        snapshots = [lake.set_aside(faulty, LATE) for faulty in examined.faulty] or [snapshot]
        lake.publish(snapshots)
    assert SECRET.encode() in bytes_of(tmp_path / "gates")
    assert lake.quarantined(stream).collect().height == 7
    record = erase(house, pipeline=pipeline(stream), column="town", value=SECRET, why="asked")  # type: ignore[arg-type]
    assert (record.rows, record.quarantined) == (1, 4)
    left = lake.quarantined(stream).collect()
    assert sorted(left["bytes"].drop_nulls()) == [f"3,{SECRET}x".encode(), b"[{}]"]
    assert bytes_of(tmp_path / "gates") == b""
    record = erase(house, pipeline=pipeline(stream), column="fare", value="900", why="asked")  # type: ignore[arg-type]
    assert record.quarantined == 1, "as the column holds it, not as it was written"


def test_it_is_written_into_no_file_that_is_scattered(tmp_path: Path) -> None:
    house = lived_in(tmp_path)
    for day in range(2, 10):
        house.ship(f"d{day}", line(10 * day + 1))
        house.run()
    before = published(house)
    kept = house.lake.tidy(house.stream, FAR, FAR)
    assert kept.snapshots > 10
    assert published(house).equals(before)
    assert len(list((tmp_path / "lake").rglob("trips/data/*/*.parquet"))) == 1
    assert house.aside().height == 2, "what was set aside stays"
    assert house.lake.tidy(house.stream, FAR, FAR).snapshots == 0
    house.ship("new", line(500))
    house.run()
    assert published(house).height == before.height + 1
    assert house.aside().height == 2


def test_a_long_table_is_laid_out_by_a_key_and_read_in_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "ROWS_PER_FILE", 40)
    monkeypatch.setattr(upkeep, "SAMPLED", 3)
    house = House(tmp_path, ())
    towns = [f"town-with-a-long-name-{i * i % 23:02}" for i in range(240)]
    for day in range(12):
        house.ship(f"d{day}", *(line(20 * day + i, towns[20 * day + i]) for i in range(20)))
        house.run()
    before, (name, *_) = published(house), towns
    assert house.lake.portions(house.lake.published(house.stream), "town") is None  # type: ignore[arg-type]
    house.lake.tidy(house.stream, 0, 0, by="town")
    assert published(house).equals(before.sort("town", maintain_order=True))
    house.ship("late", line(900, name), line(901, "a new one"), line(902, "zzz"))
    house.run()
    snapshot = house.lake.published(house.stream)
    assert snapshot is not None
    found = house.lake.portions(snapshot, "town")
    assert found is not None
    assert len(found) >= 4
    pieces = [portion.rows(["id", "town"]).collect() for portion in found]
    whole = published(house).select("id", "town")
    assert pl.concat(pieces).sort("id").equals(whole.sort("id"))
    assert sum(piece["town"].n_unique() for piece in pieces) == whole["town"].n_unique(), "no key lies in two"
    assert max(piece.height for piece in pieces) < whole.height / 2
    assert house.lake.portions(snapshot, "fare") is None, "it is laid out by one key alone"
    for day in range(6):
        house.ship(f"more{day}", *(line(1000 + 20 * day + i, towns[20 * day + i]) for i in range(20)))
        house.run()
    snapshot = house.lake.published(house.stream)
    assert snapshot is not None
    assert house.lake.portions(snapshot, "town") is None, "too much came in since"


def test_what_is_younger_than_asked_stays(tmp_path: Path) -> None:
    house = lived_in(tmp_path)
    first = house.ingest()
    assert house.lake.tidy(house.stream, 0, 0).snapshots == 0
    assert house.lake.frame(first).collect().height == 4


def test_every_ingestion_keeps_what_a_source_retains(tmp_path: Path) -> None:
    house = lived_in(tmp_path)
    home = next((tmp_path / "lake").rglob("trips/data/*")).parents[1]
    orphans = [home / "data/left-behind.parquet", home / "metadata/00099-left-behind.metadata.json"]
    house.clock.advance(FAR)
    for retain in (None, days(1_500_000)):
        stream = trips(tmp_path / "trips", gate=list(house.gate), retain=retain)
        ingest(house, Silent(), pipeline=pipeline(stream))  # type: ignore[arg-type]
    assert not [one for one in house.ledger.entries("data.tidied") if json.loads(one.body)["snapshots"]]
    for orphan in orphans:
        orphan.write_bytes(b"")
    stream = trips(tmp_path / "trips", gate=list(house.gate), retain=days(1))
    ingest(house, Silent(), pipeline=pipeline(stream))  # type: ignore[arg-type]
    told = json.loads(house.ledger.entries("data.tidied")[-1].body)
    assert (told["keep_days"], told["snapshots"] > 2) == ({"trips": 1.0}, True)
    assert not any(orphan.exists() for orphan in orphans)
    assert house.ingest().added == 0
    assert published(house).height == 4


def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    broker = Broker()
    broker.send("upkeep", *[ride(i) for i in range(5)])
    lake = Lake(tmp_path / "lake", connections={"kafka": broker.connection})
    stream = trips(None, live=kafka("upkeep"))
    for i in range(5, 8):
        lake.publish([lake.ingest(stream, Silent())])
        broker.send("upkeep", ride(i))
    lake.tidy(stream, FAR, FAR)
    snapshot = lake.ingest(stream, Silent())
    assert (snapshot.rows, snapshot.added) == (8, 1)


def run_with(folder: Path, window: str) -> None:
    os.environ["RAYPIPE_FAILPOINT"] = f"{window}=kill@1"
    house = House(folder, (checks.between("fare", 0, 100).quarantine(),))
    erase(house, pipeline=pipeline(house.stream), column="town", value=SECRET, why="asked")  # type: ignore[arg-type]


@pytest.mark.parametrize("window", WINDOWS)
def test_an_erasure_that_was_killed_goes_on(tmp_path: Path, window: str) -> None:
    house = lived_in(tmp_path)
    before = published(house)
    process = PROCESSES.Process(target=run_with, args=(tmp_path, window))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    erase(house, pipeline=pipeline(house.stream), column="town", value=SECRET, why="asked")  # type: ignore[arg-type]
    assert published(house).equals(before.filter(pl.col("town") != SECRET))
    assert SECRET.encode() not in bytes_of(tmp_path / "lake")


def ingest_with(folder: Path, window: str) -> None:
    os.environ["RAYPIPE_FAILPOINT"] = f"{window}=kill"
    House(folder, (checks.between("fare", 0, 100).quarantine(),)).run()


@pytest.mark.parametrize("window", ["ingest.while_reading", "ingest.after_files_before_commit", "ingest.after_commit"])
@pytest.mark.parametrize("again", [True, False])
def test_what_a_killed_run_has_left_is_erased_too(tmp_path: Path, window: str, again: bool) -> None:
    """Whether the rows came in with another run, or never did."""
    house = House(tmp_path, (checks.between("fare", 0, 100).quarantine(),))
    house.ship("d0", line(1))
    house.run()
    house.ship("d1", line(11), line(12, SECRET))
    process = PROCESSES.Process(target=ingest_with, args=(tmp_path, window))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    if again:
        house.run()
        assert SECRET.encode() in bytes_of(tmp_path / "lake")
    before = published(house)
    record = erase(house, pipeline=pipeline(house.stream), column="town", value=SECRET, why="asked")  # type: ignore[arg-type]
    assert record.rows == again
    assert SECRET.encode() not in bytes_of(tmp_path / "lake")
    assert published(house).equals(before.filter(pl.col("town") != SECRET))


def test_who_is_just_writing_what_is_erased_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are gone, so its commit must not be. What the source still has comes in: that is erased there first."""
    house = House(tmp_path)
    house.ship("d0", line(1))
    house.run()
    house.ship("d1", line(11), line(12, SECRET))
    settle, erased = lake_ingest.settle, []

    def late(*how: object) -> object:
        settled = settle(*how)  # type: ignore[arg-type]
        if not erased:
            erased.append(erase(house, pipeline=pipeline(house.stream), column="town", value=SECRET, why="asked"))  # type: ignore[arg-type]
        return settled

    monkeypatch.setattr(lake_ingest, "settle", late)
    house.run()
    assert erased
    assert published(house)["id"].to_list() == [1, 11, 12]


def test_every_window_is_killed_at() -> None:
    source = Path(upkeep.__file__).read_text()
    assert {part.partition('"')[0] for part in source.split('failpoint("')[1:]} == set(WINDOWS)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    house = lived_in(tmp_path)
    with pytest.raises(SourceError, match="no source has a column `nme`"):
        erase(house, pipeline=pipeline(house.stream), column="nme", value="x", why="asked")  # type: ignore[arg-type]
