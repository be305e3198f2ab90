"""Messages of Kafka: how a client's become ours, and those between two offsets of a partition, read in any process."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from raypipe.clock import Clock
from raypipe.contracts.streaming import Messages
from raypipe.errors import ServiceError, SourceError

#: Messages asked for at a time, so that very large ones do not come all at once.
AT_A_TIME = 5_000
#: Of a span so many messages are given at a time, or as many as have these bytes.
A_BLOCK, MOST_BYTES = 100_000, 64 * 2**20
ANSWER_SECONDS = 10.0
#: No producer's clock, in milliseconds, is taken at its word from here on (the year 9999).
NO_TIME = 253_000_000_000_000
_GONE = frozenset((KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET))
_NO_TOPIC = frozenset((KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION))


@dataclass(frozen=True)
class KafkaSpan:
    """The messages of one partition from ``start`` up to before ``stop``; see ``contracts.streaming.Span``.

    Attributes:
        topic: whose they are.
        settings: of librdkafka's consumer.
        clock: says when a message came of which the broker does not say it.
        partition, start, stop: where they stand.
    """

    topic: str
    settings: Mapping[str, str | int | float | bool]
    clock: Clock
    partition: int
    start: int
    stop: int

    @property
    def many(self) -> int:
        """Offsets; those of transactions hold no message."""
        return self.stop - self.start

    def read(self) -> Iterator[Messages]:
        """All of them, through a consumer of their own."""
        # An end is told: the last offsets may hold no message, or one that its transaction still hides.
        consumer = Consumer({**self.settings, "enable.partition.eof": True})
        try:
            consumer.assign([TopicPartition(self.topic, self.partition, self.start)])
            yield from self._blocks(consumer)
        except KafkaException as error:
            raise ServiceError(f"does not answer: {words(error)}", where=f"kafka {self.topic}") from None
        finally:
            consumer.close()

    def _blocks(self, consumer: Consumer) -> Iterator[Messages]:
        found, size, until, left = Messages(), 0, monotonic() + ANSWER_SECONDS, self.many
        while left:
            # It comes back once it has so many; where offsets hold no message, after a second.
            read, left = self._sifted(consumer.consume(min(AT_A_TIME, left), 1.0), left)
            if read:
                until = monotonic() + ANSWER_SECONDS
            elif left and monotonic() >= until:
                raise ServiceError("does not answer", where=self._where)
            size += append(read, found, self.clock.now())
            if len(found) >= A_BLOCK or size >= MOST_BYTES:
                yield found
                found, size = Messages(), 0
        if len(found):
            yield found

    def _sifted(self, batch: Sequence[Message], left: int) -> tuple[Sequence[Message], int]:
        """The messages that belong here, and how many offsets are left; none at the end of the partition."""
        errors, ended = list(map(Message.error, batch)), False
        if any(errors):
            for error in filter(None, errors):
                ended |= error.code() == KafkaError._PARTITION_EOF
                require_readable(error, self._where, self.start - 1)
            batch = [message for error, message in zip(errors, batch, strict=True) if error is None]
        offsets = [offset or 0 for offset in map(Message.offset, batch)]
        left = max(self.stop - offsets[-1] - 1, 0) if offsets else left
        return batch[: bisect_left(offsets, self.stop)], 0 if ended else left

    @property
    def _where(self) -> str:
        return f"kafka {self.topic} partition {self.partition}"


def append(read: Sequence[Message], found: Messages, now: int) -> int:
    """Append messages, a column at a time: there are hundreds of thousands a second. Returns their bytes."""
    numbers = list(map(Message.partition, read))
    names = {number: str(number) for number in set(numbers)}
    values = list(map(Message.value, read))
    found.partitions.extend(map(names.__getitem__, numbers))
    found.offsets.extend([offset or 0 for offset in map(Message.offset, read)])
    stamps = list(map(Message.timestamp, read))
    found.times.extend([min(time * 1_000, now) if kind == TIMESTAMP_LOG_APPEND_TIME else now for kind, time in stamps])
    found.stamps.extend([time * 1_000 if 0 < time < NO_TIME else 0 for _, time in stamps])
    found.values.extend(values)
    return sum(map(len, filter(None, values)))


def require_readable(error: KafkaError, where: str, after: int | None) -> None:
    """Raise what an error of the client means, if it means that reading cannot go on after an offset.

    Raises:
        SourceError: what comes next is gone, or there is no such topic.
        ServiceError: the client has given up.
    """
    if error.code() in _GONE:
        what = f"the messages after offset {after} are there no more: the topic kept them too short, or was made anew"
        raise SourceError(what, where=where, cure="Keep them longer, and give the stream's table another name")
    if error.code() in _NO_TOPIC:
        raise SourceError(f"cannot be read: {error.str()}", where=where, cure="Make the topic, or correct its name")
    if error.fatal():
        raise ServiceError(f"cannot be read: {error.str()}", where=where)


def words(error: KafkaException) -> str:
    """What the client says."""
    return str(error.args[0].str() if isinstance(error.args[0], KafkaError) else error.args[0])
