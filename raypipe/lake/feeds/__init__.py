"""Logs of live events, opened by what a stream declares."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

from raypipe.clock import Clock
from raypipe.contracts.streaming import StreamSource
from raypipe.errors import SourceError
from raypipe.references import reveal
from raypipe.spec.live import Live, LogKind

#: By kind of log, how it is reached, in the words of its own client.
Connections = Mapping[str, Mapping[str, str]]
_NEEDS: dict[LogKind, tuple[str, ...]] = {
    "kafka": ("confluent_kafka",),
    "kinesis": ("boto3",),
    "pubsub": ("google", "google.cloud", "google.cloud.pubsub_v1"),
    "sql": (),
}


def open_log(live: Live, connections: Connections, clock: Clock, columns: Sequence[str] = ()) -> StreamSource:
    """Open the log that a stream with these columns declares.

    Raises:
        SourceError: its client is not installed, or nobody said how to reach it.
    """
    where = f"{live.kind} {live.topic} ({live.where})"
    # Parents first: to look for a child imports its parent.
    if not all(find_spec(module) for module in _NEEDS[live.kind]):
        cure = f"Run `pip install 'raypipe[{live.kind}]'`"
        raise SourceError("its client is not installed", where=where, cure=cure)
    openers: dict[LogKind, Callable[[Live, Mapping[str, str], Clock], StreamSource]] = {
        "kafka": _kafka,
        "kinesis": _kinesis,
        "pubsub": _pubsub,
        "sql": lambda *given: _sql(columns, *given),
    }
    connection = {name: reveal(value) for name, value in connections.get(live.kind, {}).items()}
    return openers[live.kind](live, connection, clock)


def _kafka(live: Live, connection: Mapping[str, str], clock: Clock) -> StreamSource:
    from raypipe.lake.feeds.kafka import KafkaLog

    if "bootstrap.servers" not in connection:
        cure = 'Write `[kafka]` and `"bootstrap.servers" = "HOST:PORT"` into raypipe.toml, or set RAYPIPE_KAFKA'
        raise SourceError("nobody said where its brokers are", where=f"kafka {live.topic} ({live.where})", cure=cure)
    return KafkaLog(live.topic, connection, clock)


def _kinesis(live: Live, connection: Mapping[str, str], _: Clock) -> StreamSource:
    from raypipe.lake.feeds.kinesis import KinesisLog

    return KinesisLog(live.topic, connection)


def _pubsub(live: Live, _: Mapping[str, str], __: Clock) -> StreamSource:
    from raypipe.lake.feeds.pubsub import PubSubLog

    return PubSubLog(live.topic)


def _sql(columns: Sequence[str], live: Live, connection: Mapping[str, str], clock: Clock) -> StreamSource:
    from raypipe.lake.feeds.sql import SqlLog

    return SqlLog(live.topic, live.by, list(columns), live.shards, connection, clock)
