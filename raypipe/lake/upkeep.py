"""Tables kept small and clean: rows in few files, old snapshots gone, and what is to be forgotten gone for good.

Each step is one atomic commit or may be done again; files go only when no snapshot names them any more.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update.snapshot import ManageSnapshots

from raypipe.failpoints import failpoint
from raypipe.lake import stage, storage
from raypipe.lake.aside import SET
from raypipe.lake.commit import commit_files, restore_columns, set_incoming, set_main
from raypipe.lake.stage import PartWriter
from raypipe.lake.state import INCOMING, MAIN, SETS, data_files, head, held_by, listed, main_of, mirror, says, told_on

#: More files than this, of fewer rows than half a full one, are worth writing anew.
FEW_FILES = 8
SMALL_ROWS = 2**19
#: Of so many rows the key of one is looked at to cut a table into portions.
SAMPLED = 100
_PART = "__part"


@dataclass(frozen=True)
class Kept:
    """What upkeep did: rows that went, files that became fewer, snapshots and files that are gone."""

    rows: int = 0
    files: int = 0
    snapshots: int = 0
    removed: int = 0


def scattered(table: Table) -> bool:
    """True when ``main`` lies in many small files."""
    return sum(file.record_count < SMALL_ROWS for file in data_files(table, main_of(table))) > FEW_FILES


def rewrite(table: Table, drop: pl.Expr | None = None, by: str = "") -> int:
    """Write the rows of ``main`` anew, in few files, without some; returns how many went.

    A table of more than one full file is laid out by a column if one is named: each file holds all rows of its keys,
    and those of one key stay in the order in which they came.

    Rows that no gate has passed are let go: the next ingestion takes them in again.

    Args:
        table: is written anew.
        drop: true for each row that goes.
        by: the column; empty: rows stay in the order in which they came.

    Raises:
        CommitFailedException: somebody else moved the table meanwhile; nothing was changed.
    """
    main = main_of(table)
    table = restore_columns(table)
    before, held = data_files(table, main), held_by(table, main)
    folder = f"{table.location()}/data/{table.metadata.next_sequence_number():08d}-upkeep-{main.snapshot_id}"
    storage.remove_folder(folder)  # of one who was killed here
    storage.make_folder(folder)
    with PartWriter(folder, "rows", schema_to_pyarrow(table.schema())) as writer:
        by = by if held.rows > stage.ROWS_PER_FILE else ""
        for rows in _laid_out(before, by) if by else _as_they_came(before):
            writer.write((rows if drop is None else rows.filter(~drop.fill_null(value=False))).to_arrow())
    failpoint("upkeep.after_files")
    transaction = table.transaction()
    if by:  # without this, Iceberg keeps only how its texts begin
        transaction.set_properties({f"write.metadata.metrics.column.{by}": "full"})
    incoming = head(table, INCOMING)
    if incoming is None or incoming.snapshot_id != main.snapshot_id:
        ManageSnapshots(transaction).create_branch(main.snapshot_id, INCOMING).commit()
    # It tells all by itself: the snapshots before it will be gone.
    told = {
        **told_on(held.standing if drop is None else held.standing.without_values),
        "raypipe.files": listed(held.files.values()),
        "raypipe.taken": held.taken.to_json(),
    }
    commit_files(table, transaction, told, before, writer.paths)
    transaction.set_properties(mirror(INCOMING, held.files.values(), held.taken))
    failpoint("upkeep.before_commit")
    transaction.commit_transaction()
    table = table.refresh()
    made = head(table, INCOMING)
    assert made is not None  # noqa: S101  # it was committed just now
    failpoint("upkeep.before_publish")
    set_main(table, made)
    return held.rows - writer.rows


def _as_they_came(files: Sequence[DataFile]) -> Iterator[pl.DataFrame]:
    return (storage.read([file.file_path]) for file in files)


def _laid_out(files: Sequence[DataFile], by: str) -> Iterator[pl.DataFrame]:
    """The rows in portions of about a full file, no key in two of them; the table is read once, a block at a time."""
    rows = storage.scan([file.file_path for file in files])
    sample = rows.select(pl.col(by).gather_every(SAMPLED)).collect(engine="streaming").to_series().drop_nulls().sort()
    many = -(-sum(file.record_count for file in files) // stage.ROWS_PER_FILE)
    ends = sample.gather([len(sample) * i // many for i in range(1, many)]).unique().sort()
    part = pl.col(by).map_batches(
        lambda keys: ends.search_sorted(keys, side="left").fill_null(0).cast(pl.Int64),
        return_dtype=pl.Int64(),
        is_elementwise=True,
    )
    with TemporaryDirectory(prefix="raypipe-layout-") as folder:
        rows.with_columns(part.alias(_PART)).sink_ipc(pl.PartitionBy(folder, key=_PART, include_key=False))
        for i in range(len(ends) + 1):
            found = sorted(Path(folder).glob(f"{_PART}={i}/*.ipc"))
            if found:
                yield pl.scan_ipc(found).collect().sort(by, maintain_order=True)


def expire(table: Table, older_than: int | None = None) -> Kept:
    """Forget snapshots but those that branches point at, and remove every file that only they named.

    Args:
        table: whose snapshots go.
        older_than: only those made before, microseconds UTC; None: all.
    """
    heads = {one.snapshot_id for branch in (MAIN, INCOMING) if (one := head(table, branch)) is not None}
    gone = [
        one
        for one in table.metadata.snapshots
        if one.snapshot_id not in heads and (older_than is None or one.timestamp_ms * 1_000 < older_than)
    ]
    if not gone:
        return Kept()
    held = held_by(table, main_of(table))
    left = [one for one in table.metadata.snapshots if one not in gone]
    dead = _files(table, gone) - _files(table, left)
    with table.transaction() as transaction:
        # What only they tell is kept as properties.
        transaction.set_properties(mirror(MAIN, held.files.values(), held.taken) | {SETS: _sets(table)})
    failpoint("upkeep.before_expiry")
    table.refresh().maintenance.expire_snapshots().by_ids([one.snapshot_id for one in gone]).commit()
    failpoint("upkeep.after_expiry")
    for path in sorted(dead):
        storage.remove(path)
    return Kept(snapshots=len(gone), removed=len(dead))


def erase_rows(table: Table, drop: pl.Expr) -> int:
    """Remove rows from ``main``, from every snapshot before it, and from the files; returns how many there were.

    Files that a killed run has left go, too, if they hold such rows or cannot be read.

    Raises:
        CommitFailedException: somebody else moved the table meanwhile; doing it again goes on.
    """
    paths = [file.file_path for file in data_files(table, main_of(table))]
    many = storage.scan(paths).filter(drop.fill_null(value=False)).select(pl.len()).collect().item() if paths else 0
    left = [path for path in _orphans(table) if _may_hold(path, drop)]
    if many or left:  # whoever is just writing such a file must begin anew: its commit comes too late now
        rewrite(table, drop)
    table = table.refresh()
    if head(table, INCOMING) != main_of(table):  # what no gate has passed may hold such rows too
        set_incoming(table, main_of(table))
    expire(table.refresh())
    for path in left:
        storage.remove(path)
    return int(many)


def forget_metadata(table: Table) -> None:
    """Remove the files that described the table before: what they say of its snapshots may name values of rows.

    Their numbers are below that of the one that counts, so nobody who is just committing needs them.
    """
    from pyarrow.fs import FileSelector

    folder, _, now = table.metadata_location.rpartition("/")
    for one in storage.filesystem(folder).get_file_info(FileSelector(storage.bare(folder))):
        number, _, rest = one.base_name.partition("-")
        if rest.endswith(".metadata.json") and number.isdigit() and int(number) < int(now.partition("-")[0]):
            storage.remove(storage.like(folder, one.path))


def _may_hold(path: str, drop: pl.Expr) -> bool:
    if not path.endswith(".parquet"):
        return False
    try:
        return not storage.scan([path]).filter(drop.fill_null(value=False)).head(1).collect().is_empty()
    except (pl.exceptions.PolarsError, OSError):
        return True  # it breaks off, and nobody knows before what


def remove_orphans(table: Table, older_than: int) -> int:
    """Remove files that nothing names any more, left by runs that were killed; returns how many.

    Args:
        table: whose folder is looked through.
        older_than: files that were written later (microseconds UTC) may still be on their way.
    """
    orphans = _orphans(table, older_than)
    for path in orphans:
        storage.remove(path)
    return len(orphans)


def _orphans(table: Table, older_than: float = inf) -> list[str]:
    """Files of rows and manifests that no snapshot names, and descriptions that the table does not go by any more."""
    from pyarrow.fs import FileSelector, FileType

    folder = table.location()
    described = {table.metadata_location, *(one.metadata_file for one in table.metadata.metadata_log)}
    known = {storage.bare(path) for path in _files(table, table.metadata.snapshots) | described}
    selected = FileSelector(storage.bare(folder), recursive=True, allow_not_found=True)
    return [
        storage.like(folder, one.path)
        for one in storage.filesystem(folder).get_file_info(selected)
        if one.type == FileType.File
        and one.path.endswith((".parquet", ".avro", ".metadata.json"))
        and one.path not in known
        and (one.mtime_ns or 0) // 1_000 < older_than
    ]


def _sets(table: Table) -> str:
    """The sets of quarantined rows that count for ``main``."""
    found = [table.properties.get(SETS, "")]
    for one in ancestors_of(main_of(table), table.metadata):
        found.append(says(one).get(SET, ""))
        if says(one).get("raypipe.from") == "nothing":
            found[0] = ""  # all was read anew since what lies before
            break
    return " ".join(sorted({name for text in found for name in text.split()}))


def _files(table: Table, snapshots: Iterable[Snapshot]) -> set[str]:
    """Every file that these snapshots need: rows, manifests and lists of manifests."""
    found: set[str] = set()
    for one in snapshots:
        found.add(one.manifest_list)
        for manifest in one.manifests(table.io):
            # Most are in the lists of many snapshots: each is opened once.
            if manifest.manifest_path not in found:
                found.add(manifest.manifest_path)
                found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return found
