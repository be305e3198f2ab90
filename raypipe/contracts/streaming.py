"""Where live events come from: one small contract for every log.

A log has partitions; each gives its messages in the order of their offsets. Whoever reads keeps the offsets that it has
come to, with the rows themselves, and hands them in: a source remembers nothing that matters.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol, TypeAlias, runtime_checkable

#: By partition, the offset of the last message that was taken in. A partition that is left out is read from its start.
Offsets: TypeAlias = Mapping[str, int]


@dataclass
class Messages:
    """Some messages, in the order in which they were read; one entry a message in each list.

    Attributes:
        partitions, offsets: where each stands in the log.
        times: when it came, microseconds UTC, by a clock that its sender has no say in: when the log took it in, as the
            log itself says, or else when it was read.
        values: what it holds; None when it holds nothing.
        stamps: when its sender says that it was written, microseconds UTC; 0 when nobody says so.
    """

    partitions: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    def add(self, partition: str, offset: int, time: int, value: bytes | None, stamp: int = 0) -> None:
        """Append one message."""
        self.partitions.append(partition)
        self.offsets.append(offset)
        self.times.append(time)
        self.values.append(value)
        self.stamps.append(stamp)

    @property
    def first(self) -> dict[str, int]:
        """The first offset of each partition."""
        return dict(zip(reversed(self.partitions), reversed(self.offsets), strict=True))

    @property
    def last(self) -> dict[str, int]:
        """The last offset of each partition."""
        return dict(zip(self.partitions, self.offsets, strict=True))

    @property
    def marks(self) -> dict[str, str]:
        """A digest of the last message of each partition, its stamp and its bytes: another one has another."""
        places = dict(zip(self.partitions, range(len(self)), strict=True))
        return {name: _mark(self.stamps[place], self.values[place]) for name, place in places.items()}


def _mark(stamp: int, value: bytes | None) -> str:
    return sha256(b"%d %d " % (stamp, value is None) + (value or b"")).hexdigest()[:16]


class StreamSource(Protocol):
    """One log that is read by one reader at a time."""

    def identity(self) -> str:
        """Names the log for good: best so that one which was deleted and made again under its name has another.

        Raises:
            SourceError: there is no such log.
            ServiceError: it cannot be reached.
        """
        ...

    def read(self, after: Offsets, limit: int, seconds: float) -> Messages:
        """The next messages of all partitions.

        Args:
            after: what was taken in before.
            limit: how many messages are wanted at most.
            seconds: how long to wait for them at most.

        Raises:
            SourceError: messages that come next are there no more.
            ServiceError: the log cannot be reached.
        """
        ...

    def lag(self, after: Offsets) -> dict[str, int]:
        """By partition, how many messages wait to be taken in; milliseconds for a log that counts time only.

        Raises:
            ServiceError: the log cannot be reached.
        """
        ...

    def done(self, until: Offsets) -> None:
        """Told when everything up to there is kept for good: a log that wants to know may forget it."""
        ...

    def close(self) -> None:
        """Let the log go."""
        ...


@runtime_checkable
class Rereadable(Protocol):
    """What a log may do, too: give messages again, so that one which was made anew under its name is found out."""

    def again(self, at: Offsets) -> Messages:
        """The messages at these offsets, of those that are still there; whoever reads goes on where they were.

        Raises:
            ServiceError: the log cannot be reached.
        """
        ...


class Span(Protocol):
    """The messages of one partition from one offset to another. It goes to any process, and is read there."""

    @property
    def many(self) -> int:
        """How many there are at most."""
        ...

    def read(self) -> Iterator[Messages]:
        """All of them in order, some at a time.

        Raises:
            SourceError: some are there no more.
            ServiceError: the log cannot be reached.
        """
        ...


@runtime_checkable
class Divisible(Protocol):
    """What a log may do, too: say what comes next without reading it, so that many processes read it at once."""

    def spans(self, after: Offsets, limit: int) -> Sequence[Span]:
        """What comes next, a span for each partition that holds anything: up to where it ends now.

        Args:
            after: what was taken in before.
            limit: how many messages of one partition are wanted at most.

        Raises:
            SourceError, ServiceError: see ``StreamSource.lag``.
        """
        ...
