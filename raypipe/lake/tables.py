"""Iceberg tables with two branches: ``incoming`` holds what has landed, ``main`` what a gate has passed.

What a table holds is written in its snapshots' summaries: each names the source files that it added, so the files are
the offsets. The newest list stands as a table property too, for the day when old snapshots are expired.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import polars as pl
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError
from pyiceberg.io.pyarrow import parquet_files_to_data_files, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot
from pyiceberg.table.snapshots import ancestors_of
from pyiceberg.table.update.snapshot import ManageSnapshots
from pyiceberg.types import IcebergType, NestedField
from sqlalchemy import URL

from raypipe.contracts.records import SourceFile
from raypipe.failpoints import failpoint

NAMESPACE = "lake"
MAIN, INCOMING = "main", "incoming"
MIRROR = "raypipe.files."
PROPERTIES = {
    # A conflict is looked at, never retried blindly: the other writer may have taken in the very same files.
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
_FILES = msgspec.json.Decoder(list[SourceFile])


@dataclass(frozen=True)
class Held:
    """What one snapshot holds.

    Attributes:
        reading: names the definition, and the content of the looked-up tables, that its rows were read with.
        files: the source files by digest.
        added: rows that came with the snapshot.
        repeated: rows that were read for it and already there.
        attempt: which attempt wrote it.
        widened: columns that are kept wider than they are, with the type to give back.
    """

    snapshot_id: int
    reading: str
    files: Mapping[str, SourceFile]
    rows: int
    added: int
    repeated: int
    attempt: str
    widened: Mapping[str, str]


def open_catalog(folder: Path) -> SqlCatalog:
    """The catalog of a lake folder; made when it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    # Two processes may want the catalog in the same moment: wait, up to 30 s.
    uri = URL.create("sqlite", database=str(folder / "catalog.db"), query={"timeout": "30"})
    catalog = SqlCatalog("raypipe", uri=uri.render_as_string(hide_password=False), warehouse=str(folder / "warehouse"))
    catalog.create_namespace_if_not_exists(NAMESPACE)
    return catalog


def load_table(catalog: SqlCatalog, name: str) -> Table | None:
    """The table as it is now; None when there is none."""
    try:
        return catalog.load_table(f"{NAMESPACE}.{name}")
    except NoSuchTableError:
        return None


def open_table(catalog: SqlCatalog, name: str, columns: Mapping[str, IcebergType]) -> Table:
    """The table as it is now; made, empty, when there is none."""
    if (table := load_table(catalog, name)) is not None:
        return table
    try:
        fields = [NestedField(place, name, kind) for place, (name, kind) in enumerate(columns.items(), 1)]
        with catalog.create_table_transaction(f"{NAMESPACE}.{name}", Schema(*fields), properties=PROPERTIES) as made:
            # A branch other than main needs a snapshot to start from: the empty one.
            with made.update_snapshot(
                snapshot_properties={"raypipe.from": "nothing", "raypipe.files": "[]"}
            ).fast_append():
                pass
    except TableAlreadyExistsError:  # somebody else made it just now
        pass
    return catalog.load_table(f"{NAMESPACE}.{name}")


def head(table: Table, branch: str) -> IcebergSnapshot | None:
    """The snapshot that a branch points at."""
    return table.metadata.snapshot_by_name(branch)


def main_of(table: Table) -> IcebergSnapshot:
    """What readers see: there from the table's first moment."""
    snapshot = head(table, MAIN)
    assert snapshot is not None, f"table {table.name()} was made by something else"  # noqa: S101
    return snapshot


def candidate(table: Table) -> IcebergSnapshot:
    """What has landed on top of main; main itself when nothing has."""
    incoming, main = head(table, INCOMING), main_of(table)
    return incoming if incoming is not None and descends(table, incoming, main.snapshot_id) else main


def descends(table: Table, snapshot: IcebergSnapshot, ancestor: int) -> bool:
    """True when ``ancestor`` is the snapshot or was on its way."""
    return any(one.snapshot_id == ancestor for one in ancestors_of(snapshot, table.metadata))


def held_by(table: Table, snapshot: IcebergSnapshot) -> Held:
    """What a snapshot holds, from its own summary and those of its ancestors."""
    files: dict[str, SourceFile] = {}
    complete, own = False, _props(snapshot)
    for one in ancestors_of(snapshot, table.metadata):
        props = _props(one)
        own = own if "raypipe.files" in own else props
        files |= {file.digest: file for file in _FILES.decode(props.get("raypipe.files", "[]"))}
        if complete := props.get("raypipe.from") == "nothing":
            break
    if not complete:  # older snapshots were expired: their lists live on as a property
        branch = MAIN if snapshot.snapshot_id == main_of(table).snapshot_id else INCOMING
        listed = _FILES.decode(table.properties.get(MIRROR + branch, "[]"))
        files = {file.digest: file for file in listed} | files
    return Held(
        snapshot_id=snapshot.snapshot_id,
        reading=own.get("raypipe.reading", ""),
        files=files,
        rows=int(_props(snapshot).get("total-records", 0)),
        added=int(own.get("raypipe.added", 0)),
        repeated=int(own.get("raypipe.repeated", 0)),
        attempt=own.get("raypipe.attempt", ""),
        widened=msgspec.json.decode(own.get("raypipe.widened", "{}"), type=dict[str, str]),
    )


def data_files(table: Table, snapshot_id: int) -> list[DataFile]:
    """The Parquet files of a snapshot, in the order in which their rows came."""
    tasks = table.scan(snapshot_id=snapshot_id).plan_files()
    return sorted((task.file for task in tasks), key=lambda file: file.file_path)


def published(held: Held) -> Held:
    """What to say of a snapshot that stands without this run's doing."""
    return replace(held, added=0, repeated=0)


def has_attempt(table: Table, attempt: str) -> bool:
    """True when an attempt's commit is in the table, heard of or not."""
    return any(_props(one).get("raypipe.attempt") == attempt for one in table.metadata.snapshots)


def empty(table: Table, snapshot: IcebergSnapshot) -> pl.LazyFrame:
    """No rows, of the snapshot's columns."""
    schema = next(one for one in table.metadata.schemas if one.schema_id == snapshot.schema_id)
    return pl.DataFrame(pl.from_arrow(schema_to_pyarrow(schema).empty_table())).lazy()


@dataclass(frozen=True)
class Change:
    """What a commit brings.

    Attributes:
        attempt: names it, so that a commit whose answer was lost can be looked up.
        reading: see ``Held``.
        files: the source files that were read.
        paths: the Parquet files to add.
        replaces: the Parquet files that go.
        from_nothing: none of the rows before stay.
        added, repeated, widened: see ``Held``.
    """

    attempt: str
    reading: str
    files: Sequence[SourceFile]
    paths: Sequence[str]
    replaces: Sequence[DataFile]
    from_nothing: bool
    added: int
    repeated: int
    widened: Mapping[str, str]

    @property
    def summary(self) -> dict[str, str]:
        """What the snapshot's summary says of it."""
        own = {
            "raypipe.files": _list(self.files),
            "raypipe.reading": self.reading,
            "raypipe.attempt": self.attempt,
            "raypipe.added": str(self.added),
            "raypipe.repeated": str(self.repeated),
            "raypipe.widened": msgspec.json.encode(self.widened).decode(),
        }
        return own | ({"raypipe.from": "nothing"} if self.from_nothing else {})


def evolve(transaction: Transaction, want: Mapping[str, IcebergType]) -> pa.Schema:
    """Give the table these columns, as part of a transaction.

    Returns:
        How Parquet files must be written: the table's columns in its order, with Iceberg's field ids.
    """
    have = {field.name: field.field_type for field in transaction.table_metadata.schema().fields}
    if have != want:
        # A column of another type is another column, with an id of its own: old snapshots keep theirs.
        with transaction.update_schema(allow_incompatible_changes=True) as update:
            for name, kind in have.items():
                if want.get(name) != kind:
                    update.delete_column(name)
            for name, kind in want.items():
                if have.get(name) != kind:
                    update.add_column(name, kind)
    return schema_to_pyarrow(transaction.table_metadata.schema())


def land(table: Table, transaction: Transaction, change: Change) -> None:
    """Commit a change onto ``incoming``, on top of ``main``: rows that no gate has passed are not carried on.

    Raises:
        CommitFailedException: somebody else moved ``incoming`` meanwhile; nothing was changed.
    """
    main = main_of(table)
    files = {file.digest: file for file in change.files}
    if not change.from_nothing:
        files = dict(held_by(table, main).files) | files
    incoming = head(table, INCOMING)
    if incoming is None or incoming.snapshot_id != main.snapshot_id:
        ManageSnapshots(transaction).create_branch(main.snapshot_id, INCOMING).commit()
    update = transaction.update_snapshot(snapshot_properties=change.summary, branch=INCOMING)
    with update.overwrite() if change.replaces else update.fast_append() as producer:
        for gone in change.replaces:
            producer.delete_data_file(gone)
        for new in parquet_files_to_data_files(table.io, transaction.table_metadata, iter(change.paths)):
            producer.append_data_file(new)
    transaction.set_properties({MIRROR + INCOMING: _list(files.values())})
    failpoint("ingest.after_files_before_commit")
    transaction.commit_transaction()
    failpoint("ingest.after_commit")


def set_incoming(table: Table, snapshot_id: int) -> None:
    """Let ``incoming`` be a snapshot that is there already."""
    transaction = table.transaction()
    ManageSnapshots(transaction).create_branch(snapshot_id, INCOMING).commit()
    transaction.commit_transaction()


def set_main(table: Table, snapshot: IcebergSnapshot) -> None:
    """Let readers of ``main`` see a snapshot.

    Raises:
        CommitFailedException: somebody else moved ``main`` meanwhile; nothing was changed.
    """
    transaction = table.transaction()
    ManageSnapshots(transaction).set_current_snapshot(snapshot_id=snapshot.snapshot_id)
    transaction.set_properties({MIRROR + MAIN: _list(held_by(table, snapshot).files.values())})
    transaction.commit_transaction()


def _list(files: Iterable[SourceFile]) -> str:
    return msgspec.json.encode(list(files)).decode()


def _props(snapshot: IcebergSnapshot) -> Mapping[str, str]:
    return snapshot.summary.additional_properties if snapshot.summary is not None else {}
