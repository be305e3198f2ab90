"""Logs that events are read from while they happen, and how their messages are written."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from raypipe.spec.values import place

LogKind: TypeAlias = Literal["kafka", "kinesis", "pubsub"]


@dataclass(frozen=True)
class Live:
    """One log of messages, each of them one row. How to reach it is a setting, not part of the definition.

    Attributes:
        kind: whose log it is.
        topic: its name there.
        avro: the Avro schema that messages are written with, as JSON text; empty: messages are JSON objects.
        at_most_bad: the share of messages, 0 to 1, that may be unreadable before the source stops.
    """

    kind: LogKind
    topic: str
    avro: str = ""
    at_most_bad: float = 0.01
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
