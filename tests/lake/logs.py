"""A Kafka cluster of confluent-kafka's own mock, and rides as its messages. Not a real broker: nothing is on disk."""

import json
from dataclasses import dataclass, field
from datetime import timedelta

from confluent_kafka import Producer

from tests.lake.sources import START


@dataclass
class Broker:
    """A mock cluster that lives as long as its producer."""

    producer: Producer = field(default_factory=lambda: Producer({"test.mock.num.brokers": 1, "log_level": 2}))

    @property
    def connection(self) -> dict[str, str]:
        brokers = self.producer.list_topics(timeout=10).brokers.values()
        return {"bootstrap.servers": ",".join(f"{one.host}:{one.port}" for one in brokers), "log_level": "2"}

    def send(self, topic: str, *values: bytes | None, partition: int = 0, at: int | None = None) -> None:
        """Put messages into a partition; ``at`` in milliseconds."""
        for value in values:
            more = {} if at is None else {"timestamp": at}
            self.producer.produce(topic, value, partition=partition, **more)
            self.producer.poll(0)
        assert self.producer.flush(10) == 0


def ride(id: int, town: str | None = "Bern", **changes: object) -> bytes:
    """One trip as a message; the same as ``sources.line`` writes it."""
    started = (START + timedelta(hours=id)).isoformat()
    return json.dumps({"id": id, "town": town, "started": started, "minutes": 10.0, "fare": 7.5} | changes).encode()
