"""A Kafka topic as a log. No consumer group: the lake's own snapshots say what was read."""

from collections.abc import Mapping, Sequence
from time import monotonic

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from raypipe.clock import Clock
from raypipe.contracts.streaming import Messages, Offsets
from raypipe.errors import ServiceError, SourceError
from raypipe.lake.feeds.kafka_span import (
    ANSWER_SECONDS,
    AT_A_TIME,
    MOST_BYTES,
    KafkaSpan,
    append,
    require_readable,
    words,
)


class KafkaLog:
    """One topic. Offsets and partitions are Kafka's own.

    Args:
        topic: its name.
        connection: settings of librdkafka, ``bootstrap.servers`` at least.
        clock: says when a message came of which the broker does not say it: its stamp is the producer's, by default.
    """

    def __init__(self, topic: str, connection: Mapping[str, str], clock: Clock) -> None:
        self._topic, self._clock = topic, clock
        settings: dict[str, str | int | float | bool] = {
            "group.id": "raypipe",  # the client wants one; it is never joined
            "isolation.level": "read_committed",
            "log_level": 3,
            "queued.min.messages": 250_000,  # what comes next is fetched while a batch is written
            "fetch.wait.max.ms": 100,  # questions about offsets wait behind it
            **connection,
            # These are what exactly-once rests on.
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
        }
        self._settings = settings
        try:
            self._consumer = Consumer(settings)
        except KafkaException as error:
            raise ServiceError(f"the setting is refused: {words(error)}", where="setting `kafka`") from None
        self._at: dict[str, int] = {}
        self._partitions: frozenset[str] = frozenset()

    def identity(self) -> str:
        """The cluster's id and the topic's name."""
        return f"{self._known_partitions()[1]}/{self._topic}"

    def read(self, after: Offsets, limit: int, seconds: float) -> Messages:
        """The next messages; see ``StreamSource``."""
        self._go_to(after)
        found, size, until = Messages(), 0, monotonic() + seconds
        while len(found) < limit and size < MOST_BYTES:
            left = max(until - monotonic(), 0.0)
            batch = self._consumer.consume(min(AT_A_TIME, limit - len(found)), left if not len(found) else min(left, 1))
            size += self._add(batch, found)
            if monotonic() >= until or (not batch and len(found)):
                break
        self._at.update(found.last)
        return found

    def again(self, at: Offsets) -> Messages:
        """The messages at these offsets, of those that are still there; see ``Rereadable``."""
        names, _ = self._known_partitions()
        try:
            ends = {name: self._ends(name) for name in at if name in names}
        except KafkaException as error:
            raise self._unreachable(error) from None
        waiting = {name: at[name] for name, (low, high) in ends.items() if low <= at[name] < high}
        found, until = Messages(), monotonic() + ANSWER_SECONDS
        if not waiting:
            return found
        # One of its own: what the other fetched ahead is not lost. An end is told: the message may be compacted away.
        consumer = Consumer({**self._settings, "enable.partition.eof": True, "queued.min.messages": 1})
        consumer.assign([TopicPartition(self._topic, int(name), offset) for name, offset in waiting.items()])
        try:
            while waiting and (left := until - monotonic()) > 0:
                if (message := consumer.poll(left)) is not None:
                    self._give(message, waiting, found)
        finally:
            consumer.close()
        if waiting:
            raise ServiceError("does not answer", where=f"kafka {self._topic}")
        return found

    def lag(self, after: Offsets) -> dict[str, int]:
        """Messages up to the end of each partition, those that hold no data included."""
        return {name: max(stop - start, 0) for name, (start, stop) in self._waiting(after).items()}

    def spans(self, after: Offsets, limit: int) -> list[KafkaSpan]:
        """What comes next, partition by partition; see ``Divisible``."""
        # From right behind what was taken in, though the log may begin later by now: then it says what is lost.
        ends = [(name, after.get(name, low - 1) + 1, high) for name, (low, high) in self._waiting(after).items()]
        return [
            KafkaSpan(self._topic, self._settings, self._clock, int(name), start, min(stop, start + limit))
            for name, start, stop in ends
            if stop > start
        ]

    def done(self, until: Offsets) -> None:
        """Kafka forgets by its own rules."""

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _give(self, message: Message, waiting: dict[str, int], found: Messages) -> None:
        """Keep the first message of a partition if it is the one that is waited for: if not, that one is gone."""
        if (error := message.error()) and error.code() != KafkaError._PARTITION_EOF:
            self._say(error, message)
        elif (wanted := waiting.pop(str(message.partition()), None)) is not None and message.offset() == wanted:
            self._add([] if error else [message], found)

    def _waiting(self, after: Offsets) -> dict[str, tuple[int, int]]:
        """By partition, the offset of what comes next, and the one beyond the end."""
        names, _ = self._known_partitions()
        try:
            ends = {name: self._ends(name) for name in sorted(names)}
        except KafkaException as error:
            raise self._unreachable(error) from None
        if beyond := [name for name, (_, high) in ends.items() if after.get(name, -1) >= high]:
            name = beyond[0]
            what = f"partition {name} ends at {ends[name][1]}, but {after[name]} was taken in: it was made anew"
            raise SourceError(what, where=f"kafka {self._topic}", cure="Give the stream's table another name")
        return {name: (max(after.get(name, -1) + 1, low), high) for name, (low, high) in ends.items()}

    def _ends(self, name: str) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, int(name)), ANSWER_SECONDS)
        return low, high

    def _go_to(self, after: Offsets) -> None:
        names = frozenset(self._known_partitions()[0]) if not self._partitions else self._partitions
        if self._partitions and {name: self._at.get(name) for name in names} == {n: after.get(n) for n in names}:
            return
        places = [
            TopicPartition(self._topic, int(name), after[name] + 1 if name in after else OFFSET_BEGINNING)
            for name in names | after.keys()
        ]
        self._consumer.assign(places)
        self._at, self._partitions = dict(after), names | after.keys()

    def _known_partitions(self) -> tuple[list[str], str]:
        try:
            found = self._consumer.list_topics(self._topic, ANSWER_SECONDS)
        except KafkaException as error:
            raise self._unreachable(error) from None
        topic = found.topics[self._topic]
        if topic.error is not None:
            cure = "Make the topic, or correct its name"
            raise SourceError(f"cannot be read: {topic.error.str()}", where=f"kafka {self._topic}", cure=cure)
        names = [str(number) for number in sorted(topic.partitions)]
        if self._partitions and not self._partitions >= set(names):
            self._partitions = frozenset()  # partitions were added: the next reading takes them too
        return names, found.cluster_id or ""

    def _add(self, batch: Sequence[Message], found: Messages) -> int:
        errors, read = list(map(Message.error, batch)), batch
        if any(errors):  # to compare one with None leaves an exception behind in the client
            for error, message in zip(errors, batch, strict=True):
                if error is not None:
                    self._say(error, message)
            read = [message for error, message in zip(errors, batch, strict=True) if error is None]
        return append(read, found, self._clock.now())

    def _say(self, error: KafkaError, message: Message) -> None:
        name = str(message.partition())
        require_readable(error, f"kafka {self._topic} partition {name}", self._at.get(name))

    def _unreachable(self, error: KafkaException) -> ServiceError:
        cure = "Check the setting `kafka` and that its brokers are up"
        return ServiceError(f"does not answer: {words(error)}", where=f"kafka {self._topic}", cure=cure)
