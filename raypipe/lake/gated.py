"""What becomes of rows that a gate has looked at: ``main`` moves on, or they are set aside."""

from collections.abc import Sequence

import polars as pl
from msgspec import structs
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

from raypipe.contracts.faulty import Faulty
from raypipe.contracts.records import Snapshot
from raypipe.errors import SourceError
from raypipe.failpoints import failpoint
from raypipe.lake.aside import drop_faulty, keep_rows, set_aside_rows, without
from raypipe.lake.catalog import load_table
from raypipe.lake.commit import set_main
from raypipe.lake.home import Home
from raypipe.lake.ingest import ATTEMPTS
from raypipe.lake.state import INCOMING, descends, head, held_by, main_of
from raypipe.spec import Source


class Gated(Home):
    """The part of a lake that does what a gate says."""

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
