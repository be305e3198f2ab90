"""How rows come into a lake: files at once, live events batch by batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import TypeAlias

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Snapshot
from raypipe.contracts.streaming import StreamSource
from raypipe.lake.feeds import open_log
from raypipe.lake.home import as_record
from raypipe.lake.ingest import ingest
from raypipe.lake.live import Batch, LiveIngest
from raypipe.lake.reading import Reading
from raypipe.lake.state import Held
from raypipe.lake.writers import take_over
from raypipe.spec import Source, Stream

#: Messages that one commit takes in at most, and the seconds that it waits for the first of them.
BATCH_ROWS = 100_000
BATCH_SECONDS = 5.0

#: Is told of each batch of a log that has landed: whose it is, what it came to, and how many seconds it took.
Took: TypeAlias = Callable[["Following", Batch, float], None]


def _nobody(following: "Following", batch: Batch, seconds: float) -> None:
    """Nobody wants to know."""


class Intake(Reading):
    """The part of a lake that takes in."""

    def ingest(self, source: Source, progress: Progress, *, anew: bool = False, took: Took = _nobody) -> Snapshot:
        """Take in the files of a source that its table does not hold yet, as one snapshot on the branch ``incoming``.

        Doing it again changes nothing. Tables that the source looks things up in must have been taken in before.

        Args:
            source: a table or a stream.
            progress: is told how far reading has come.
            anew: rows of files that the source does not find any more go, and its files and log are read again.
            took: is told of each batch of its log.

        Returns:
            What ``incoming`` is now: ``main`` plus the new files, or ``main`` itself when there are none.

        Raises:
            SourceError: a file is missing, corrupt or not as declared; nothing was changed.
            DefinitionError: a derived column has a type that a table cannot hold.
            WorkspaceError: the folder cannot be written to, or is full.
        """
        with self._workspace_errors():
            held = ingest(self._catalog, source, progress, self._spread_bytes, self._connections, anew=anew)
            if isinstance(source, Stream) and source.live is not None:
                held = self._catch_up(source, held, progress, took)
        return as_record(source, held)

    @contextmanager
    def follow(self, source: Stream) -> Iterator["Following"]:
        """Become the one who takes in the live rows of a stream, batch by batch; whoever was it before is it no more.

        Its files must have been taken in.

        Raises:
            SourceError: the log is not there, or its client is not installed.
            ServiceError: the log cannot be reached.
        """
        with self._opened(source) as log, self._workspace_errors():
            writer = take_over(self._catalog, source.name)
            yield Following(source, LiveIngest(self._catalog, source, log, writer, self._spread_messages))

    def _catch_up(self, source: Stream, held: Held, progress: Progress, took: Took) -> Held:
        """Take in what waits in the log, up to where it ends now."""
        with self._opened(source) as log:
            live, began = LiveIngest(self._catalog, source, log, spread=self._spread_messages), self._clock.now()
            waiting = sum(live.lag(live.look()).values())
            with progress.step(f"read {source.name} from its log", waiting or None) as step:
                since = monotonic()
                while waiting > 0 and (batch := live.take(min(waiting, BATCH_ROWS), BATCH_SECONDS)) is not None:
                    took(Following(source, live), batch, monotonic() - since)
                    step.advance(batch.read)
                    waiting -= batch.read
                    if waiting <= 0 and batch.until < began:  # a log that does not count may hold more
                        waiting = sum(live.lag(batch.held).values())
                    since = monotonic()
            now, main = live.look(), self.published(source)
            added = now.rows - (main.rows if main else 0)
            now = replace(now, differing=held.differing, unnamed=held.unnamed, dropped=held.dropped)
            return replace(now, added=added, repeated=held.repeated)

    @contextmanager
    def _opened(self, source: Stream) -> Iterator[StreamSource]:
        assert source.live is not None, f"{source.name} has no log"  # noqa: S101
        log = open_log(source.live, self._connections, self._clock, list(source.columns))
        try:
            yield log
        finally:
            log.close()


class Following:
    """The live side of one stream, with this process as its writer."""

    def __init__(self, source: Stream, live: LiveIngest) -> None:
        self.source, self._live = source, live

    def take(self, seconds: float, limit: int = BATCH_ROWS) -> Batch | None:
        """Take in what comes within some seconds, as one commit; None when nothing did. See ``LiveIngest.take``."""
        return self._live.take(limit, seconds)

    def lag(self) -> dict[str, int]:
        """By partition, how much waits to be taken in."""
        return self._live.lag(self._live.look())

    def snapshot(self) -> Snapshot:
        """What the table is now."""
        return as_record(self.source, self._live.look().standing)
