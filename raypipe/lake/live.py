"""From a log of live events to snapshots on the branch ``incoming``, one bounded batch after the other.

Rows, and how far the log was read for them, are one commit. Nothing else remembers where reading stopped; so whoever
comes next, after a kill or beside others, goes on exactly there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from msgspec import structs
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from raypipe.contracts.records import Taken
from raypipe.contracts.streaming import Divisible, Messages, Offsets, Span, StreamSource
from raypipe.errors import SourceError, WorkspaceError
from raypipe.failpoints import failpoint
from raypipe.lake import storage
from raypipe.lake.anew import require_same
from raypipe.lake.aside import SET
from raypipe.lake.attempt import attempt
from raypipe.lake.columns import widened
from raypipe.lake.commit import Change, commit_change, restore_columns
from raypipe.lake.decode import Decoder
from raypipe.lake.ingest import ATTEMPTS, lookups_of, reading_of
from raypipe.lake.known import KnownIds
from raypipe.lake.poison import keep_bad, name_of, recent_after, require_few_bad
from raypipe.lake.repeats import drop_rows, repeated_rows
from raypipe.lake.share import Maker, Share
from raypipe.lake.shipped import after
from raypipe.lake.stage import ROWS_PER_FILE
from raypipe.lake.state import Held, candidate, data_files, held_by, main_of
from raypipe.lake.writers import require_writer
from raypipe.spec import Stream
from raypipe.spec.shape import LATE, in_lake

#: From so many waiting messages on the cluster reads them; one process takes in two hundred thousand a second, and is
#: done with fewer before workers have started.
SPREAD_MESSAGES = 5_000_000
#: The cluster reads so many messages of a partition for one batch: a data file each.
SPAN_MESSAGES = ROWS_PER_FILE


@dataclass(frozen=True)
class Batch:
    """What one batch came to.

    Attributes:
        held: the table with it.
        read, added, bad, late: how many messages were read, became new rows, went to the quarantine, came late.
        until: when the newest of them came, microseconds UTC.
        extra: columns that messages have and the stream does not declare.
    """

    held: Held
    read: int
    added: int
    bad: int
    late: int
    until: int
    extra: tuple[str, ...]


@dataclass(frozen=True)
class _Work:
    """On top of what a batch comes."""

    table: Table
    base: Snapshot
    held: Held


class _NothingError(Exception):
    """Where messages were to be there were none: all offsets belong to transactions, or to messages compacted away."""


class LiveIngest:
    """The live side of one stream. Its files must have been taken in; so must the tables that it looks things up in.

    Args:
        catalog: the lake's.
        source: a stream with a live side.
        log: where its messages come from.
        writer: names whoever may write until somebody else takes over; empty: beside others, whoever comes first.
        spread: from so many waiting messages on, of more than one partition, the cluster reads.
    """

    def __init__(
        self, catalog: SqlCatalog, source: Stream, log: StreamSource, writer: str = "", spread: int = SPREAD_MESSAGES
    ) -> None:
        self._catalog, self._source, self._log, self._writer = catalog, source, log, writer
        self._lookups = lookups_of(catalog, source)
        self._reading = reading_of(source, self._lookups)
        self._decoder, self._known = Decoder(source), KnownIds(source.id)
        self._identity, self._is_same = log.identity(), False
        self._spread, self._waiting = spread, 0

    def lag(self, held: Held) -> dict[str, int]:
        """By partition, how much waits to be taken in."""
        lag = self._log.lag(held.taken.last)
        self._waiting = sum(lag.values())
        return lag

    def take(self, limit: int, seconds: float) -> Batch | None:
        """Take in the next batch; None when nothing came.

        Args:
            limit: of how many messages at most, where this process reads them; the cluster reads up to
                ``SPAN_MESSAGES`` of each partition.
            seconds: how long to wait for them.

        Raises:
            SourceError: too many messages are bad, or those that come next are gone; nothing was taken in.
            WorkspaceError: another writer took over, or others changed the table again and again.
        """
        for _ in range(ATTEMPTS):
            table, base, held = self._look()
            spans = self._spans(held.taken)
            messages = Messages() if spans else self._log.read(held.taken.last, limit, seconds)
            if not spans and not len(messages):
                return None
            try:
                batch = self._take_in(_Work(table, base, held), messages, spans)
            except _NothingError:
                self._waiting = 0
                continue
            except CommitFailedException:
                continue  # somebody else moved the table: look again what is left to do
            self._waiting -= batch.read
            self._log.done(batch.held.taken.last)
            return batch
        what = f"other runs changed it {ATTEMPTS} times in a row"
        raise WorkspaceError(what, where=f"table {self._source.name}", cure="Run again when they are done")

    def look(self) -> Held:
        """What the table holds now."""
        return self._look()[2]

    def _look(self) -> tuple[Table, Snapshot, Held]:
        table = self._catalog.load_table(f"lake.{self._source.name}")
        require_writer(table, self._writer)
        base = candidate(table)
        held, where = held_by(table, base), f"table {self._source.name} ({self._source.where})"
        if base == main_of(table):
            table, held = restore_columns(table), held.standing
        if held.reading != self._reading:
            raise SourceError("was read by another definition since", where=where, cure="Run again")
        if held.taken.log and held.taken.log != self._identity:
            what = f"came from the log {held.taken.log}; this is {self._identity}"
            raise SourceError(what, where=where, cure="Give the table another name, or the stream its old log")
        if not self._is_same:
            require_same(self._log, held.taken, where)
            self._is_same = True
        return table, base, held

    def _spans(self, taken: Taken) -> Sequence[Span]:
        """What the cluster is to read, if so much waits, as far as is known, that it is worth starting its workers."""
        if self._waiting < self._spread or not isinstance(self._log, Divisible):
            return ()
        spans = self._log.spans(taken.last, SPAN_MESSAGES)
        return spans if len(spans) > 1 else ()

    def _require_complete(self, taken: Taken, came: Offsets) -> None:
        """After a change of the definition all is read again, from the very first message that ever came."""
        for partition, first in came.items():
            began = taken.first.get(partition)
            if began is not None and partition not in taken.last and first > began:
                what = f"must be read again from offset {began} of partition {partition}, but the log begins at {first}"
                cure = "Give the table another name, or go back to the definition that it was read by"
                raise SourceError(what, where=f"table {self._source.name} ({self._source.where})", cure=cure)

    def _take_in(self, work: _Work, messages: Messages, spans: Sequence[Span]) -> Batch:
        self._require_complete(work.held.taken, messages.first)
        with attempt(work.table) as folder:
            share = self._share(work, folder, messages, spans)
            self._require_complete(work.held.taken, share.first)
            change = self._change(work, share, folder)
            self._land(work, change)
        _, _, held = self._look()
        if not change.repeated:
            self._known.landed(held.snapshot_id)
        late = 0 if change.taken is None else change.taken.late - work.held.taken.late
        return Batch(held, share.read, change.added, len(share.bad), late, share.until, share.extra)

    def _share(self, work: _Work, folder: str, messages: Messages, spans: Sequence[Span]) -> Share:
        """Write what is a row where nobody refers to it yet: of messages that are here, or of spans all over."""
        schema, taken = schema_to_pyarrow(work.table.schema()), work.held.taken
        many = sum(span.many for span in spans) + len(messages)
        maker = Maker(self._source, self._lookups, schema, folder, taken, many)
        share = maker.spread(spans) if spans else maker.make(self._decoder, [messages], "live")
        if not share.read:
            raise _NothingError
        require_few_bad(
            self._source, taken.recent, share.read, len(share.bad), share.bad[0].reason if share.bad else ""
        )
        failpoint("live.after_files")
        return share

    def _change(self, work: _Work, share: Share, folder: str) -> Change:
        """Leave out the rows that are there, and keep what is no row."""
        source, table = self._source, work.table
        name = name_of(self._identity, share.first, share.last, share.read)
        shape = work.held.shape
        for sizes in share.sizes:
            shape, _ = after(source, shape, sizes, f"{table.name()[-1]}, the next messages")
        paths, again, late = list(share.paths), 0, share.late
        if share.rows and self._known.may_repeat(table, work.base, paths):
            before = [file.file_path for file in data_files(table, work.base)]
            repeated = repeated_rows(before, paths, source.id, list(source.columns))
            paths, again = drop_rows(paths, repeated, schema_to_pyarrow(table.schema())), repeated.len()
            late = _late(paths) if late and again else late
        if share.bad:
            keep_bad(self._catalog, source.name, name, share.bad)
            failpoint("live.after_poison")
        more = {"raypipe.batch": name, "raypipe.writer": self._writer}
        return Change(
            attempt=folder.rpartition("/")[2],
            files=[],
            paths=paths,
            replaces=[],
            from_nothing=False,
            reading=self._reading,
            added=share.rows - again,
            repeated=again,
            widened=widened(in_lake(source)),
            shape=shape,
            changed=work.held.changed,  # of files that wait for the same gate: not told yet, if whoever read them died
            taken=self._taken(work.held.taken, share, again, late),
            more=more | ({SET: name} if share.bad else {}),
        )

    def _land(self, work: _Work, change: Change) -> None:
        """Commit the rows and how far the log was read, together."""
        transaction = work.table.transaction()
        commit_change(work.table, transaction, change, work.base)
        failpoint("live.before_commit")
        transaction.commit_transaction()
        failpoint("live.after_commit")

    def _taken(self, taken: Taken, share: Share, again: int, late: int) -> Taken:
        return structs.replace(
            taken,
            log=self._identity,
            first=share.first | taken.first,
            last=taken.last | share.last,
            marks=taken.marks | share.marks,
            newest=taken.newest | share.newest,
            read=taken.read + share.read,
            repeated=taken.repeated + again,
            bad=taken.bad + len(share.bad),
            recent=recent_after(taken.recent, share.read, len(share.bad)),
            late=taken.late + late,
        )


def _late(paths: Sequence[str]) -> int:
    found: int = storage.scan(paths).select(pl.col(LATE).sum()).collect().item() if paths else 0
    return found
