"""The lake: files in, exact snapshots out."""

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot
from sqlalchemy.exc import DatabaseError

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Snapshot
from raypipe.errors import RaypipeError, SourceError, WorkspaceError
from raypipe.failpoints import failpoint
from raypipe.lake import tables
from raypipe.lake.columns import given_back, stored, widened
from raypipe.lake.derive import looked_up, require_free_names
from raypipe.lake.files import FoundFile, find
from raypipe.lake.settle import settle
from raypipe.lake.stage import Task, stage
from raypipe.spec import Lookup, Source, Stream, Table, fingerprint
from raypipe.spec.shape import in_lake

if TYPE_CHECKING:
    import ray.data

#: How often a commit that lost a race is tried again before the run gives up.
ATTEMPTS = 5


class Lake:
    """Iceberg tables in one folder: a SQLite catalog, and a warehouse of Parquet files.

    Args:
        folder: where they are; made on first use. Its absolute path is written into the tables.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def __reduce__(self) -> tuple[type["Lake"], tuple[Path]]:
        return Lake, (self._folder,)  # a connection does not cross processes

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
            WorkspaceError: the folder cannot be written to, or is full.
        """
        require_free_names(source)
        columns = stored(source, in_lake(source))
        found = {file.digest: file for file in find(source.source)}
        with self._workspace_errors():
            lookups = {table.name: self._lookup(table, names) for table, names in looked_up(source).items()}
            reading = _reading(source, lookups)
            for _ in range(ATTEMPTS):
                table = tables.open_table(self._catalog, source.name, columns)
                if (held := _there_already(table, found, reading)) is not None:
                    return _record(source, held)
                try:
                    self._take_in(table, source, found, reading, lookups, progress)
                except CommitFailedException:
                    continue  # somebody else moved the table: look again what is left to do
        raise self._lost_races(source.name)

    def publish(self, snapshots: Sequence[Snapshot]) -> None:
        """Let ``main`` of each table be exactly the snapshot that was checked. Doing it again changes nothing.

        Raises:
            SourceError: a table moved on since the snapshot was taken; run again. No table was changed.
            WorkspaceError: the folder cannot be written to, or is full.
        """
        with self._workspace_errors():
            for snapshot in snapshots:
                self._next_main(snapshot)
            for snapshot in snapshots:
                self._publish(snapshot)
                failpoint("publish.between_tables")

    def frame(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """Exactly the rows of a snapshot, in the order in which they came; only the columns asked for are read.

        Types are those of ``spec.shape.schema``; streams have ``event_time`` and ``known_at`` too.
        """
        table = self._table(snapshot.table)
        paths = [file.file_path for file in tables.data_files(table, snapshot.snapshot_id)]
        found = self._snapshot(table, snapshot)
        types = given_back(tables.held_by(table, found).widened)
        rows = pl.scan_parquet(paths, glob=False) if paths else tables.empty(table, found)
        rows = rows.with_columns(pl.col(name).cast(kind) for name, kind in types.items()) if types else rows
        return rows if columns is None else rows.select(columns)

    def dataset(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> "ray.data.Dataset":
        """The same rows as a Ray dataset, read by the cluster."""
        import ray

        table = self._table(snapshot.table)
        paths = [file.file_path for file in tables.data_files(table, snapshot.snapshot_id)]
        if not paths:
            return ray.data.from_arrow(self.frame(snapshot, columns).collect().to_arrow())
        rows = ray.data.read_parquet(paths)
        return rows if columns is None else rows.select_columns(list(columns))

    @cached_property
    def _catalog(self) -> SqlCatalog:
        return tables.open_catalog(self._folder)

    def _take_in(
        self,
        table: IcebergTable,
        source: Source,
        found: Mapping[str, FoundFile],
        reading: str,
        lookups: Mapping[str, pl.DataFrame],
        progress: Progress,
    ) -> None:
        main = tables.main_of(table)
        held = tables.held_by(table, main)
        anew = held.reading not in ("", reading)
        if anew and (lost := [file.path for digest, file in held.files.items() if digest not in found]):
            what = f"was read by another definition, and {lost[0]}, which is in it, is no longer there"
            cure = "Put the file back to read it again, or give the source another name"
            raise SourceError(what, where=f"table {source.name}", cure=cure)
        new = {digest: file for digest, file in found.items() if anew or digest not in held.files}
        attempt = f"{table.metadata.next_sequence_number():08d}-{uuid.uuid4().hex[:8]}"
        folder = Path(table.location()) / "data" / attempt
        folder.mkdir(parents=True)
        try:
            transaction = table.transaction()
            schema = tables.evolve(transaction, stored(source, in_lake(source)))
            tasks = [
                Task(file, digest, source, lookups, schema, folder, f"{place:05d}")
                for place, (digest, file) in enumerate(new.items())
            ]
            staged = stage(tasks, progress)
            before = [] if anew else tables.data_files(table, main.snapshot_id)
            settled = settle(source, staged, [file.file_path for file in before], schema, folder)
            change = tables.Change(
                attempt=attempt,
                reading=reading,
                files=[one.file for one in staged],
                paths=settled.paths,
                replaces=tables.data_files(table, main.snapshot_id) if anew or settled.replaces else [],
                from_nothing=anew,
                added=settled.added,
                repeated=settled.repeated,
                widened=widened(in_lake(source)),
            )
            tables.land(table, transaction, change)
        except BaseException:
            self._discard(source.name, attempt, folder)
            raise

    def _discard(self, name: str, attempt: str, folder: Path) -> None:
        """Remove the files of an attempt that failed; never those of one that landed without our hearing of it."""
        table = tables.load_table(self._catalog, name)
        if table is None or not tables.has_attempt(table, attempt):
            shutil.rmtree(folder, ignore_errors=True)

    def _lookup(self, table: Table, names: Sequence[str]) -> pl.DataFrame:
        there = tables.load_table(self._catalog, table.name)
        if there is None:
            raise SourceError("is not in the lake yet", where=f"table {table.name}", cure="Ingest it first")
        found = tables.candidate(there)
        snapshot = _record(table, tables.held_by(there, found))
        columns = dict.fromkeys((table.key, *names))
        return self.frame(snapshot, list(columns)).filter(pl.col(table.key).is_not_null()).collect()

    def _table(self, name: str) -> IcebergTable:
        with self._workspace_errors():
            table = tables.load_table(self._catalog, name)
        if table is None:
            raise SourceError("is not in the lake", where=f"table {name}", cure="Ingest it first")
        return table

    def _snapshot(self, table: IcebergTable, snapshot: Snapshot) -> IcebergSnapshot:
        found = table.metadata.snapshot_by_id(snapshot.snapshot_id)
        if found is None:
            what = f"has no snapshot {snapshot.snapshot_id}"
            raise SourceError(what, where=f"table {snapshot.table}", cure="Ingest it again")
        return found

    def _next_main(self, snapshot: Snapshot) -> tuple[IcebergTable, IcebergSnapshot | None]:
        """The snapshot that ``main`` is to become; None when it is that already, or came after it."""
        table = self._table(snapshot.table)
        found, main = self._snapshot(table, snapshot), tables.main_of(table)
        if tables.descends(table, main, found.snapshot_id):
            return table, None
        if not tables.descends(table, found, main.snapshot_id):
            what = "was published by another run since these rows came in"
            raise SourceError(what, where=f"table {snapshot.table}", cure="Run again: it takes them in on top")
        return table, found

    def _publish(self, snapshot: Snapshot) -> None:
        for _ in range(ATTEMPTS):
            table, found = self._next_main(snapshot)
            if found is None:
                return
            try:
                tables.set_main(table, found)
            except CommitFailedException:
                continue  # somebody else moved the table: look again
            return
        raise self._lost_races(snapshot.table)

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
        cure = "Check that the folder is writable and its disk has space; nothing was lost, run again"
        raise WorkspaceError(f"cannot be used: {why}", where=str(self._folder), cure=cure) from None

    def _lost_races(self, name: str) -> WorkspaceError:
        what = f"other runs changed it {ATTEMPTS} times in a row"
        return WorkspaceError(what, where=f"table {name}", cure="Run again when they are done")


def _there_already(table: IcebergTable, found: Mapping[str, FoundFile], reading: str) -> tables.Held | None:
    """What ``incoming`` is, or is now let to be, when it holds all the files that were found."""
    main = tables.main_of(table)
    held = tables.held_by(table, main)
    if held.reading == reading and found.keys() <= held.files.keys():
        if tables.head(table, tables.INCOMING) != main:
            tables.set_incoming(table, main.snapshot_id)  # drops rows that no gate has passed
        return tables.published(held)
    landed = tables.candidate(table)
    if landed == main:
        return None
    incoming = tables.held_by(table, landed)
    wanted = found.keys() | (held.files.keys() if held.reading in ("", reading) else set())
    return incoming if incoming.reading == reading and incoming.files.keys() == wanted else None


def _reading(source: Source, lookups: Mapping[str, pl.DataFrame]) -> str:
    """Names everything that decides what rows a file gives: not the gate, not where the file is."""
    ways = tuple(
        (name, (way.table.name, way.column, way.by) if isinstance(way, Lookup) else way)
        for name, way in source.derive.items()
    )
    rest = (source.id, source.time, source.reveals, source.delay) if isinstance(source, Stream) else (source.key,)
    content = tuple((name, _digest(frame)) for name, frame in sorted(lookups.items()))
    return fingerprint((source.source.format, source.source.nulls, source.columns, ways, rest, content))


def _digest(frame: pl.DataFrame) -> str:
    from hashlib import sha256

    ordered = frame.sort(frame.columns, nulls_last=True)
    return sha256(ordered.write_csv(null_value="\\N").encode()).hexdigest()[:16]


def _record(source: Source, held: tables.Held) -> Snapshot:
    return Snapshot(
        table=source.name,
        snapshot_id=held.snapshot_id,
        definition=fingerprint(source),
        rows=held.rows,
        added=held.added,
        repeated=held.repeated,
        files=tuple(held.files.values()),
    )
