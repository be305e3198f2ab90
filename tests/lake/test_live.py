"""Live rows: each message is a row or in the quarantine, once, whoever reads and wherever they are killed."""

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy.exc import OperationalError

from raypipe.clock import ManualClock, SystemClock
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot, Taken
from raypipe.errors import SourceError, WorkspaceError
from raypipe.lake import Lake, ingest, live
from raypipe.lake.feeds.kafka import KafkaLog
from raypipe.lake.poison import recent_after
from raypipe.spec import Stream, days, hours, kafka
from tests.lake.logs import Broker, ride
from tests.lake.sources import HEADER, START, line, lines, trips
from tests.processes import processes_with

PROCESSES = processes_with("tests.lake.test_live")
WINDOWS = ["live.after_files", "live.after_poison", "live.before_commit", "live.after_commit"]
POISON = (b"\xff\xfe", b"", b"[]", b'{"id": 1}', ride(1, fare="much"), b"{" * 50_000, None)


def opened(folder: Path, cluster: Broker, now: datetime | None = None) -> Lake:
    clock = ManualClock(int(now.timestamp()) * 1_000_000) if now else SystemClock()
    return Lake(folder / "lake", connections={"kafka": cluster.connection}, clock=clock)


def rides(topic: str, history: Path | None = None, **changes: object) -> Stream:
    return trips(history, live=kafka(topic, at_most_bad=0.5), **changes)


def prepare(lake: Lake, stream: Stream) -> None:
    """Make its table, with no row of the log."""
    ingest.ingest(lake._catalog, stream, Silent(), 2**30)


def ids(lake: Lake, snapshot: Snapshot) -> list[int]:
    return sorted(lake.frame(snapshot, ["id"]).collect()["id"].to_list())


def test_messages_become_rows_once(tmp_path: Path, cluster: Broker, topic: str) -> None:
    lake, stream = opened(tmp_path, cluster), rides(topic)
    cluster.send(topic, *[ride(i) for i in range(5)])
    cluster.send(topic, *[ride(i) for i in range(5, 9)], partition=1)
    first = lake.ingest(stream, Silent())
    assert (ids(lake, first), first.added, first.rows) == ([*range(9)], 9, 9)
    assert first.taken is not None
    assert first.taken.last == {"0": 4, "1": 3}
    again = lake.ingest(stream, Silent())
    assert (again.snapshot_id, again.added) == (first.snapshot_id, 9)
    cluster.send(topic, ride(9), ride(3))
    lake.publish([first])
    third = lake.ingest(stream, Silent())
    assert (ids(lake, third), third.added) == ([*range(10)], 1)
    assert third.taken is not None
    assert (third.taken.read, third.taken.repeated) == (11, 1)


def test_offsets_writer_and_batch_stand_in_the_snapshot_of_the_rows(
    tmp_path: Path, cluster: Broker, topic: str
) -> None:
    lake, stream = opened(tmp_path, cluster), rides(topic)
    prepare(lake, stream)
    said = []
    for id in (1, 2):
        cluster.send(topic, ride(id))
        with lake.follow(stream) as following:
            assert following.take(5, limit=1) is not None
        snapshot = lake._catalog.load_table("lake.trips").metadata.snapshot_by_name("incoming")
        assert snapshot is not None
        assert snapshot.summary is not None
        said.append(snapshot.summary.additional_properties)
    assert [Taken.from_json(one["raypipe.taken"]).last for one in said] == [{"0": 0}, {"0": 1}]
    assert [one["added-records"] for one in said] == ["1", "1"]
    assert [one["raypipe.writer"].partition("-")[0] for one in said] == ["1", "2"], "the epoch grows"
    assert len({one["raypipe.batch"] for one in said}) == 2


def test_a_row_is_the_same_from_a_file_and_from_the_log(tmp_path: Path, cluster: Broker, topic: str) -> None:
    """One stream with a past and a present that overlap: no row lost or doubled at the seam."""
    (tmp_path / "past.csv").write_text(HEADER + lines(1, 2, 3))
    cluster.send(topic, *[ride(i) for i in (2, 3, 4, 5)])
    lake, stream = opened(tmp_path, cluster), rides(topic, tmp_path / "past.csv")
    seam = lake.ingest(stream, Silent())
    lake.publish([seam])
    (tmp_path / "all.csv").write_text(HEADER + lines(1, 2, 3, 4, 5))
    plain = Lake(tmp_path / "plain")
    expected = plain.frame(plain.ingest(trips(tmp_path / "all.csv"), Silent())).collect()
    assert lake.frame(seam).collect().equals(expected)
    (tmp_path / "past.csv").write_text(HEADER + lines(1, 2, 3, 6))
    assert ids(lake, lake.ingest(stream, Silent())) == [1, 2, 3, 4, 5, 6], "files that come later"


@pytest.mark.parametrize("place", range(len(POISON)))
def test_poison_is_kept_byte_for_byte(tmp_path: Path, cluster: Broker, topic: str, place: int) -> None:
    lake, stream, value = opened(tmp_path, cluster), rides(topic), POISON[place]
    cluster.send(topic, ride(1), value, ride(2))
    snapshot = lake.ingest(stream, Silent())
    lake.publish([snapshot])
    assert ids(lake, snapshot) == [1, 2]
    (bad,) = lake.quarantined(stream).collect().rows(named=True)
    assert (bad["origin"], bad["offset"], bad["bytes"]) == (f"kafka:{topic}/0", "1", value or b"")
    assert bad["reason"]
    assert snapshot.taken is not None
    assert snapshot.taken.read == snapshot.rows + snapshot.taken.repeated + snapshot.taken.bad == 3


def test_a_row_that_cannot_be_derived_is_poison(tmp_path: Path, cluster: Broker, topic: str) -> None:
    import polars as pl

    derive = {"ended_at": pl.col("started") + pl.duration(seconds=pl.col("town").str.to_integer())}
    lake, stream = opened(tmp_path, cluster), rides(topic, derive=derive)
    cluster.send(topic, *[ride(i, town) for i, town in enumerate(["1", "x", "2", "y"])])
    snapshot = lake.ingest(stream, Silent())
    lake.publish([snapshot])
    assert ids(lake, snapshot) == [0, 2]
    bad = lake.quarantined(stream).collect()
    assert bad["offset"].to_list() == ["1", "3"]
    assert "`ended_at` cannot be derived" in bad["reason"][0]


def test_too_much_poison_stops_and_takes_nothing_in(tmp_path: Path, cluster: Broker, topic: str) -> None:
    lake = opened(tmp_path, cluster)
    strict = trips(None, live=kafka(topic, at_most_bad=0.01))
    cluster.send(topic, *[b"x"] * 10, ride(1))
    assert lake.ingest(strict, Silent()).rows == 1, "few messages say little"
    cluster.send(topic, *[b"x"] * 11, ride(2))
    with pytest.raises(SourceError, match=r"21 of the last 23 messages cannot be read, such as: JSON is malformed"):
        lake.ingest(strict, Silent())
    lake.publish([snapshot := lake.ingest(rides(topic), Silent())])
    assert (snapshot.rows, lake.quarantined(strict).collect().height) == (2, 21)


def test_a_trickle_of_poison_stops_whoever_reads(tmp_path: Path, cluster: Broker, topic: str) -> None:
    """Each run sees ten messages; what those before it saw stands with the offsets."""
    stream = trips(None, live=kafka(topic, at_most_bad=0.025))
    cluster.send(topic, ride(1))
    for _ in range(2):
        cluster.send(topic, *[b"x"] * 10)
        opened(tmp_path, cluster).ingest(stream, Silent())
    cluster.send(topic, *[b"x"] * 10)
    for _ in range(2):
        with pytest.raises(SourceError, match=r"30 of the last 31 messages cannot be read"):
            opened(tmp_path, cluster).ingest(stream, Silent())
    taken = opened(tmp_path, cluster).ingest(rides(topic), Silent()).taken
    assert taken is not None
    assert (taken.read, taken.bad, taken.recent) == (31, 30, ((31, 30),))


@given(st.lists(st.tuples(st.integers(1, 4_000), st.integers(0, 4_000)), min_size=1, max_size=60))
def test_the_recent_messages_are_the_last_ten_thousand(batches: list[tuple[int, int]]) -> None:
    """In few parts; none is counted twice, and none of the last ten thousand is left out."""
    recent: tuple[tuple[int, int], ...] = ()
    for read, bad in batches:
        recent = recent_after(recent, read, min(read, bad))
    seen = [min(read, bad) for read, bad in batches]
    read = sum(part for part, _ in recent)
    ends = {sum(one for one, _ in batches[place:]): sum(seen[place:]) for place in range(len(batches))}
    assert ends[read] == sum(bad for _, bad in recent), "it is an end of what came"
    assert read >= min(10_000, sum(one for one, _ in batches))
    assert read < 10_000 + 1_000 + 2 * 4_000
    assert len(recent) <= 20


def test_a_removed_column_stops_and_an_added_one_does_not(tmp_path: Path, cluster: Broker, topic: str) -> None:
    lake, stream = opened(tmp_path, cluster), rides(topic)
    cluster.send(topic, ride(1, tip=3))
    lake.ingest(stream, Silent())
    with lake.follow(stream) as following:
        cluster.send(topic, ride(2, tip=3, boat="none"))
        batch = following.take(1)
        assert batch is not None
        assert batch.extra == ("boat", "tip")
    cluster.send(topic, *[json.dumps({"id": i, "town": "x"}).encode() for i in range(600)])
    with pytest.raises(SourceError, match="missing required field `started`"):
        lake.ingest(stream, Silent())


def test_avro_messages(tmp_path: Path, cluster: Broker, topic: str) -> None:
    import io

    import fastavro

    fields = [("id", "long"), ("town", "string"), ("fare", "double"), ("minutes", "double")]
    schema = {
        "type": "record",
        "name": "Trip",
        "fields": [{"name": name, "type": ["null", kind]} for name, kind in fields]
        + [{"name": "started", "type": {"type": "long", "logicalType": "timestamp-micros"}}],
    }

    def packed(id: int) -> bytes:
        out = io.BytesIO()
        row = {"id": id, "town": "Bern", "fare": None, "minutes": 10.0, "started": START + timedelta(hours=id)}
        fastavro.schemaless_writer(out, schema, row)
        return out.getvalue()

    cluster.send(topic, packed(1), packed(2), packed(3)[:-3], packed(4) + b"\0")
    stream = trips(None, live=kafka(topic, avro=json.dumps(schema), at_most_bad=0.5))
    lake = opened(tmp_path, cluster)
    lake.publish([snapshot := lake.ingest(stream, Silent())])
    rows = lake.frame(snapshot).collect()
    assert rows.select("id", "fare", "started").rows() == [(i, None, START + timedelta(hours=i)) for i in (1, 2)]
    assert lake.quarantined(stream).collect()["offset"].to_list() == ["2", "3"]


def test_late_rows_land_marked_and_known_when_they_came(tmp_path: Path, cluster: Broker, topic: str) -> None:
    came = START + days(3)
    lake, stream = opened(tmp_path, cluster, came), rides(topic, late_by=hours(2))
    at = int(came.timestamp() * 1000)
    far = ride(900, started=(came + days(365)).isoformat())
    cluster.send(topic, far, ride(10), ride(8), ride(7), ride(11), at=at)
    first = lake.ingest(stream, Silent())
    cluster.send(topic, ride(9), ride(6), at=at)
    rows = lake.frame(lake.ingest(stream, Silent())).collect()
    assert dict(rows.select("id", "late").rows()) == {
        900: False,
        10: False,
        8: False,
        7: True,
        11: False,
        9: False,
        6: True,
    }
    known = dict(rows.select("id", "known_at").rows())
    assert (known[6], known[10]) == (came, START + timedelta(hours=10, minutes=15))
    second = lake.ingest(stream, Silent())
    assert first.taken is not None
    assert second.taken is not None
    assert (first.taken.late, second.taken.late) == (1, 2)
    assert second.taken.newest == {"0": int((START + hours(11)).timestamp()) * 1_000_000}, "the future holds nothing"


def test_a_producer_of_the_future_makes_nothing_late(tmp_path: Path, cluster: Broker, topic: str) -> None:
    """Its stamp agrees with its event; our own clock does not."""
    lake, stream = opened(tmp_path, cluster), rides(topic, late_by=hours(2))
    far = datetime(2099, 1, 1, tzinfo=UTC)
    cluster.send(topic, ride(1))
    for at in (int(far.timestamp() * 1000), 2**62):  # later than any time that can be written down
        cluster.send(topic, ride(100, started=far.isoformat()), at=at)
    cluster.send(topic, ride(2), ride(0))
    snapshot = lake.ingest(stream, Silent())
    assert lake.frame(snapshot).collect().filter("late").height == 0
    assert snapshot.taken is not None
    assert snapshot.taken.newest == {"0": int((START + hours(2)).timestamp()) * 1_000_000}


def test_a_late_row_is_not_known_before_it_was_read(tmp_path: Path, cluster: Broker, topic: str) -> None:
    """Also when its producer stamps it with the time of its event, or a clock that is behind."""
    now = START + days(30)
    lake, stream = opened(tmp_path, cluster, now), rides(topic, late_by=hours(2))
    cluster.send(topic, ride(50))
    for id, at in ((-10, START - timedelta(hours=10)), (-9, datetime(1970, 1, 2, tzinfo=UTC))):
        cluster.send(topic, ride(id), at=int(at.timestamp() * 1000))
    rows = lake.frame(lake.ingest(stream, Silent())).collect()
    assert rows.filter("late").select("id", "known_at").sort("id").rows() == [(-10, now), (-9, now)]


def test_an_event_ahead_of_its_stamp_holds_nothing_when_an_old_topic_is_read(
    tmp_path: Path, cluster: Broker, topic: str
) -> None:
    """By now its time has come: it is the stamp that shows that it lay in the future then."""
    lake, stream = opened(tmp_path, cluster, START + days(900)), rides(topic, late_by=hours(2))
    then = int((START + hours(3)).timestamp() * 1000)
    cluster.send(topic, ride(1), ride(24 * 365), ride(2), at=then)
    snapshot = lake.ingest(stream, Silent())
    assert lake.frame(snapshot).collect().filter("late").height == 0


@pytest.mark.parametrize("batches", [1, 2])
def test_a_row_that_came_again_shows_how_far_time_has_come(
    tmp_path: Path, cluster: Broker, topic: str, batches: int
) -> None:
    """Where batches end changes nothing."""
    (tmp_path / "past.csv").write_text(HEADER + lines(10))
    lake, stream = opened(tmp_path, cluster), rides(topic, tmp_path / "past.csv", late_by=hours(2))
    for message in (ride(10), ride(7)):
        cluster.send(topic, message)
        if batches > 1:
            lake.ingest(stream, Silent())
    rows = lake.frame(lake.ingest(stream, Silent())).collect()
    assert dict(rows.select("id", "late").rows()) == {10: False, 7: True}


def test_late_files_are_marked(tmp_path: Path) -> None:
    lake, stream = Lake(tmp_path / "lake"), trips(tmp_path / "*.csv", late_by=hours(2))
    (tmp_path / "a.csv").write_text(HEADER + lines(10))
    lake.publish([lake.ingest(stream, Silent())])
    (tmp_path / "b.csv").write_text(HEADER + lines(7, 8, 20))
    rows = lake.frame(lake.ingest(stream, Silent())).collect()
    assert rows.filter("late")["id"].to_list() == [7]


def test_a_time_far_ahead_in_a_file_makes_nothing_late(tmp_path: Path) -> None:
    lake, stream = Lake(tmp_path / "lake"), trips(tmp_path / "*.csv", late_by=hours(2))
    (tmp_path / "a.csv").write_text(HEADER + lines(10, 24 * 365 * 200))
    lake.publish([lake.ingest(stream, Silent())])
    (tmp_path / "b.csv").write_text(HEADER + lines(7, 8))
    rows = lake.frame(lake.ingest(stream, Silent())).collect()
    assert rows.filter("late")["id"].to_list() == [7]


def test_a_changed_definition_reads_the_log_again(tmp_path: Path, cluster: Broker, topic: str) -> None:
    lake = opened(tmp_path, cluster)
    cluster.send(topic, *[ride(i) for i in range(4)])
    lake.publish([lake.ingest(rides(topic), Silent())])
    slower = rides(topic, delay=hours(1))
    snapshot = lake.ingest(slower, Silent())
    assert ids(lake, snapshot) == [*range(4)]
    assert snapshot.taken is not None
    assert snapshot.taken.read == 4


def test_without_a_wrong_file_the_log_is_read_again(tmp_path: Path, cluster: Broker, topic: str) -> None:
    """Also the row that a wrong one of its id had come before."""
    lake, right, wrong = opened(tmp_path, cluster), tmp_path / "right.csv", tmp_path / "wrong.csv"
    right.write_text(HEADER + lines(100))
    wrong.write_text(HEADER + line(1, fare=1.0) + lines(200))
    cluster.send(topic, *[ride(i) for i in range(4)])
    lake.publish([lake.ingest(rides(topic, wrong), Silent())])
    stream = rides(topic, right)
    there = lake.ingest(stream, Silent())
    assert (ids(lake, there), there.unnamed) == ([*range(4), 100, 200], (str(wrong),))
    lake.publish([there])
    anew = lake.ingest(stream, Silent(), anew=True)
    assert (ids(lake, anew), anew.unnamed) == ([*range(4), 100], ())
    cluster.send(topic, ride(4))
    after = lake.ingest(stream, Silent())
    lake.publish([after])
    assert ids(lake, after) == [*range(5), 100]
    assert 1.0 not in lake.frame(after, ["fare"]).collect()["fare"].to_list()


def test_a_log_made_anew_is_not_taken_for_the_old(tmp_path: Path, topic: str) -> None:
    first, second = Broker(), Broker()
    first.send(topic, *[ride(i) for i in range(4)])
    opened(tmp_path, first).ingest(rides(topic), Silent())
    second.send(topic, ride(7))
    with pytest.raises(SourceError, match=r"came from the log|was made anew"):
        opened(tmp_path, second).ingest(rides(topic), Silent())


@pytest.mark.parametrize("many", [5, 8])
def test_a_topic_that_was_filled_again_is_not_read_on(
    tmp_path: Path, topic: str, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """The same cluster and name, and as many messages as were read, or more; a mock cluster can delete no topic."""
    monkeypatch.setattr(KafkaLog, "identity", lambda self: f"cluster/{topic}")
    first, second = Broker(), Broker()
    first.send(topic, *[ride(i) for i in range(5)])
    before = opened(tmp_path, first).ingest(rides(topic), Silent())
    first.send(topic, ride(5))
    assert opened(tmp_path, first).ingest(rides(topic), Silent()).rows == 6, "the old one is read on"
    second.send(topic, *[ride(i) for i in range(100, 100 + many + 1)])
    with pytest.raises(SourceError, match=r"partition 0 holds another message at offset 5 .* the log was made anew"):
        opened(tmp_path, second).ingest(rides(topic), Silent())
    assert before.taken is not None
    assert set(before.taken.marks) == {"0"}


def test_one_partition_of_two_that_was_filled_again_is_found_out(
    tmp_path: Path, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by its stamp alone: the same bytes were sent at another time."""
    monkeypatch.setattr(KafkaLog, "identity", lambda self: f"cluster/{topic}")
    first, second = Broker(), Broker()
    for cluster, at in ((first, 1_700_000_000_000), (second, 1_700_000_000_001)):
        cluster.send(topic, *[ride(i) for i in range(3)], at=1_700_000_000_000)
        cluster.send(topic, *[ride(i) for i in range(3, 6)], partition=1, at=at)
    opened(tmp_path, first).ingest(rides(topic), Silent())
    with pytest.raises(SourceError, match=r"partition 1 holds another message at offset 2"):
        opened(tmp_path, second).ingest(rides(topic), Silent())


def run(folder: Path, connection: dict[str, str], topic: str, failpoint: str = "") -> None:
    if failpoint:
        os.environ["RAYPIPE_FAILPOINT"] = failpoint
    lake = Lake(folder / "lake", connections={"kafka": connection})
    with lake.follow(rides(topic)) as following:
        while sum(following.lag().values()):
            following.take(5, limit=min(10, sum(following.lag().values())))
        lake.publish([following.snapshot()])


@pytest.mark.parametrize(("window", "visit"), [*((window, 1) for window in WINDOWS), ("live.before_commit", 2)])
def test_a_killed_ingester_goes_on(tmp_path: Path, cluster: Broker, topic: str, window: str, visit: int) -> None:
    cluster.send(topic, *[ride(i) if i % 7 else b"x" for i in range(25)])
    lake, stream = opened(tmp_path, cluster), rides(topic)
    prepare(lake, stream)
    process = PROCESSES.Process(target=run, args=(tmp_path, cluster.connection, topic, f"{window}=kill@{visit}"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    run(tmp_path, cluster.connection, topic)
    snapshot = lake.ingest(stream, Silent())
    assert ids(lake, snapshot) == [i for i in range(25) if i % 7]
    assert sorted(lake.quarantined(stream).collect()["offset"].to_list(), key=int) == ["0", "7", "14", "21"]


def test_every_window_is_killed_at() -> None:
    source = Path(live.__file__).read_text()
    assert {part.partition('"')[0] for part in source.split('failpoint("')[1:]} == set(WINDOWS)


def test_the_older_of_two_ingesters_writes_nothing(tmp_path: Path, cluster: Broker, topic: str) -> None:
    """It stands still with a batch in its hands, another takes over, and it goes on."""
    lake, stream = opened(tmp_path, cluster), rides(topic)
    cluster.send(topic, *[ride(i) for i in range(5)])
    prepare(lake, stream)
    process = PROCESSES.Process(target=run, args=(tmp_path, cluster.connection, topic, "live.before_commit=stop"))
    process.start()
    assert process.pid is not None
    until_stopped(process.pid)
    with lake.follow(stream) as following:
        while sum(following.lag().values()):
            following.take(5, limit=sum(following.lag().values()))
        os.kill(process.pid, signal.SIGCONT)
        process.join(60)
        assert process.exitcode == 1
        snapshot = following.snapshot()
    assert ids(lake, snapshot) == [*range(5)]
    assert len(list((tmp_path / "lake").rglob("live-*.parquet"))) == 1, "the files of the one who lost are gone"


def until_stopped(pid: int) -> None:
    from threading import Event

    for _ in range(300):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return
        Event().wait(0.1)
    raise AssertionError("it never stood still")


def test_whoever_was_taken_over_is_told(tmp_path: Path, cluster: Broker, topic: str) -> None:
    lake, stream = opened(tmp_path, cluster), rides(topic)
    cluster.send(topic, ride(1))
    lake.ingest(stream, Silent())
    with lake.follow(stream) as old, lake.follow(stream) as new:
        cluster.send(topic, ride(2))
        with pytest.raises(WorkspaceError, match=r"another ingestion took over \(writer 2, this was 1\)"):
            old.take(1)
        batch = new.take(1)
        assert batch is not None
        assert batch.added == 1


def test_beside_one_who_follows_others_may_take_in(tmp_path: Path, cluster: Broker, topic: str) -> None:
    lake, stream = opened(tmp_path, cluster), rides(topic)
    cluster.send(topic, ride(1))
    lake.ingest(stream, Silent())
    with lake.follow(stream) as following:
        cluster.send(topic, ride(2))
        lake.publish([lake.ingest(stream, Silent())])
        cluster.send(topic, ride(3))
        following.take(2)
        assert ids(lake, following.snapshot()) == [1, 2, 3]


def test_a_commit_whose_answer_was_lost_is_looked_up(
    tmp_path: Path, cluster: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, stream = opened(tmp_path, cluster), rides(topic)
    cluster.send(topic, ride(1))
    lake.ingest(stream, Silent())
    cluster.send(topic, ride(2), ride(3))
    commit_table, lost = SqlCatalog.commit_table, []

    def lost_answer(self: SqlCatalog, *args: object, **kwargs: object) -> object:
        answer = commit_table(self, *args, **kwargs)  # type: ignore[arg-type]
        if not lost and len(answer.metadata.snapshots) > 3:
            lost.append(True)
            raise OperationalError("commit", {}, ConnectionError("the answer was lost"))
        return answer

    monkeypatch.setattr(SqlCatalog, "commit_table", lost_answer)
    assert ids(lake, lake.ingest(stream, Silent())) == [1, 2, 3]
    assert lost


def test_a_topic_that_is_not_there(tmp_path: Path, cluster: Broker) -> None:
    with pytest.raises(SourceError, match="nobody said where its brokers are"):
        Lake(tmp_path / "lake").ingest(rides("x"), Silent())
