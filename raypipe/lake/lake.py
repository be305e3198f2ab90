"""The lake: files in, exact snapshots out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from msgspec import structs
from polars.exceptions import PolarsError
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot
from sqlalchemy.exc import DatabaseError

from raypipe.clock import Clock, SystemClock
from raypipe.contracts.changes import Changes
from raypipe.contracts.faulty import Faulty
from raypipe.contracts.logs import LogKind
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Snapshot
from raypipe.contracts.streaming import StreamSource
from raypipe.errors import RaypipeError, SourceError, WorkspaceError
from raypipe.failpoints import failpoint
from raypipe.lake import storage
from raypipe.lake.aside import (
    drop_faulty,
    erase_quarantined,
    keep_rows,
    quarantine_table,
    set_aside_rows,
    without,
)
from raypipe.lake.batches import Batches
from raypipe.lake.catalog import load_table, open_catalog
from raypipe.lake.columns import arrow_type
from raypipe.lake.commit import set_main
from raypipe.lake.feeds import Connections, open_log
from raypipe.lake.ingest import ATTEMPTS, ingest
from raypipe.lake.live import Batch, LiveIngest
from raypipe.lake.log import LogTable
from raypipe.lake.state import INCOMING, Held, changes, data_files, descends, head, held_by, main_of, rows_of
from raypipe.lake.upkeep import Kept, erase_rows, expire, remove_orphans, rewrite, scattered
from raypipe.lake.writers import take_over
from raypipe.spec import Source, Stream, fingerprint
from raypipe.spec.shape import in_lake

if TYPE_CHECKING:
    import ray.data

#: From this many bytes in more than one file, reading is spread over the cluster; below, workers start too slowly.
SPREAD_BYTES = 256 * 2**20
#: Messages that one commit takes in at most, and the seconds that it waits for the first of them.
BATCH_ROWS = 100_000
BATCH_SECONDS = 5.0


class Lake:
    """Iceberg tables: a catalog, and a warehouse of Parquet files. In one folder, unless URLs say otherwise.

    Args:
        folder: where they are; made on first use. Its absolute path is written into the tables.
        spread_bytes: from this many bytes in more than one file on, reading is spread over the Ray cluster.
        catalog: a PostgreSQL database that names the tables instead of the folder's SQLite file; may be a reference.
        warehouse: where their files are instead, such as ``s3://bucket/lake``; the catalog must be a URL too.
        connections: by kind of log, how it is reached.
        clock: says when a message came that does not say it itself.
    """

    def __init__(
        self,
        folder: Path,
        *,
        spread_bytes: int = SPREAD_BYTES,
        catalog: str = "",
        warehouse: str = "",
        connections: Connections | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._folder, self._spread_bytes = folder.absolute(), spread_bytes
        self._catalog_url, self._warehouse = catalog, warehouse.rstrip("/")
        self._connections, self._clock = connections or {}, clock or SystemClock()

    def __getstate__(self) -> dict[str, object]:
        # A connection does not cross processes.
        return {name: value for name, value in vars(self).items() if name != "_catalog"}

    def ingest(self, source: Source, progress: Progress) -> Snapshot:
        """Take in the files of a source that its table does not hold yet, as one snapshot on the branch ``incoming``.

        Doing it again changes nothing. Tables that the source looks things up in must have been taken in before.

        Args:
            source: a table or a stream.
            progress: is told how far reading has come.

        Returns:
            What ``incoming`` is now: ``main`` plus the new files, or ``main`` itself when there are none.

        Raises:
            SourceError: a file is missing, corrupt or not as declared; nothing was changed.
            DefinitionError: a derived column has a type that a table cannot hold.
            WorkspaceError: the folder cannot be written to, or is full.
        """
        with self._workspace_errors():
            held = ingest(self._catalog, source, progress, self._spread_bytes)
            if isinstance(source, Stream) and source.live is not None:
                held = self._catch_up(source, held, progress)
        return _as_record(source, held)

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
            yield Following(source, LiveIngest(self._catalog, source, log, writer))

    def _catch_up(self, source: Stream, held: Held, progress: Progress) -> Held:
        """Take in what waits in the log, up to where it ends now."""
        with self._opened(source) as log:
            live, began = LiveIngest(self._catalog, source, log), self._clock.now()
            waiting = sum(live.lag(live.look()).values())
            with progress.step(f"read {source.name} from its log", waiting or None) as step:
                while waiting > 0 and (batch := live.take(min(waiting, BATCH_ROWS), BATCH_SECONDS)) is not None:
                    step.advance(batch.read)
                    waiting -= batch.read
                    if waiting <= 0 and batch.until < began:  # a log that does not count may hold more
                        waiting = sum(live.lag(batch.held).values())
            now, main = live.look(), self.published(source)
            return replace(now, added=now.rows - (main.rows if main else 0), repeated=held.repeated)

    @contextmanager
    def _opened(self, source: Stream) -> Iterator[StreamSource]:
        assert source.live is not None, f"{source.name} has no log"  # noqa: S101
        log = open_log(source.live, self._connections, self._clock, list(source.columns))
        try:
            yield log
        finally:
            log.close()

    def publish(self, snapshots: Sequence[Snapshot]) -> None:
        """Let ``main`` of each table be exactly the snapshot that was checked. Doing it again changes nothing.

        Raises:
            SourceError: a table moved on since its snapshot was taken. No table was changed.
            WorkspaceError: the folder cannot be written to, or is full.
        """
        with self._workspace_errors():
            for snapshot in snapshots:
                self._next_main(snapshot)
            for snapshot in snapshots:
                self._publish(snapshot)
                failpoint("publish.between_tables")

    def set_aside(self, faulty: Faulty, as_of: int) -> Snapshot:
        """Move faulty rows of a snapshot into the quarantine. Doing it again changes nothing.

        Args:
            faulty: the rows, and why.
            as_of: the run's moment, microseconds UTC.

        Returns:
            The snapshot without them, on the branch ``incoming``.

        Raises:
            SourceError: the table moved on since the snapshot was taken; nothing was changed.
            WorkspaceError: the folder cannot be written to, or is full.
        """
        with self._workspace_errors():
            for _ in range(ATTEMPTS):
                table, found = self._find(faulty.snapshot)
                if (left := without(table, faulty)) is None and head(table, INCOMING) != found != main_of(table):
                    what = "changed since these rows were checked"
                    raise SourceError(what, where=f"table {faulty.snapshot.table}", cure="Run again")
                try:
                    keep_rows(self._catalog, table, found, faulty, as_of)
                    failpoint("quarantine.after_rows")
                    if left is None:
                        drop_faulty(table, found, faulty)
                        continue  # look at what is there now
                except CommitFailedException:
                    continue  # somebody else moved a table: look again
                held = held_by(table, left)
                return structs.replace(faulty.snapshot, snapshot_id=held.snapshot_id, rows=held.rows)
        raise self._overtaken(faulty.snapshot.table)

    def quarantined(self, source: Source) -> pl.LazyFrame:
        """The rows that were set aside from a source and are not in its ``main``.

        Columns ``set``, ``source``, ``snapshot`` (the one that was checked), ``check``, ``reason``, ``row`` (JSON) and
        ``as_of``. The rows of ``main`` and these are all rows that were read.
        """
        with self._workspace_errors():
            table = load_table(self._catalog, source.name)
            if table is None:
                raise SourceError("is not in the lake", where=f"table {source.name}", cure="Ingest it first")
            return set_aside_rows(self._catalog, table)

    def erase(self, source: Source, column: str, value: str) -> tuple[int, int]:
        """Remove every row with this value in a column: from ``main``, the quarantine, all older snapshots, the files.

        Rows that no gate has passed are let go too, and come in again. Doing it again changes nothing.

        Returns:
            How many rows of ``main``, and how many quarantined ones, there were.

        Raises:
            SourceError: the value is not of the column's type.
        """
        try:
            wanted = pl.Series([value]).cast(in_lake(source)[column]).item()
        except PolarsError:
            what = f"`{value}` is not {in_lake(source)[column]}"
            raise SourceError(what, where=f"{source.name}.{column}", cure="Give it as the column holds it") from None
        rows = aside = 0
        with self._workspace_errors():
            for _ in range(ATTEMPTS):
                try:
                    if (table := load_table(self._catalog, source.name)) is not None:
                        rows += erase_rows(table, pl.col(column) == pl.lit(wanted))
                    aside += erase_quarantined(self._catalog, source.name, column, value)
                    expire(quarantine_table(self._catalog))
                except CommitFailedException:
                    continue  # somebody else moved a table: look again
                return rows, aside
        raise self._overtaken(source.name)

    def tidy(self, source: Source, expire_before: int, orphans_before: int) -> Kept:
        """Write a scattered table into few files, expire old snapshots, remove files that nobody names.

        Args:
            source: whose table it is.
            expire_before: snapshots made earlier go, microseconds UTC; what branches point at stays.
            orphans_before: files that nobody names go when they were written earlier.
        """
        with self._workspace_errors():
            for _ in range(ATTEMPTS):
                if (table := load_table(self._catalog, source.name)) is None:
                    return Kept()
                try:
                    if scattered(table) and head(table, INCOMING) == main_of(table):
                        rewrite(table)
                    kept = expire(table.refresh(), expire_before)
                except CommitFailedException:
                    continue  # somebody else moved the table: look again
                aside = quarantine_table(self._catalog)
                orphans = sum(remove_orphans(one, orphans_before) for one in (table.refresh(), aside))
                return replace(kept, removed=kept.removed + orphans)
        raise self._overtaken(source.name)

    def published(self, source: Source) -> Snapshot | None:
        """What readers of ``main`` see of a source; None when no gate has passed anything yet."""
        with self._workspace_errors():
            table = load_table(self._catalog, source.name)
        if table is None or not (held := held_by(table, main_of(table)).standing).reading:
            return None
        return _as_record(source, held)

    def frame(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """Exactly the rows of a snapshot, in the order in which they came; only the columns asked for are read.

        Types are those of ``spec.shape.in_lake``.

        Raises:
            SourceError: the lake does not have it.
        """
        rows = rows_of(*self._find(snapshot))
        return rows if columns is None else rows.select(columns)

    def changes(self, old: Snapshot, new: Snapshot) -> Changes | None:
        """What became of a table from one snapshot to a later one; None when the lake lacks the earlier by now.

        Raises:
            SourceError: the lake does not have the later one.
        """
        table, later = self._find(new)
        if (earlier := table.metadata.snapshot_by_id(old.snapshot_id)) is None:
            return None
        return changes(table, earlier, later)

    def dataset(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> "ray.data.Dataset":
        """The same rows as a Ray dataset, read by the cluster, in any order.

        Raises:
            SourceError: the lake does not have it.
        """
        import ray.data
        from ray.data.datatype import DataType
        from ray.data.expressions import col

        table, found = self._find(snapshot)
        paths = [file.file_path for file in data_files(table, found)]
        if not paths:
            return ray.data.from_arrow(self.frame(snapshot, columns).collect().to_arrow())
        rows = ray.data.read_parquet(paths, filesystem=storage.filesystem(paths[0]))
        for name, kind in held_by(table, found).widened.items():
            if columns is None or name in columns:
                rows = rows.with_column(name, col(name).cast(DataType.from_arrow(arrow_type(kind))))
        return rows if columns is None else rows.select_columns(list(columns))

    def log(self, kind: LogKind, pipeline: str) -> LogTable:
        """What was predicted by a pipeline, or told about it; see ``contracts.logs``."""
        return LogTable(lambda: self._catalog, self._workspace_errors, kind, pipeline)

    def paths(self, snapshot: Snapshot) -> list[str]:
        """The Parquet files of a snapshot, in the order in which their rows came.

        Raises:
            SourceError: the lake does not have it.
        """
        return [file.file_path for file in data_files(*self._find(snapshot))]

    def batches(self, pipeline: str) -> Batches:
        """The table of what a pipeline's models said to batches of questions."""
        return Batches(lambda: self._catalog, self._workspace_errors, pipeline)

    @cached_property
    def _catalog(self) -> SqlCatalog:
        return open_catalog(self._folder, self._catalog_url, self._warehouse)

    def _find(self, snapshot: Snapshot) -> tuple[IcebergTable, IcebergSnapshot]:
        with self._workspace_errors():
            table = load_table(self._catalog, snapshot.table)
        where = f"table {snapshot.table}"
        if table is None:
            raise SourceError("is not in the lake", where=where, cure="Ingest it first")
        if (found := table.metadata.snapshot_by_id(snapshot.snapshot_id)) is None:
            raise SourceError(f"has no snapshot {snapshot.snapshot_id}", where=where, cure="Ingest it again")
        return table, found

    def _next_main(self, snapshot: Snapshot) -> tuple[IcebergTable, IcebergSnapshot | None]:
        """The snapshot that ``main`` is to become; None when it is that already, or went on from there."""
        table, found = self._find(snapshot)
        main = main_of(table)
        if descends(table, main, found):
            return table, None
        if not descends(table, found, main):
            what = "was published by another run since these rows came in"
            raise SourceError(what, where=f"table {snapshot.table}", cure="Run again: it takes them in on top")
        return table, found

    def _publish(self, snapshot: Snapshot) -> None:
        for _ in range(ATTEMPTS):
            table, found = self._next_main(snapshot)
            if found is None:
                return
            try:
                set_main(table, found)
            except CommitFailedException:
                continue  # somebody else moved the table: look again
            return
        raise self._overtaken(snapshot.table)

    def _overtaken(self, name: str) -> WorkspaceError:
        what = f"other runs changed it {ATTEMPTS} times in a row"
        return WorkspaceError(what, where=f"table {name}", cure="Run again when they are done")

    @contextmanager
    def _workspace_errors(self) -> Iterator[None]:
        try:
            yield
        except RaypipeError:
            raise
        except OSError as error:
            why = error.strerror or str(error)
        except DatabaseError as error:
            why = str(error.orig)
        else:
            return
        cure = "Check that the folder is writable and its disk has space, then run again: nothing was lost"
        if self._catalog_url:
            cure = "`raypipe doctor` says which part does not answer; then run again: nothing was lost"
        where = self._warehouse or self._catalog_url or str(self._folder)
        raise WorkspaceError(f"cannot be used: {why.strip()}", where=where, cure=cure)


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
        return _as_record(self.source, self._live.look().standing)


def _as_record(source: Source, held: Held) -> Snapshot:
    return Snapshot(
        table=source.name,
        snapshot_id=held.snapshot_id,
        definition=fingerprint(source),
        rows=held.rows,
        added=held.added,
        repeated=held.repeated,
        files=tuple(held.files.values()),
        taken=held.taken if isinstance(source, Stream) and source.live is not None else None,
    )
