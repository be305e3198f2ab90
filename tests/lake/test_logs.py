"""Logs of every kind keep the same contract: Kafka on librdkafka's mock cluster, Kinesis on moto's server."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE

from raypipe.clock import ManualClock, SystemClock
from raypipe.contracts.progress import Silent
from raypipe.contracts.streaming import Messages, Rereadable, StreamSource
from raypipe.errors import SourceError
from raypipe.lake import Lake
from raypipe.lake.feeds import open_log
from raypipe.lake.feeds.contract import LogContract
from raypipe.spec import kafka, kinesis, pubsub
from tests.lake.logs import Broker, ride
from tests.lake.sources import START, trips


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    """How to reach a Kinesis that moto serves on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "endpoint_url": f"http://{host}:{port}",
        "region_name": "eu-central-1",
        "aws_access_key_id": "none",
        "aws_secret_access_key": "none",
    }
    server.stop()


class TestKafka(LogContract):
    @pytest.fixture
    def topic(self) -> str:
        return uuid4().hex

    @pytest.fixture
    def send(self, cluster: Broker, topic: str) -> Callable[..., None]:
        return lambda *values: cluster.send(topic, *values)

    @pytest.fixture
    def open(self, cluster: Broker, topic: str) -> Callable[[], StreamSource]:
        return lambda: open_log(kafka(topic), {"kafka": cluster.connection}, SystemClock())


class Stamped:
    """A message as the client gives it: on the mock cluster no broker stamps."""

    def __init__(self, kind: int, milliseconds: int) -> None:
        self._stamp = kind, milliseconds

    def error(self) -> None: ...

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7

    def value(self) -> bytes:
        return b"x"

    def timestamp(self) -> tuple[int, int]:
        return self._stamp


@pytest.mark.parametrize(
    ("kind", "said", "came", "stamp"),
    [
        (TIMESTAMP_CREATE_TIME, 5, 9_000, 5_000),  # the producer's word is no arrival
        (TIMESTAMP_CREATE_TIME, 500, 9_000, 500_000),
        (TIMESTAMP_CREATE_TIME, 2**62, 9_000, 0),
        (TIMESTAMP_LOG_APPEND_TIME, 5, 5_000, 5_000),  # the broker's is
        (TIMESTAMP_LOG_APPEND_TIME, 500, 9_000, 500_000),  # but nothing comes after it was read
        (TIMESTAMP_NOT_AVAILABLE, -1, 9_000, 0),
    ],
)
def test_when_a_kafka_message_came(
    monkeypatch: pytest.MonkeyPatch, kind: int, said: int, came: int, stamp: int
) -> None:
    for module in ("kafka", "kafka_span"):
        monkeypatch.setattr(f"raypipe.lake.feeds.{module}.Message", Stamped)
    log = open_log(kafka("t"), {"kafka": {"bootstrap.servers": "127.0.0.1:1"}}, ManualClock(9_000))
    found = Messages()
    log._add([Stamped(kind, said)], found)  # type: ignore[attr-defined]
    log.close()
    assert (found.times, found.stamps) == ([came], [stamp])


def test_kafka_topic_made_anew_is_not_read_on(cluster: Broker) -> None:
    """Its offsets begin again: what was taken in is beyond its end."""
    topic = uuid4().hex
    cluster.send(topic, b"1", b"2")
    log = open_log(kafka(topic), {"kafka": cluster.connection}, SystemClock())
    with pytest.raises(
        SourceError, match=r"messages after offset 9 are there no more: .* was made anew\. Keep them longer"
    ):
        log.read({"0": 9}, 1, 10.0)
    with pytest.raises(SourceError, match=r"partition 0 ends at 2, but 9 was taken in: it was made anew\. Give"):
        log.lag({"0": 9})
    log.close()


def test_kafka_gives_a_message_again_if_it_is_there(cluster: Broker) -> None:
    """What comes next is read as if nothing had been asked."""
    topic = uuid4().hex
    cluster.send(topic, b"1", b"2", b"3")
    cluster.send(topic, b"4", None, partition=1)
    log = open_log(kafka(topic), {"kafka": cluster.connection}, SystemClock())
    assert isinstance(log, Rereadable)
    first = log.read({"0": 0, "1": 0}, 1, 10.0)
    found = log.again({"0": 1, "1": 1, "2": 0, "77": 0})
    assert sorted(zip(found.partitions, found.offsets, found.values, strict=True)) == [("0", 1, b"2"), ("1", 1, None)]
    assert len(log.again({"0": 3})) == len(log.again({})) == 0
    rest = log.read({"0": 0, "1": 0} | first.last, 10, 1.0)
    assert sorted([*first.values, *rest.values], key=str) == [None, b"2", b"3"]
    log.close()


def test_the_mark_of_a_message_is_its_own() -> None:
    said = [(0, b"a"), (1, b"a"), (0, b"b"), (0, b""), (0, None)]
    marks = set()
    for stamp, value in said:
        found = Messages()
        found.add("0", 7, 5, b"before")
        found.add("0", 8, 6, value, stamp)
        marks.add(found.marks["0"])
    assert len(marks) == len(said)


def put(aws: dict[str, str], stream: str, *values: bytes) -> None:
    import boto3

    client = boto3.client("kinesis", **aws)
    if stream not in client.list_streams()["StreamNames"]:
        client.create_stream(StreamName=stream, ShardCount=1)
    for value in values:
        client.put_record(StreamName=stream, Data=value, PartitionKey="1")
    client.close()


class TestKinesis(LogContract):
    @pytest.fixture
    def stream(self) -> str:
        return uuid4().hex

    @pytest.fixture
    def send(self, aws: dict[str, str], stream: str) -> Callable[..., None]:
        return lambda *values: put(aws, stream, *values)

    @pytest.fixture
    def open(self, aws: dict[str, str], stream: str) -> Callable[[], StreamSource]:
        return lambda: open_log(kinesis(stream), {"kinesis": aws}, SystemClock())


def test_kinesis_into_the_lake(tmp_path: Path, aws: dict[str, str]) -> None:
    put(aws, "trips", ride(1), b"x", ride(2))
    lake, stream = Lake(tmp_path / "lake", connections={"kinesis": aws}), trips(None, live=kinesis("trips"))
    assert lake.ingest(stream, Silent()).rows == 2
    put(aws, "trips", ride(2), ride(3))
    snapshot = lake.ingest(stream, Silent())
    lake.publish([snapshot])
    assert lake.frame(snapshot, ["id"]).collect()["id"].to_list() == [1, 2, 3]
    (bad,) = lake.quarantined(stream).collect().rows(named=True)
    assert bad["origin"] == "kinesis:trips/shardId-000000000000"


def test_a_kinesis_stream_of_several_shards_loses_nothing(tmp_path: Path, aws: dict[str, str]) -> None:
    """Moto goes on writing to a shard that was split, so shards are several from the start here."""
    import boto3

    client = boto3.client("kinesis", **aws)
    client.create_stream(StreamName="several", ShardCount=3)
    lake, stream = Lake(tmp_path / "lake", connections={"kinesis": aws}), trips(None, live=kinesis("several"))
    for start in (0, 20):
        for i in range(start, start + 20):
            client.put_record(StreamName="several", Data=ride(i), PartitionKey=str(i))
        snapshot = lake.ingest(stream, Silent())
    assert snapshot.taken is not None
    assert (snapshot.rows, snapshot.taken.read, len(snapshot.taken.last)) == (40, 40, 3)
    assert lake.ingest(stream, Silent()).taken == snapshot.taken, "nothing is read twice"
    client.close()


def test_shards_of_kinesis_come_a_page_at_a_time(aws: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A further page is asked for by its token alone, as AWS wants it; moto wants the stream's name beside it."""
    asked: list[dict[str, object]] = []

    def answer(self: object, verb: str, **arguments: object) -> dict[str, object]:
        asked.append(arguments)
        page = int(str(arguments.get("NextToken", 0)))
        return {"Shards": [{"ShardId": f"shard-{page}"}]} | ({"NextToken": str(page + 1)} if page < 2 else {})

    log = open_log(kinesis("many"), {"kinesis": aws}, SystemClock())
    monkeypatch.setattr(type(log), "_ask", answer)
    assert log._shards() == ["shard-0", "shard-1", "shard-2"]  # type: ignore[attr-defined]
    assert [sorted(one) for one in asked] == [["StreamName"], ["NextToken"], ["NextToken"]]
    log.close()


def trim(stream: str, keep: int) -> None:
    """Let the only shard forget all but its newest records, as Kinesis does in time."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.kinesis.models import kinesis_backends

    (shard,) = kinesis_backends[DEFAULT_ACCOUNT_ID]["eu-central-1"].streams[stream].shards.values()
    for number in list(shard.records)[: len(shard.records) - keep]:
        del shard.records[number]


def test_kinesis_that_forgot_unread_messages_stops_its_stream(tmp_path: Path, aws: dict[str, str]) -> None:
    put(aws, "short", ride(1), ride(2))
    lake, stream = Lake(tmp_path / "lake", connections={"kinesis": aws}), trips(None, live=kinesis("short"))
    lake.publish([lake.ingest(stream, Silent())])
    put(aws, "short", ride(3), ride(4))
    trim("short", keep=1)
    with pytest.raises(
        SourceError, match=r"kinesis short shardId-0+: message \d+, taken in last, is there no more, .*lost"
    ):
        lake.ingest(stream, Silent())
    published = lake.published(stream)
    assert published is not None
    assert lake.frame(published, ["id"]).collect()["id"].to_list() == [1, 2]


def test_kinesis_may_forget_what_was_read(tmp_path: Path, aws: dict[str, str]) -> None:
    put(aws, "idle", ride(1), ride(2))
    lake, stream = Lake(tmp_path / "lake", connections={"kinesis": aws}), trips(None, live=kinesis("idle"))
    lake.publish([lake.ingest(stream, Silent())])
    trim("idle", keep=1)
    assert lake.ingest(stream, Silent()).rows == 2
    put(aws, "idle", ride(3))
    lake.publish([lake.ingest(stream, Silent())])
    trim("idle", keep=0)
    assert lake.ingest(stream, Silent()).rows == 3


def test_no_such_stream(aws: dict[str, str]) -> None:
    log = open_log(kinesis("nowhere"), {"kinesis": aws}, SystemClock())
    with pytest.raises(SourceError, match=r"kinesis nowhere: cannot be read"):
        log.identity()


@pytest.mark.parametrize(
    ("live", "module"),
    [
        (kafka("t"), "confluent_kafka"),
        (kinesis("t"), "boto3"),
        (pubsub("projects/p/subscriptions/s"), "google.cloud.pubsub_v1"),
    ],
)
def test_a_client_that_is_not_installed_is_named(live: object, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr("raypipe.lake.feeds.find_spec", lambda name: None if name == module else object())
    with pytest.raises(SourceError, match=rf"its client is not installed\. Run `pip install 'raypipe\[{live.kind}\]'`"):  # type: ignore[attr-defined]
        open_log(live, {}, SystemClock())  # type: ignore[arg-type]


def test_pubsub_keeps_what_was_not_kept_and_forgets_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's own client, with the network cut out: nothing can serve Pub/Sub here."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import pubsub_v1

    kept = [
        pubsub_v1.types.ReceivedMessage(
            ack_id=str(i), message={"data": b"%d" % i, "message_id": str(i), "publish_time": START}
        )
        for i in range(3)
    ]
    client = pubsub_v1.SubscriberClient(credentials=AnonymousCredentials())
    gone: list[str] = []
    monkeypatch.setattr(
        client,
        "pull",
        lambda request, timeout: pubsub_v1.types.PullResponse(
            received_messages=[one for one in kept if one.ack_id not in gone]
        ),
    )
    monkeypatch.setattr(client, "acknowledge", lambda request: gone.extend(request["ack_ids"]))
    monkeypatch.setattr(pubsub_v1, "SubscriberClient", lambda: client)
    log = open_log(pubsub("projects/p/subscriptions/s"), {}, SystemClock())
    found = log.read({}, 2, 1.0)
    assert (found.values, found.offsets, gone) == ([b"0", b"1"], [0, 1], [])
    log.done(found.last)
    assert gone == ["0", "1"]
    assert log.lag({}) == {"0": 1}
    assert log.read({}, 2, 1.0).values == [b"2"]
