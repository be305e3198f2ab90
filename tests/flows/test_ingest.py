"""All sources of a pipeline: what is told of them, how their columns changed, and that one stops itself alone."""

import json
from pathlib import Path
from typing import cast

import pytest

from raypipe.contracts.progress import Progress, Silent
from raypipe.contracts.records import Snapshot
from raypipe.errors import ServiceError, SourceError
from raypipe.flows import Platform
from raypipe.flows.ingest import ingest, ingest_line
from raypipe.lake import Lake
from raypipe.lake.intake import Took
from raypipe.spec import Source, checks, kafka
from tests.flows.gated import House, pipeline
from tests.flows.test_follow import LiveHouse
from tests.lake.logs import Broker, ride
from tests.lake.sources import line, towns, trips


@pytest.fixture(scope="module")
def cluster() -> Broker:
    return Broker()


def test_what_waits_for_its_gate_is_told_as_read_before(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.ship("a", line(1))

    def told() -> tuple[tuple[str, ...], str]:
        record = ingest(cast(Platform, house), Silent(), pipeline=pipeline(house.stream))
        return record.waiting, ingest_line(record)

    assert told() == ((), "1 table, 1 row (1 new)")
    assert told() == (("trips",), "1 table, 1 row (0 new, 1 read before and not published yet)")
    house.run()
    assert told() == ((), "1 table, 1 row (0 new)")


def test_a_column_more_in_a_file_is_written_down(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.ship("a", line(1))
    house.run()
    (tmp_path / "trips" / "b.csv").write_text("id,note,town,started,minutes,fare\n" + line(2).replace(",", ",x,", 1))
    for _ in range(2):
        record = ingest(cast(Platform, house), Silent(), pipeline=pipeline(house.stream))
    assert "`note` was added" in ingest_line(record)
    (told,) = house.ledger.entries("source.columns", "trips")
    assert "`note` was added" in told.body


def test_one_source_that_cannot_be_read_stops_itself_alone(tmp_path: Path) -> None:
    house = House(tmp_path, (checks.refers("town", to=towns(tmp_path / "towns.csv")).warn(),))
    (tmp_path / "towns.csv").write_text("town,zone\nBern,CET\n")
    house.ship("a", line(1))
    with pytest.raises(SourceError, match="lacks column `size`"):
        ingest(cast(Platform, house), Silent(), pipeline=pipeline(house.stream))
    (told,) = house.ledger.entries("source.stopped", "trips")
    assert "lacks column `size`" in told.body
    assert house.lake.ingest(house.stream, Silent()).rows == 1
    assert len(list((tmp_path / "lake").rglob("trips/data/*/*.parquet"))) == 1


def test_one_source_that_does_not_answer_stops_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path, (checks.refers("town", to=towns(tmp_path / "towns.csv")).warn(),))
    house.ship("a", line(1))
    ingest_one = Lake.ingest

    def silent(self: Lake, source: Source, progress: Progress, *, anew: bool, took: Took) -> Snapshot:
        if source.name == "towns":
            raise ServiceError("does not answer", where="sql shop/towns")
        return ingest_one(self, source, progress, anew=anew, took=took)

    monkeypatch.setattr(Lake, "ingest", silent)
    with pytest.raises(ServiceError, match="does not answer"):
        ingest(cast(Platform, house), Silent(), pipeline=pipeline(house.stream))
    assert len(list((tmp_path / "lake").rglob("trips/data/*/*.parquet"))) == 1


def test_a_column_more_in_a_file_under_live_rows_is_written_down(tmp_path: Path, cluster: Broker) -> None:
    """Rows of the log land on top of the file's, and whoever read it may die before it is told."""
    house = LiveHouse(tmp_path, topic="both", connection=cluster.connection)
    cluster.send("both", ride(9))
    both = trips(tmp_path / "trips", live=kafka("both"))
    house.ship("a", line(1))
    house.lake.publish([house.lake.ingest(both, Silent())])
    (tmp_path / "trips" / "b.csv").write_text("id,note,town,started,minutes,fare\n" + line(2).replace(",", ",x,", 1))
    cluster.send("both", ride(3))
    house.lake.ingest(both, Silent())  # and dies
    assert ingest(cast(Platform, house), Silent(), pipeline=pipeline(both)).snapshots[0].rows == 4
    (told,) = house.ledger.entries("source.columns", "trips")
    assert "`note` was added" in told.body
    house.lake.publish([house.lake.ingest(both, Silent())])
    assert house.lake.ingest(both, Silent()).changed == (), "it was told"


def test_a_column_more_in_what_waited_is_written_down(tmp_path: Path, cluster: Broker) -> None:
    house = LiveHouse(tmp_path, topic="wider", connection=cluster.connection)
    cluster.send("wider", ride(1, tip=1))
    for _ in range(2):
        ingest(cast(Platform, house), Silent(), pipeline=pipeline(house.stream))
    (told,) = house.ledger.entries("source.columns", "trips")
    assert json.loads(told.body) == {"table": "trips", "columns": ["tip"]}


def test_a_source_that_stops_for_the_same_reason_again_is_written_down_again(tmp_path: Path) -> None:
    house = House(tmp_path)
    for number in (1, 2):
        (tmp_path / "trips").mkdir(exist_ok=True)
        (tmp_path / "trips" / "bad.csv").write_text("id,town,started,minutes\n")
        for _ in range(2):
            with pytest.raises(SourceError, match="lacks column `fare`"):
                ingest(cast(Platform, house), Silent(), pipeline=pipeline(house.stream))
            assert len(house.ledger.entries("source.stopped", "trips")) == number
        (tmp_path / "trips" / "bad.csv").unlink()
        house.ship(f"{number}", line(number))
        house.run()
