"""Where live events come from: one small contract for every log.

A log has partitions; each gives its messages in the order of their offsets. Whoever reads keeps the offsets that it has
come to, with the rows themselves, and hands them in: a source remembers nothing that matters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

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


class StreamSource(Protocol):
    """One log that is read by one reader at a time."""

    def identity(self) -> str:
        """Names the log for good: a log that was deleted and made again under its name has another identity.

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
