"""Changes of a table, each one atomic commit. Nothing is retried here: whoever loses a race looks again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
from pyiceberg.io.pyarrow import parquet_files_to_data_files, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AssertCurrentSchemaId, AssertTableUUID, SetCurrentSchemaUpdate
from pyiceberg.table.update.snapshot import ManageSnapshots
from pyiceberg.types import IcebergType

from raypipe.contracts.records import SourceFile, Taken
from raypipe.failpoints import failpoint
from raypipe.lake.shipped import Shape
from raypipe.lake.state import INCOMING, MAIN, SHAPE, Held, head, held_by, listed, main_of, mirror


@dataclass(frozen=True)
class Change:
    """What an ingestion brings.

    Attributes:
        attempt: names it, so that a commit whose answer was lost can be looked up.
        files: the source files that were read.
        paths: the Parquet files to add.
        replaces: the Parquet files that go.
        from_nothing: nothing that the table held before counts any more.
        reading, added, repeated, widened: see ``Held``.
        shape, changed, differing: see ``Held``.
        taken: how far it comes with the log; None when it brings nothing of it.
        more: what else its snapshot says.
    """

    attempt: str
    files: Sequence[SourceFile]
    paths: Sequence[str]
    replaces: Sequence[DataFile]
    from_nothing: bool
    reading: str
    added: int
    repeated: int
    widened: Mapping[str, str]
    shape: Shape
    changed: Sequence[str] = ()
    differing: str = ""
    taken: Taken | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, str]:
        """What the snapshot's summary says of it."""
        said = {
            "raypipe.attempt": self.attempt,
            "raypipe.files": listed(self.files),
            "raypipe.reading": self.reading,
            "raypipe.added": str(self.added),
            "raypipe.repeated": str(self.repeated),
            "raypipe.widened": msgspec.json.encode(self.widened).decode(),
            SHAPE: self.shape.to_json(),
        }
        said |= {"raypipe.changed": msgspec.json.encode(self.changed).decode()} if self.changed else {}
        said |= {"raypipe.differing": self.differing} if self.differing else {}
        said |= {"raypipe.from": "nothing"} if self.from_nothing else {}
        said |= {"raypipe.taken": self.taken.to_json()} if self.taken is not None else {}
        return {**said, **self.more}


def restore_columns(table: Table) -> Table:
    """Give the table the columns of ``main`` again, if rows that no gate passed had left it with others."""
    wanted, now = main_of(table).schema_id, table.metadata.current_schema_id
    if wanted is None or wanted == now:
        return table
    requirements = (
        AssertTableUUID(uuid=table.metadata.table_uuid),
        AssertCurrentSchemaId.model_validate({"current-schema-id": now}),
    )
    table.catalog.commit_table(table, requirements, (SetCurrentSchemaUpdate.model_validate({"schema-id": wanted}),))
    return table.refresh()


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
    commit_change(table, transaction, change, main_of(table))
    failpoint("ingest.after_files_before_commit")
    transaction.commit_transaction()
    failpoint("ingest.after_commit")


def commit_change(table: Table, transaction: Transaction, change: Change, base: Snapshot) -> None:
    """Make a change on ``incoming``, on top of a snapshot, as part of a transaction."""
    incoming = head(table, INCOMING)
    if incoming is None or incoming.snapshot_id != base.snapshot_id:
        ManageSnapshots(transaction).create_branch(base.snapshot_id, INCOMING).commit()
    commit_files(table, transaction, change.summary, change.replaces, change.paths)
    held = held_by(table, base)
    files = {} if change.from_nothing else dict(held.files)
    files |= {file.digest: file for file in change.files}
    transaction.set_properties(mirror(INCOMING, files.values(), change.taken or held.taken))


def commit_files(
    table: Table, transaction: Transaction, says: dict[str, str], gone: Sequence[DataFile], paths: Sequence[str]
) -> None:
    """Make a snapshot on ``incoming``, as part of a transaction: files that go, files that come, and what it says."""
    update = transaction.update_snapshot(snapshot_properties=says, branch=INCOMING)
    with update.overwrite() if gone else update.fast_append() as producer:
        for file in gone:
            producer.delete_data_file(file)
        for new in parquet_files_to_data_files(table.io, transaction.table_metadata, iter(paths)):
            producer.append_data_file(new)


def set_incoming(table: Table, snapshot: Snapshot) -> None:
    """Let ``incoming`` be a snapshot that is there already.

    Raises:
        CommitFailedException: somebody else moved it meanwhile; nothing was changed.
    """
    transaction = table.transaction()
    ManageSnapshots(transaction).create_branch(snapshot.snapshot_id, INCOMING).commit()
    transaction.set_properties(_mirrored(INCOMING, held_by(table, snapshot)))
    transaction.commit_transaction()


def set_main(table: Table, snapshot: Snapshot) -> None:
    """Let readers of ``main`` see a snapshot.

    Raises:
        CommitFailedException: somebody else moved it meanwhile; nothing was changed.
    """
    transaction = table.transaction()
    ManageSnapshots(transaction).set_current_snapshot(snapshot_id=snapshot.snapshot_id)
    transaction.set_properties(_mirrored(MAIN, held_by(table, snapshot)))
    transaction.commit_transaction()


def _mirrored(branch: str, held: Held) -> dict[str, str]:
    return mirror(branch, held.files.values(), held.taken)
