"""Ingestion that keeps going: rows are published when the gate has passed them, and Prometheus is told."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts.progress import Silent, Step
from raypipe.contracts.records import Followed, GateReport, Taken
from raypipe.contracts.streaming import Offsets
from raypipe.errors import DefinitionError, GateError, ServiceError, SourceError
from raypipe.flows import Platform
from raypipe.flows.follow import Pace, follow, follow_line
from raypipe.flows.meter import IngestMeter
from raypipe.lake import Lake
from raypipe.lake.feeds.kafka import KafkaLog
from raypipe.spec import Stream, checks, hours, kafka, seconds
from tests.flows.gated import LATE, House, pipeline
from tests.lake.logs import Broker, ride
from tests.lake.sources import towns, trips


@pytest.fixture(scope="module")
def cluster() -> Broker:
    return Broker()


@dataclass(frozen=True)
class LiveHouse(House):
    """A house whose trips come from a topic."""

    topic: str = ""
    connection: dict[str, str] = field(default_factory=dict)
    services: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(host="127.0.0.1"))

    @property
    def lake(self) -> Lake:
        return Lake(self.folder / "lake", connections={"kafka": self.connection})

    @property
    def stream(self) -> Stream:
        return trips(None, live=kafka(self.topic), late_by=hours(2), gate=list(self.gate))

    def follow(self, broker: Broker, *values: bytes, bypass: str = "", **pace: float) -> Followed:
        """Follow for a moment, in which messages come."""
        told = Sending(lambda: broker.send(self.topic, *values))
        wanted = Pace(**({"every": 0.5, "gate_every": 0.0, "seconds": 0.0, "as_of": LATE} | pace))  # type: ignore[arg-type]
        return follow(cast(Platform, self), told, pipeline=pipeline(self.stream), pace=wanted, bypass=bypass)


@dataclass
class Sending(Silent):
    """Sends when following begins."""

    send: Callable[[], None]

    def step(self, name: str, total: float | None = None) -> AbstractContextManager[Step]:
        if name.startswith("follow"):
            self.send()
        return super().step(name, total)


def test_what_comes_is_judged_and_published(tmp_path: Path, cluster: Broker, free_port: Callable[[], int]) -> None:
    house = LiveHouse(tmp_path, (checks.between("fare", 0, 100),), topic="follow", connection=cluster.connection)
    cluster.send("follow", *[ride(i) for i in range(5)])
    port = free_port()
    record = house.follow(cluster, ride(5, tip=1), b"x", ride(1), ride(-20), metrics_port=port)
    assert house.main() == [*range(6), -20]
    assert (record.read, record.rows, record.bad, record.late, record.gates) == (4, 2, 1, 1, 1)
    assert follow_line(record) == "4 messages in 1 batches, 2 new rows, 1 gates, 1 set aside, 1 late"
    told = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    for said in (
        'raypipe_ingest_lag{partition="0",source="trips"} 0.0',
        'raypipe_ingest_quarantined_total{source="trips"} 1.0',
        'raypipe_ingest_late_total{source="trips"} 1.0',
        'raypipe_ingest_rows_total{source="trips"} 7.0',
        'raypipe_ingest_watermark_seconds{source="trips"} 1.7040',
        'raypipe_ingest_rows_per_second{source="trips"} ',
    ):
        assert said in told
    written = [(entry.kind, entry.body) for entry in house.ledger.entries(subject="trips")]
    assert [kind for kind, _ in written] == ["source.columns", "stage.gate"]
    assert json.loads(written[0][1]) == {"table": "trips", "columns": ["tip"]}


def test_a_closed_gate_ends_it_and_publishes_nothing(tmp_path: Path, cluster: Broker) -> None:
    house = LiveHouse(tmp_path, (checks.between("fare", 0, 100),), topic="closed", connection=cluster.connection)
    cluster.send("closed", ride(1))
    house.follow(cluster)
    with pytest.raises(GateError, match="1 of 2 rows fail"):
        house.follow(cluster, ride(2, fare=900.0))
    assert house.main() == [1]
    patient = replace(house, gate=(checks.between("fare", 0, 100).quarantine(),))
    patient.follow(cluster, ride(3))
    assert (patient.main(), patient.aside().height) == ([1, 3], 1)


def test_a_reason_goes_past_a_closed_gate_as_long_as_it_follows(tmp_path: Path, cluster: Broker) -> None:
    house = LiveHouse(tmp_path, (checks.between("fare", 0, 100),), topic="past", connection=cluster.connection)
    cluster.send("past", ride(1))
    house.follow(cluster, ride(2, fare=900.0), bypass="a strike")
    house.follow(cluster, ride(3), bypass="a strike")
    assert house.main() == [1, 2, 3]
    told = house.ledger.entries("gate.bypassed", "trips")
    reports = [GateReport.from_json(entry.body) for entry in told]
    assert [(one.bypassed, one.stopping[0].rows) for one in reports] == [("a strike", 2), ("a strike", 3)]
    with pytest.raises(GateError, match="1 of 4 rows fail"):
        house.follow(cluster, ride(4))
    assert house.main() == [1, 2, 3]


def test_what_waited_is_told_while_it_is_read(tmp_path: Path, cluster: Broker, free_port: Callable[[], int]) -> None:
    """A follower that was away for a week is asked how far it is, not only when it has caught up."""
    house = LiveHouse(tmp_path, topic="waited", connection=cluster.connection)
    cluster.send("waited", *[ride(i) for i in range(5)], b"x", ride(1), ride(-20))
    port, read = free_port(), []
    wanted = Pace(every=0.5, gate_every=0.0, seconds=0.0, metrics_port=port, as_of=LATE)
    told = Sending(lambda: read.append(httpx.get(f"http://127.0.0.1:{port}/metrics").text))
    follow(cast(Platform, house), told, pipeline=pipeline(house.stream), pace=wanted)
    for said in (
        'raypipe_ingest_messages_total{source="trips"} 8.0',
        'raypipe_ingest_rows_total{source="trips"} 6.0',
        'raypipe_ingest_quarantined_total{source="trips"} 1.0',
        'raypipe_ingest_late_total{source="trips"} 1.0',
        'raypipe_ingest_lag{partition="0",source="trips"} 0.0',
        'raypipe_ingest_up{source="trips"} 1.0',
        'raypipe_ingest_rows_per_second{source="trips"} ',
    ):
        assert said in read[0], "before anything was followed"
    assert 'raypipe_ingest_messages_total{source="trips"} 8.0' in httpx.get(f"http://127.0.0.1:{port}/metrics").text


def test_a_source_that_cannot_go_on_is_written_down(tmp_path: Path, cluster: Broker) -> None:
    house = LiveHouse(tmp_path, topic="stops", connection=cluster.connection)
    cluster.send("stops", ride(1))
    with pytest.raises(SourceError, match="11 of the last 12 messages cannot be read"):
        house.follow(cluster, *[b"x"] * 11)
    (entry,) = house.ledger.entries(subject="trips")
    assert (entry.kind, json.loads(entry.body)["table"]) == ("source.stopped", "trips")


def test_one_that_cannot_be_read_in_the_beginning_stops_alone(tmp_path: Path, cluster: Broker) -> None:
    """As it does later: who is started again goes on with the others, if readers see something of that one."""
    (tmp_path / "towns.csv").write_text("town,zone,size\nBern,CET,1\n")
    gate = (checks.refers("town", to=towns(tmp_path / "towns.csv")),)
    house = LiveHouse(tmp_path, gate, topic="alone", connection=cluster.connection)
    cluster.send("alone", ride(1))
    house.follow(cluster)
    (tmp_path / "towns.csv").write_text("town,zone\nBern,CET\n")
    record = house.follow(cluster, ride(2))
    assert (record.stopped, house.main()) == (("towns",), [1, 2])
    (told,) = house.ledger.entries("source.stopped", "trips")
    assert "lacks column `size`" in told.body
    other = replace(house, folder=tmp_path / "other")
    other.folder.mkdir()
    with pytest.raises(SourceError, match="lacks column `size`"):
        other.follow(cluster)


def test_a_log_that_does_not_answer_is_waited_for(
    tmp_path: Path, cluster: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = LiveHouse(tmp_path, topic="silent", connection=cluster.connection)
    cluster.send("silent", ride(1))
    lag, answers = KafkaLog.lag, [True, True, True, False, False]  # three times for what is there at first

    def sometimes(self: KafkaLog, after: Offsets) -> dict[str, int]:
        if answers and not answers.pop(0):
            raise ServiceError("does not answer", where="kafka silent")
        return lag(self, after)

    monkeypatch.setattr(KafkaLog, "lag", sometimes)
    record = house.follow(cluster, ride(2), ride(3), seconds=3.0, every=0.3)
    assert not answers
    assert house.main() == [1, 2, 3]
    assert (record.read, record.stopped) == (2, ())


def test_there_must_be_something_to_follow(tmp_path: Path) -> None:
    house = House(tmp_path)
    with pytest.raises(DefinitionError, match="no source has a live side"):
        follow(cast(Platform, house), Silent(), pipeline=pipeline(house.stream), pace=Pace())


def test_the_watermark_is_that_of_the_partition_farthest_behind() -> None:
    clock, stream = ManualClock(0), trips(None, live=kafka("t"), late_by=seconds(10))
    meter = IngestMeter(clock)
    taken = Taken(newest={"0": 100_000_000, "1": 40_000_000})
    assert meter.watermark(stream, taken, {}) == 30_000_000
    clock.advance(61_000_000)
    moved = Taken(newest={"0": 170_000_000, "1": 40_000_000})
    assert meter.watermark(stream, moved, {"1": 3}) == 30_000_000, "it has messages that wait"
    assert meter.watermark(stream, moved, {"1": 0}) == 160_000_000, "it is silent"
