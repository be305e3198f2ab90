"""From a log of live events to snapshots on the branch ``incoming``, one bounded batch after the other.

Rows, and how far the log was read for them, are one commit. Nothing else remembers where reading stopped; so whoever
comes next, after a kill or beside others, goes on exactly there.
"""

from dataclasses import dataclass

import polars as pl
from msgspec import structs
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from raypipe.contracts.records import Taken
from raypipe.contracts.streaming import Messages, StreamSource
from raypipe.errors import SourceError, WorkspaceError
from raypipe.failpoints import failpoint
from raypipe.lake.anew import require_same
from raypipe.lake.aside import SET
from raypipe.lake.attempt import attempt
from raypipe.lake.columns import widened
from raypipe.lake.commit import Change, commit_change, restore_columns
from raypipe.lake.decode import Decoded, Decoder, Poison
from raypipe.lake.derive import derive_good
from raypipe.lake.ingest import ATTEMPTS, lookups_of, reading_of
from raypipe.lake.known import KnownIds
from raypipe.lake.poison import keep_poison, name_of, recent_after, require_few_bad
from raypipe.lake.repeats import drop_rows, repeated_rows
from raypipe.lake.shipped import Shape, after, scales_of
from raypipe.lake.stage import PartWriter
from raypipe.lake.state import Held, candidate, data_files, held_by, main_of
from raypipe.lake.times import mark_late, newest_after
from raypipe.lake.writers import require_writer
from raypipe.spec import Stream
from raypipe.spec.shape import LATE, in_lake


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
    """A batch on its way: on top of what, from where to where."""

    table: Table
    base: Snapshot
    held: Held
    messages: Messages
    name: str


class LiveIngest:
    """The live side of one stream. Its files must have been taken in; so must the tables that it looks things up in.

    Args:
        catalog: the lake's.
        source: a stream with a live side.
        log: where its messages come from.
        writer: names whoever may write until somebody else takes over; empty: beside others, whoever comes first.
    """

    def __init__(self, catalog: SqlCatalog, source: Stream, log: StreamSource, writer: str = "") -> None:
        self._catalog, self._source, self._log, self._writer = catalog, source, log, writer
        self._lookups = lookups_of(catalog, source)
        self._reading = reading_of(source, self._lookups)
        self._decoder, self._known = Decoder(source), KnownIds(source.id)
        self._identity, self._is_same = log.identity(), False

    def lag(self, held: Held) -> dict[str, int]:
        """By partition, how much waits to be taken in."""
        return self._log.lag(held.taken.last)

    def take(self, limit: int, seconds: float) -> Batch | None:
        """Take in the next batch; None when nothing came.

        Args:
            limit: of how many messages at most.
            seconds: how long to wait for them.

        Raises:
            SourceError: too many messages are bad, or those that come next are gone; nothing was taken in.
            WorkspaceError: another writer took over, or others changed the table again and again.
        """
        for _ in range(ATTEMPTS):
            table, base, held = self._look()
            messages = self._log.read(held.taken.last, limit, seconds)
            if not len(messages):
                return None
            self._require_complete(held.taken, messages)
            work = _Work(table, base, held, messages, name_of(self._identity, messages))
            try:
                batch = self._take_in(work)
            except CommitFailedException:
                continue  # somebody else moved the table: look again what is left to do
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
        if base == main_of(table):
            table = restore_columns(table)
        held, where = held_by(table, base), f"table {self._source.name} ({self._source.where})"
        if held.reading != self._reading:
            raise SourceError("was read by another definition since", where=where, cure="Run again")
        if held.taken.log and held.taken.log != self._identity:
            what = f"came from the log {held.taken.log}; this is {self._identity}"
            raise SourceError(what, where=where, cure="Give the table another name, or the stream its old log")
        if not self._is_same:
            require_same(self._log, held.taken, where)
            self._is_same = True
        return table, base, held

    def _require_complete(self, taken: Taken, messages: Messages) -> None:
        """After a change of the definition all is read again, from the very first message that ever came."""
        for partition, first in messages.first.items():
            began = taken.first.get(partition)
            if began is not None and partition not in taken.last and first > began:
                what = f"must be read again from offset {began} of partition {partition}, but the log begins at {first}"
                cure = "Give the table another name, or go back to the definition that it was read by"
                raise SourceError(what, where=f"table {self._source.name} ({self._source.where})", cure=cure)

    def _take_in(self, work: _Work) -> Batch:
        decoded = self._decoder.decode(work.messages)
        rows, places, poison = self._derived(work, decoded)
        self._require_few(work, poison)
        now = Shape(scales=scales_of(self._source, rows))
        shape, _ = after(self._source, work.held.shape, now, f"{work.table.name()[-1]}, the next messages")
        rows = mark_late(self._source, rows, places, work.messages, work.held.taken)
        with attempt(work.table) as folder:
            change = self._written(work, rows, folder, poison, shape)
            self._land(work, change)
        _, _, held = self._look()
        if not change.repeated:
            self._known.landed(held.snapshot_id, rows)
        late = 0 if change.taken is None else change.taken.late - work.held.taken.late
        read, until = len(work.messages), max(work.messages.times)
        return Batch(held, read, change.added, len(poison), late, until, decoded.extra)

    def _written(self, work: _Work, rows: pl.DataFrame, folder: str, poison: list[Poison], shape: Shape) -> Change:
        """Write the rows that are new, and what is no row, where nobody refers to them yet."""
        source, table = self._source, work.table
        schema = schema_to_pyarrow(table.schema())
        with PartWriter(folder, "live", schema) as writer:
            writer.write(rows.to_arrow())
        paths, again = list(writer.paths), 0
        failpoint("live.after_files")
        if rows.height and self._known.may_repeat(table, work.base, rows):
            before = [file.file_path for file in data_files(table, work.base)]
            repeated = repeated_rows(before, paths, source.id, list(source.columns))
            paths, again = drop_rows(paths, repeated, schema), repeated.len()
            rows = rows.with_row_index("__row").filter(~pl.col("__row").is_in(repeated.implode()))
        if poison:
            keep_poison(self._catalog, source, work.name, work.messages, poison)
            failpoint("live.after_poison")
        more = {"raypipe.batch": work.name, "raypipe.writer": self._writer}
        return Change(
            attempt=folder.rpartition("/")[2],
            files=[],
            paths=paths,
            replaces=[],
            from_nothing=False,
            reading=self._reading,
            added=rows.height,
            repeated=again,
            widened=widened(in_lake(source)),
            shape=shape,
            taken=self._taken(work, rows, again, len(poison)),
            more=more | ({SET: work.name} if poison else {}),
        )

    def _land(self, work: _Work, change: Change) -> None:
        """Commit the rows and how far the log was read, together."""
        transaction = work.table.transaction()
        commit_change(work.table, transaction, change, work.base)
        failpoint("live.before_commit")
        transaction.commit_transaction()
        failpoint("live.after_commit")

    def _taken(self, work: _Work, rows: pl.DataFrame, again: int, bad: int) -> Taken:
        taken, messages = work.held.taken, work.messages
        return structs.replace(
            taken,
            log=self._identity,
            first=messages.first | taken.first,
            last=taken.last | messages.last,
            marks=taken.marks | messages.marks,
            newest=newest_after(taken.newest, rows),
            read=taken.read + len(messages),
            repeated=taken.repeated + again,
            bad=taken.bad + bad,
            recent=recent_after(taken.recent, len(messages), bad),
            late=taken.late + (rows.filter(LATE).height if LATE in rows.columns else 0),
        )

    def _derived(self, work: _Work, decoded: Decoded) -> tuple[pl.DataFrame, list[int], list[Poison]]:
        """All columns of the rows that can be derived, and every message that is no row, in order."""
        poison = list(decoded.poison)
        places = list(decoded.places)

        def spare(row: int, why: str) -> None:
            poison.append(Poison(places.pop(row), why))
            self._require_few(work, poison)

        made = derive_good(decoded.rows, self._source, self._lookups, spare)
        return made, places, sorted(poison, key=lambda one: one.place)

    def _require_few(self, work: _Work, poison: list[Poison]) -> None:
        require_few_bad(self._source, work.held.taken.recent, len(work.messages), poison)
