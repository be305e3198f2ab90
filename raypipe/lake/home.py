"""Where a lake is, and what its parts share: the catalog, the tables in it, and words for what a system says."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot
from sqlalchemy.exc import DatabaseError

from raypipe.clock import Clock, SystemClock
from raypipe.contracts.records import Snapshot
from raypipe.errors import RaypipeError, SourceError, WorkspaceError
from raypipe.lake.catalog import load_table, open_catalog
from raypipe.lake.feeds import Connections
from raypipe.lake.ingest import ATTEMPTS
from raypipe.lake.live import SPREAD_MESSAGES
from raypipe.lake.state import Held
from raypipe.spec import Source, Stream, fingerprint

#: From this many bytes in more than one file, reading is spread over the cluster; below, this machine's cores are done
#: before its workers have started.
SPREAD_BYTES = 4 * 2**30


class Home:
    """What every part of a lake stands on; see ``Lake`` for the arguments."""

    def __init__(
        self,
        folder: Path,
        *,
        spread_bytes: int = SPREAD_BYTES,
        spread_messages: int = SPREAD_MESSAGES,
        catalog: str = "",
        warehouse: str = "",
        connections: Connections | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._folder, self._spread_bytes = folder.absolute(), spread_bytes
        self._spread_messages = spread_messages
        self._catalog_url, self._warehouse = catalog, warehouse.rstrip("/")
        self._connections, self._clock = connections or {}, clock or SystemClock()

    def __getstate__(self) -> dict[str, object]:
        # A connection does not cross processes.
        return {name: value for name, value in vars(self).items() if name != "_catalog"}

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


def as_record(source: Source, held: Held) -> Snapshot:
    """What a table holds, as others are told."""
    return Snapshot(
        table=source.name,
        snapshot_id=held.snapshot_id,
        definition=fingerprint(source),
        rows=held.rows,
        added=held.added,
        repeated=held.repeated,
        files=tuple(held.files.values()),
        changed=held.changed,
        differing=held.differing,
        unnamed=held.unnamed,
        dropped=held.dropped,
        taken=held.taken if isinstance(source, Stream) and source.live is not None else None,
    )
