"""The one clock. Code that needs the time is handed a Clock, so that history can be replayed and tests can wait."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time; the only way raypipe knows it."""

    def now(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000


class ManualClock:
    """A clock that moves only when told to, for replay and tests.

    >>> clock = ManualClock(5)
    >>> clock.advance(10)
    >>> clock.now()
    15
    """

    def __init__(self, start: int = 0) -> None:
        self._now = start

    def now(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return self._now

    def advance(self, microseconds: int) -> None:
        """Move forward (or back, to test a clock that steps)."""
        self._now += microseconds


def iso(microseconds: int) -> str:
    """ISO 8601 text in UTC.

    >>> iso(1_372_636_800_000_000)
    '2013-07-01T00:00:00Z'
    """
    moment = datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)
    return moment.isoformat().replace("+00:00", "Z")


def to_second(microseconds: int) -> str:
    """ISO 8601 text in UTC for people, who do not count microseconds.

    >>> to_second(1_372_636_800_123_456)
    '2013-07-01T00:00:00Z'
    """
    return iso(microseconds // 1_000_000 * 1_000_000)


def to_minute(microseconds: int) -> str:
    """Date and minute in UTC, for a column whose heading names the zone.

    >>> to_minute(1_372_636_800_123_456)
    '2013-07-01 00:00'
    """
    return iso(microseconds)[:16].replace("T", " ")
