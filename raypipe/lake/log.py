"""Tables that only grow: rows out of segments, each once, with how far each segment was read.

Rows and positions are one commit, so a collector that is killed anywhere, or two at once, add nothing twice.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import polars as pl
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of
from pyiceberg.types import BooleanType, DoubleType, IcebergType, IntegerType, LongType, NestedField, StringType
from pyiceberg.types import TimestamptzType as TimeType

from raypipe.clock import iso
from raypipe.contracts.logs import LogKind
from raypipe.failpoints import failpoint
from raypipe.lake import log_upkeep, storage
from raypipe.lake.catalog import PROPERTIES
from raypipe.lake.state import says
from raypipe.lake.upkeep import Kept

POSITIONS = "raypipe.positions"
_TYPES: dict[type[pl.DataType], IcebergType] = {
    pl.String: StringType(),
    pl.Int32: IntegerType(),
    pl.Int64: LongType(),
    pl.Float64: DoubleType(),
    pl.Boolean: BooleanType(),
    pl.Datetime: TimeType(),
}
#: How long the snapshots of a log are kept: their rows stay, only the way back to an earlier state goes.
SNAPSHOT_SECONDS = 3_600


@dataclass(frozen=True)
class Added:
    """What a look at a log has found.

    Attributes:
        rows: every one that was added, as it was added.
        files: in so many.
        snapshot: of the table then; 0: there was nothing.
        positions: how far each segment is in the table.
    """

    rows: pl.LazyFrame
    files: int
    snapshot: int
    positions: dict[str, int]


class LogTable:
    """One log of one pipeline.

    Args:
        open_catalog: gives the catalog when it is needed.
        guard: turns the system's complaints into ours.
        kind: its columns.
        pipeline: whose log it is.
    """

    def __init__(
        self,
        open_catalog: Callable[[], SqlCatalog],
        guard: Callable[[], AbstractContextManager[None]],
        kind: LogKind,
        pipeline: str,
    ) -> None:
        self._catalog, self._guard = open_catalog, guard
        self.kind, self._name = kind, f"{kind.name}.{pipeline}"

    def positions(self) -> dict[str, int]:
        """How far each segment is in the table: the byte after the last frame that is in it.

        Raises:
            WorkspaceError: the lake cannot be used.
        """
        with self._guard():
            table = self._find()
        return {} if table is None else _positions(table)

    def append(self, rows: pl.DataFrame, positions: Mapping[str, int], before: Mapping[str, int]) -> bool:
        """Add rows, and say how far the segments that they come from are read now: both or neither.

        Args:
            rows: the columns of the kind, in their order; at least one row.
            positions: of all segments, after these rows.
            before: what `positions` said when the rows were read.

        Returns:
            False, and nothing is changed, when somebody else added rows meanwhile: look again.

        Raises:
            WorkspaceError: the lake cannot be used.
        """
        with self._guard():
            table = self._find() or self._make()
            if _positions(table) != before:
                return False
            said = msgspec.json.encode(positions, order="sorted").decode()
            transaction = table.transaction()
            self._widen(transaction, table)
            # In the order of time, so that readers of a period skip the files of others. The new snapshot asks that
            # nobody has added one since this table was looked at.
            transaction.append(rows.sort("at").to_arrow(), snapshot_properties={POSITIONS: said})
            transaction.set_properties({POSITIONS: said})
            failpoint("log.before_commit")
            try:
                transaction.commit_transaction()
            except CommitFailedException:
                return False
            failpoint("log.after_commit")
            return True

    def forget_snapshots(self, now: int) -> None:
        """Let go of old states of the table; every row stays. ``now`` in microseconds UTC."""
        with self._guard():
            table = self._find()
            if table is None:
                return
            limit = now - SNAPSHOT_SECONDS * 1_000_000
            moment = datetime.fromtimestamp(limit / 1e6, UTC).replace(tzinfo=None)
            if sum(one.timestamp_ms * 1_000 < limit for one in table.snapshots()) > 1:
                table.maintenance.expire_snapshots().older_than(moment).commit()

    def tidy(self, now: int, since: int | None = None) -> Kept:
        """Write what lies in many small files into few, and let go of rows that are old enough, and of old states.

        Whoever reads or follows the log, or adds to it, may go on meanwhile. Doing it again changes nothing.

        Args:
            now: microseconds UTC.
            since: rows from before this moment go; files that reach beyond it stay up to a day longer. None: all stay.

        Returns:
            Rows that went, files that became fewer, and files removed that nobody names any more.

        Raises:
            WorkspaceError: the lake cannot be used.
        """
        self.forget_snapshots(now)
        with self._guard():
            table = self._find()
            return Kept() if table is None else log_upkeep.tidy(table, now, since)

    def rows(self, *, since: int | None = None, until: int | None = None) -> pl.LazyFrame:
        """One row a key, by time: of several the latest stands, see `LogKind.adds`.

        Args:
            since: only rows from this moment on; microseconds UTC.
            until: only rows before it.

        Raises:
            WorkspaceError: the lake cannot be used.
        """
        with self._guard():
            table = self._find()
            # Files whose statistics lie outside of the period are not opened.
            scan = None if table is None else table.scan(row_filter=_between(since, until))
            paths = [] if scan is None else [task.file.file_path for task in scan.plan_files()]
        at, frame = pl.col("at").cast(pl.Int64), self._scan(paths)
        if since is not None:
            frame = frame.filter(at >= since)
        if until is not None:
            frame = frame.filter(at < until)
        return self.kind.standing(frame)

    def added(self, after: int | None, read: Mapping[str, int], since: int) -> Added | None:
        """What was added after a snapshot; of all files of the table only those are opened that hold it.

        Args:
            after: `Added.snapshot` of the look before; None: there was none, all that there is.
            read: how far each segment was read elsewhere: commits of nothing beyond it are left out.
            since: files of rows before this moment alone are left out, microseconds UTC.

        Returns:
            None: that snapshot is forgotten, or the table was written anew: ask for all that there is.

        Raises:
            WorkspaceError: the lake cannot be used.
        """
        with self._guard():
            table = self._find()
            now = None if table is None else table.current_snapshot()
            if table is None or now is None:
                return None if after else Added(self._scan([]), 0, 0, {})
            if after is None:
                paths = [task.file.file_path for task in table.scan(row_filter=_between(since, None)).plan_files()]
            elif (new := _after(table, now, after)) is not None:
                paths = _files(table, now, new, read)
            else:
                return None
            return Added(self._scan(paths), len(paths), now.snapshot_id, _positions(table))

    def _scan(self, paths: Sequence[str]) -> pl.LazyFrame:
        # Files of old lack the columns that came later.
        known = dict(self.kind.columns)
        frame = storage.scan(sorted(paths), known) if paths else pl.LazyFrame(schema=known)
        return frame.select(pl.col(name).cast(kind) for name, kind in known.items())

    def _find(self) -> Table | None:
        try:
            return self._catalog().load_table(self._name)
        except NoSuchTableError:
            return None

    def _widen(self, transaction: Transaction, table: Table) -> None:
        """Let a table of old have the columns that came later."""
        present = set(table.schema().column_names)
        if missing := [name for name in self.kind.columns if name not in present]:
            with transaction.update_schema() as change:
                for name in missing:
                    change.add_column(name, _TYPES[type(self.kind.columns[name])])

    def _make(self) -> Table:
        catalog = self._catalog()
        catalog.create_namespace_if_not_exists(self.kind.name)
        fields = [
            NestedField(place, name, _TYPES[type(kind)])
            for place, (name, kind) in enumerate(self.kind.columns.items(), 1)
        ]
        try:
            return catalog.create_table(self._name, Schema(*fields), properties=PROPERTIES)
        except (TableAlreadyExistsError, CommitFailedException):  # somebody else made it just now
            return catalog.load_table(self._name)


def _between(since: int | None, until: int | None) -> str:
    low = "" if since is None else f"at >= '{_moment(since)}'"
    high = "" if until is None else f"at < '{_moment(until)}'"
    return " and ".join(filter(None, (low, high))) or "true"


def _moment(microseconds: int) -> str:
    return iso(microseconds).replace("Z", "+00:00")


def _after(table: Table, now: Snapshot, after: int) -> list[Snapshot] | None:
    """The snapshots since another one that added, if all have; None: they have not, or it is forgotten.

    What only lies in other files since then was there before, see `log_upkeep`.
    """
    new: list[Snapshot] = []
    oldest = now
    for oldest in ancestors_of(now, table.metadata):
        if oldest.snapshot_id == after:
            return new
        if log_upkeep.COMPACTED in says(oldest):
            continue
        if oldest.summary is None or oldest.summary.operation is not Operation.APPEND:
            return None
        new.append(oldest)
    return new if not after and oldest.parent_snapshot_id is None else None


def _files(table: Table, now: Snapshot, new: Iterable[Snapshot], read: Mapping[str, int]) -> list[str]:
    """Of some snapshots that have only added, the files that hold what was not read elsewhere."""
    wanted = {one.snapshot_id for one in new if any(end > read.get(name, 0) for name, end in _said(one).items())}
    # Each has a manifest of its own: those of the others are not opened.
    manifests = [one for one in now.manifests(table.io) if one.added_snapshot_id in wanted] if wanted else []
    return [entry.data_file.file_path for one in manifests for entry in one.fetch_manifest_entry(table.io)]


def _said(snapshot: Snapshot) -> dict[str, int]:
    return msgspec.json.decode(says(snapshot).get(POSITIONS, "{}"), type=dict[str, int])


def _positions(table: Table) -> dict[str, int]:
    return msgspec.json.decode(table.properties.get(POSITIONS, "{}"), type=dict[str, int])
