"""What every log must do, as tests for whoever writes one.

Subclass `LogContract` in a test module, and give it two fixtures: ``send`` puts messages into one partition of an empty
log, ``open`` opens the log anew:

    class TestMyLog(LogContract):
        @pytest.fixture
        def send(self): ...

        @pytest.fixture
        def open(self): ...
"""

# ruff: noqa: S101  # these are tests

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from raypipe.contracts.streaming import Messages, StreamSource

Send = Callable[..., None]
Open = Callable[[], StreamSource]
WAIT = 10.0


@contextmanager
def opened(open_log: Open) -> Iterator[StreamSource]:
    """A log that is closed again."""
    log = open_log()
    try:
        yield log
    finally:
        log.close()


def read(log: StreamSource, after: dict[str, int], many: int) -> Messages:
    """So many messages; what was read is taken in."""
    found = Messages()
    while len(found) < many:
        more = log.read(after | found.last, many - len(found), WAIT)
        assert len(more), f"only {len(found)} of {many} messages came"
        for one in zip(more.partitions, more.offsets, more.times, more.values, strict=True):
            found.add(*one)
    return found


class LogContract:
    """The tests. A log is asked for by the names of its fixtures, ``send`` and ``open``."""

    def test_messages_come_in_order_with_their_bytes(self, send: Send, open: Open) -> None:  # noqa: A002
        """Each once, its offset greater than the one before, with a time."""
        values = [b"a", bytes(range(256)), "é".encode() * 1000]
        send(*values)
        with opened(open) as log:
            found = read(log, {}, 3)
        assert found.values == values
        assert found.offsets == sorted(set(found.offsets))
        assert len(set(found.partitions)) == 1
        assert all(time > 1_000_000_000_000_000 for time in found.times)

    def test_another_reader_goes_on_where_one_stopped(self, send: Send, open: Open) -> None:  # noqa: A002
        """What was taken in is all that there is to know; a limit is kept."""
        send(b"1", b"2", b"3", b"4")
        with opened(open) as log:
            assert len(log.read({}, 2, WAIT)) <= 2
        with opened(open) as log:
            first = read(log, {}, 2)
        with opened(open) as log:
            assert read(log, first.last, 2).values == [b"3", b"4"]
            assert read(log, first.last, 2).values == [b"3", b"4"], "asked for again, it is given again"
            send(b"5")
            assert read(log, read(log, {}, 4).last, 1).values == [b"5"]

    def test_nothing_new_is_nothing(self, send: Send, open: Open) -> None:  # noqa: A002
        """Reading ends when the time is up."""
        send(b"1")
        with opened(open) as log:
            last = read(log, {}, 1).last
            assert len(log.read(last, 10, 0.3)) == 0
            assert sum(log.lag(last).values()) == 0

    def test_what_waits_is_counted(self, send: Send, open: Open) -> None:  # noqa: A002
        """At least one when there is something, and none too many."""
        send(b"1", b"2", b"3")
        with opened(open) as log:
            assert 1 <= sum(log.lag({}).values()) <= 3
            found = read(log, {}, 3)
            assert log.identity() == log.identity() != ""
            log.done(found.last)
