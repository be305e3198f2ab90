"""A backlog that the cluster reads: the same rows, marks, counts and quarantine as one process makes of it."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import ray

from raypipe.clock import ManualClock, SystemClock
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot, Taken
from raypipe.contracts.streaming import Divisible, Messages, Offsets
from raypipe.errors import ServiceError, SourceError
from raypipe.lake import Lake, ingest, live, share
from raypipe.lake.feeds import open_log
from raypipe.lake.feeds.kafka import KafkaLog
from raypipe.lake.feeds.kafka_span import KafkaSpan
from raypipe.spec import Stream, days, hours, kafka
from tests.lake.logs import Broker, ride
from tests.lake.sources import HEADER, START, lines, trips
from tests.processes import processes_with

PROCESSES = processes_with("tests.lake.test_live_spread")
PARTITIONS = (0, 1, 2)
#: When producers say that they wrote, in milliseconds: after all events.
STAMP = int((START + days(800)).timestamp()) * 1_000
DERIVED = {"ended_at": pl.col("started") + pl.duration(seconds=pl.col("town").str.to_integer())}


def opened(folder: Path, cluster: Broker, *, spread: bool, now: datetime | None = None) -> Lake:
    clock = ManualClock(int(now.timestamp()) * 1_000_000) if now else SystemClock()
    many = 1 if spread else 2**40
    return Lake(folder, connections={"kafka": cluster.connection}, clock=clock, spread_messages=many)


def rides(topic: str, history: Path | None = None, **changes: object) -> Stream:
    return trips(history, live=kafka(topic, at_most_bad=0.5), **changes)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many spans each batch of the cluster had."""
    found: list[int] = []
    whole = KafkaLog.spans

    def counted(self: KafkaLog, after: Offsets, limit: int) -> list[Any]:
        spans = whole(self, after, limit)
        found.append(len(spans))
        return list(spans)

    monkeypatch.setattr(KafkaLog, "spans", counted)
    return found


def send(cluster: Broker, topic: str, *, shift: int = 0) -> None:
    """To each partition rows, late ones, poison of three kinds, a row twice, and one that came from a file."""
    for partition in PARTITIONS:
        ids = [shift + 1_000 * partition + i for i in range(100)]
        ordered = [*ids[:40], ids[3], *ids[50:], *ids[40:50]]  # the last ones are late
        values: list[bytes | None] = [ride(id, town=str(id), tip=2) for id in ordered]
        values[20:20] = [b"{", None, ride(ids[0], town="x")]
        cluster.send(topic, *values, ride(partition, town="5"), partition=partition, at=STAMP)


def aside(lake: Lake, stream: Stream) -> pl.DataFrame:
    return lake.quarantined(stream).collect().drop("set", "snapshot").sort("origin", pl.col("offset").cast(pl.Int64))


@pytest.mark.usefixtures("ray_local")
def test_both_ways_come_to_the_same(tmp_path: Path, cluster: Broker, topic: str, spans: list[int]) -> None:
    (tmp_path / "past.csv").write_text(HEADER + lines(*range(5)).replace("Bern", "5"))
    found: list[tuple[pl.DataFrame, pl.DataFrame, Taken | None]] = []
    send(cluster, topic)
    stream = rides(topic, tmp_path / "past.csv", late_by=hours(20), derive=DERIVED)
    lakes = [opened(tmp_path / f"{spread}", cluster, spread=spread, now=START + days(900)) for spread in (False, True)]
    for more in (0, 10_000):
        found.clear()
        if more:
            send(cluster, topic, shift=more)
        for lake in lakes:
            lake.publish([snapshot := lake.ingest(stream, Silent())])
            found.append((lake.frame(snapshot).collect().sort("id"), aside(lake, stream), snapshot.taken))
        (rows, bad, last), (spread_rows, spread_bad, spread_last) = found
        assert spread_rows.equals(rows)
        assert spread_bad.equals(bad)
        assert spread_last == last
    assert last is not None
    assert last.read == 2 * 3 * 105
    assert last.bad == 2 * 3 * 3
    assert last.late > 0
    assert last.read == rows.height - 5 + last.repeated + last.bad
    assert last.newest.keys() == {"0", "1", "2"}
    assert spans == [3, 3]


@pytest.mark.usefixtures("ray_local")
def test_each_batch_is_bounded(
    tmp_path: Path, cluster: Broker, topic: str, spans: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SPAN_MESSAGES", 40)
    for partition in PARTITIONS:
        cluster.send(topic, *[ride(1_000 * partition + i) for i in range(100)], partition=partition)
    lake, stream = opened(tmp_path / "lake", cluster, spread=True), rides(topic)
    told: list[tuple[int, int]] = []
    snapshot = lake.ingest(stream, Silent(), took=lambda one, batch, _: told.append((batch.added, one.lag()["2"])))
    assert spans == [3, 3, 3]
    assert told == [(120, 60), (120, 20), (60, 0)], "by whoever reads, batch by batch"
    assert (snapshot.rows, snapshot.taken and snapshot.taken.last) == (300, {"0": 99, "1": 99, "2": 99})
    table = lake._catalog.load_table("lake.trips")
    added = [s.summary.additional_properties.get("added-records") for s in table.snapshots() if s.summary]
    assert [one for one in added if one] == ["120", "120", "60"]


def test_few_messages_and_one_partition_are_read_here(
    tmp_path: Path, cluster: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object) -> None:
        raise AssertionError("the cluster was asked")

    monkeypatch.setattr(share, "spread", nobody)
    cluster.send(topic, *[ride(i) for i in range(5)])
    assert opened(tmp_path / "one", cluster, spread=True).ingest(rides(topic), Silent()).rows == 5
    cluster.send(topic, ride(5), partition=1)
    assert opened(tmp_path / "few", cluster, spread=False).ingest(rides(topic), Silent()).rows == 6


def broken(self: KafkaLog, after: Offsets, limit: int, fault: Exception, whole: Callable[..., list[Any]]) -> list[Any]:
    class Broken:
        many = 1

        def read(self) -> Iterator[Messages]:
            raise fault

    return [*whole(self, after, limit), Broken()]


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(
    "fault",
    [
        SourceError("is gone", where="kafka t", cure="Keep it"),
        ServiceError("does not answer", where="kafka t"),
        RuntimeError("broke"),
    ],
)
def test_a_part_that_fails_fails_the_batch(
    tmp_path: Path, cluster: Broker, topic: str, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(cluster, topic)
    lake, stream, whole = opened(tmp_path / "lake", cluster, spread=True), rides(topic, derive=DERIVED), KafkaLog.spans
    with monkeypatch.context() as patch:
        patch.setattr(KafkaLog, "spans", lambda self, after, limit: broken(self, after, limit, fault, whole))
        with pytest.raises(type(fault) if not isinstance(fault, RuntimeError) else Exception) as told:
            lake.ingest(stream, Silent())
    assert str(fault) in str(told.value)
    assert not list((tmp_path / "lake").rglob("*.parquet"))
    assert lake.quarantined(stream).collect().is_empty()
    assert lake.ingest(stream, Silent()).rows == 3 * 100


@pytest.mark.usefixtures("ray_local")
def test_a_worker_that_dies_is_asked_again(
    tmp_path: Path, cluster: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    died, whole = tmp_path / "died", KafkaLog.spans

    def mortal(self: KafkaLog, after: Offsets, limit: int) -> list[Any]:
        class Mortal:
            def __init__(self, span: Any) -> None:
                self.span, self.many = span, span.many

            def read(self) -> Iterator[Messages]:
                for block in self.span.read():
                    yield block
                    if not died.exists():  # what was read is on its way into a file
                        died.touch()
                        os.kill(os.getpid(), signal.SIGKILL)

        return [Mortal(span) for span in whole(self, after, limit)]

    monkeypatch.setattr(KafkaLog, "spans", mortal)
    for partition in PARTITIONS:
        cluster.send(topic, *[ride(1_000 * partition + i) for i in range(50)], partition=partition)
    lake = opened(tmp_path / "lake", cluster, spread=True)
    rows = lake.frame(lake.ingest(rides(topic), Silent())).collect()
    assert died.exists()
    assert sorted(rows["id"]) == [1_000 * partition + i for partition in PARTITIONS for i in range(50)]


@pytest.mark.usefixtures("ray_local")
def test_where_parts_hold_nothing_one_process_reads_on(
    tmp_path: Path, cluster: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of their offsets may belong to transactions that were given up; what comes behind them does not wait."""

    def empty(self: KafkaLog, after: Offsets, limit: int) -> list[Any]:
        class Empty:
            many = 1

            def read(self) -> Iterator[Messages]:
                return iter(())

        return [Empty(), Empty()]

    monkeypatch.setattr(KafkaLog, "spans", empty)
    send(cluster, topic)
    lake = opened(tmp_path / "lake", cluster, spread=True)
    assert lake.ingest(rides(topic, derive=DERIVED), Silent()).rows == 3 * 100


@pytest.mark.usefixtures("ray_local")
def test_too_much_poison_stops_as_ever(tmp_path: Path, cluster: Broker, topic: str) -> None:
    """No part alone may let it go, nor stop for what is little of the whole."""
    strict = trips(None, live=kafka(topic, at_most_bad=0.02))
    cluster.send(topic, *[b"{"] * 15, ride(1))
    for partition in (1, 2):
        cluster.send(topic, *[ride(partition * 1_000 + i) for i in range(100)], partition=partition)
    lake = opened(tmp_path / "lake", cluster, spread=True)
    snapshot = lake.ingest(strict, Silent())
    lake.publish([snapshot])
    assert snapshot.rows == 201
    cluster.send(topic, *[b"{"] * 4, partition=1)
    cluster.send(topic, *[b"{"] * 4, partition=2)
    with pytest.raises(SourceError, match=r"23 of the last 224 messages cannot be read, such as: "):
        lake.ingest(strict, Silent())
    assert lake.quarantined(strict).collect().height == 15


def test_messages_that_are_gone_are_not_jumped_over(cluster: Broker, topic: str) -> None:
    """A span begins right behind what was taken in, so it says what is lost."""
    cluster.send(topic, *[ride(i) for i in range(5)])
    log = open_log(kafka(topic), {"kafka": cluster.connection}, SystemClock())
    assert isinstance(log, Divisible)
    (span,) = log.spans({"0": 1}, 2)
    assert [message for block in span.read() for message in block.offsets] == [2, 3]
    assert isinstance(span, KafkaSpan)
    with pytest.raises(SourceError, match="messages after offset 69 are there no more"):
        list(replace(span, start=70, stop=90).read())
    log.close()


def run(folder: Path, connection: dict[str, str], topic: str, address: str, failpoint: str = "") -> None:
    if failpoint:
        os.environ["RAYPIPE_FAILPOINT"] = failpoint
    ray.init(address=address, log_to_driver=False)
    lake = Lake(folder / "lake", connections={"kafka": connection}, spread_messages=1)
    lake.publish([lake.ingest(rides(topic), Silent())])


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("window", ["live.after_poison", "live.before_commit"])
def test_a_killed_ingester_goes_on(tmp_path: Path, cluster: Broker, topic: str, window: str) -> None:
    for partition in PARTITIONS:
        values = [ride(1_000 * partition + i) if i % 10 else b"x" for i in range(50)]
        cluster.send(topic, *values, partition=partition)
    lake, stream = opened(tmp_path / "lake", cluster, spread=True), rides(topic)
    ingest.ingest(lake._catalog, stream, Silent(), 2**30)
    address = ray.get_runtime_context().gcs_address
    given = (tmp_path, cluster.connection, topic, address, f"{window}=kill")
    process = PROCESSES.Process(target=run, args=given)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    snapshot: Snapshot = lake.ingest(stream, Silent())
    lake.publish([snapshot])
    rows = lake.frame(snapshot).collect()
    assert sorted(rows["id"]) == [1_000 * p + i for p in PARTITIONS for i in range(50) if i % 10]
    bad = lake.quarantined(stream).collect()
    assert sorted(bad.select("origin", "offset").rows()) == sorted(
        (f"kafka:{topic}/{p}", str(i)) for p in PARTITIONS for i in range(0, 50, 10)
    )
