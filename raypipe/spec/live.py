"""Logs that events are read from while they happen, and how their messages are written."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from raypipe.spec.values import place

LogKind: TypeAlias = Literal["kafka", "kinesis", "pubsub", "sql"]


@dataclass(frozen=True)
class Live:
    """One log of messages, each of them one row. How to reach it is a setting, not part of the definition.

    Attributes:
        kind: whose log it is.
        topic: its name there.
        avro: the Avro schema that messages are written with, as JSON text; empty: messages are JSON objects.
        at_most_bad: the share of messages, 0 to 1, that may be unreadable before the source stops.
        by, shards: for ``sql``, the column that only grows, and how many readers share the rows.
    """

    kind: LogKind
    topic: str
    avro: str = ""
    at_most_bad: float = 0.01
    by: str = ""
    shards: int = 1
    where: str = place()


def kafka(topic: str, *, avro: str = "", at_most_bad: float = 0.01) -> Live:
    """A Kafka topic. The setting ``kafka`` says how to reach it, in librdkafka's words."""
    return Live("kafka", topic, avro, at_most_bad)


def kinesis(stream: str, *, avro: str = "", at_most_bad: float = 0.01) -> Live:
    """A Kinesis data stream. The setting ``kinesis`` says how to reach it, in boto3's words."""
    return Live("kinesis", stream, avro, at_most_bad)


def pubsub(subscription: str, *, avro: str = "", at_most_bad: float = 0.01) -> Live:
    """A Pub/Sub subscription, as ``projects/P/subscriptions/S``; Google's own environment says who we are."""
    return Live("pubsub", subscription, avro, at_most_bad)


def sql(database: str, table: str, *, by: str, shards: int = 1, at_most_bad: float = 0.01) -> Live:
    """A table or view of a database, read on from the last value of a column that only grows.

    The setting ``databases`` says by name where databases are. A row that is written with a smaller value than one that
    was read already is not seen: let ``by`` be a number that the database counts up, or the time of the last change.

    Args:
        database: its name in the settings.
        table: its name, also as ``SCHEMA.TABLE``.
        by: a column of whole numbers, or of times.
        shards: how many readers share the rows, by the remainder of ``by``.
        at_most_bad: the share of rows, 0 to 1, that may not be as declared before the source stops.
    """
    return Live("sql", f"{database}/{table}", "", at_most_bad, by, shards)
