"""What a table holds: branch ``incoming`` what has landed, branch ``main`` what a gate has passed.

Snapshots tell it themselves: the summary of each names the source files that it added, so the files are the offsets,
committed with their rows. The newest list stands as a table property too, for the day when old snapshots are expired.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import msgspec
import polars as pl
from msgspec import structs
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from raypipe.contracts.changes import Changes
from raypipe.contracts.records import SourceFile, Taken
from raypipe.lake import storage
from raypipe.lake.columns import given_back
from raypipe.lake.shipped import Shape

MAIN, INCOMING = "main", "incoming"
#: Where a branch's list of files stands as a table property.
MIRROR = {MAIN: "raypipe.files.main", INCOMING: "raypipe.files.incoming"}
#: Where it stands how far a branch has come with its log.
TAKEN = {MAIN: "raypipe.taken.main", INCOMING: "raypipe.taken.incoming"}
#: Where the sets of quarantined rows stand that snapshots named which are expired.
SETS = "raypipe.sets"
#: Where a snapshot says what the columns looked like that it was read from.
SHAPE = "raypipe.shape"


@dataclass(frozen=True)
class Held:
    """What one snapshot holds.

    Attributes:
        snapshot_id: names the snapshot.
        reading: names the definition, and the content of the looked-up tables, that its rows were read with.
        files: the source files by digest.
        rows: how many there are in all.
        added: rows that came with the snapshot.
        repeated: rows that were read for it and already there.
        widened: columns that are kept wider than they are, with the type to give back.
        taken: how far it has come with its log of live events.
        shape: what its columns looked like as they were shipped.
        changed: what of that changed with the snapshot, in words.
        unnamed: files whose rows are there, and that whoever asked does not name.
        dropped: what was read anew and went unjudged, in words; empty: nothing did.
        differing: what of the repeated rows has other values than what was there, in words; empty: nothing has.
    """

    snapshot_id: int
    reading: str
    files: Mapping[str, SourceFile]
    rows: int
    added: int
    repeated: int
    widened: Mapping[str, str]
    taken: Taken
    shape: Shape
    changed: tuple[str, ...]
    differing: str = ""
    unnamed: tuple[str, ...] = ()
    dropped: str = ""

    @property
    def standing(self) -> "Held":
        """The same for a run that found it so and added nothing."""
        return replace(self, added=0, repeated=0, changed=(), differing="")

    @property
    def without_values(self) -> "Held":
        """The same without the values of rows that it kept to judge them later: some of them are to be forgotten."""
        return replace(self, shape=structs.replace(self.shape, few={}))


def head(table: Table, branch: str) -> Snapshot | None:
    """The snapshot that a branch points at."""
    return table.metadata.snapshot_by_name(branch)


def main_of(table: Table) -> Snapshot:
    """What a gate has passed; the empty snapshot at first."""
    snapshot = head(table, MAIN)
    assert snapshot is not None, f"{table.name()} was not made by this package"  # noqa: S101
    return snapshot


def candidate(table: Table) -> Snapshot:
    """What has landed on top of main; main itself when nothing has."""
    incoming, main = head(table, INCOMING), main_of(table)
    return incoming if incoming is not None and descends(table, incoming, main) else main


def made_anew(table: Table) -> Snapshot | None:
    """What was read anew by the same definition, and waits on top of main for its gate; None: nothing does."""
    main = main_of(table)
    for one in ancestors_of(candidate(table), table.metadata):
        if one.snapshot_id == main.snapshot_id:
            break
        if says(one).get("raypipe.from") == "nothing":
            return one if says(one).get("raypipe.reading") == held_by(table, main).reading else None
    return None


def descends(table: Table, snapshot: Snapshot, ancestor: Snapshot) -> bool:
    """True when ``ancestor`` is the snapshot, or was on its way."""
    return any(one.snapshot_id == ancestor.snapshot_id for one in ancestors_of(snapshot, table.metadata))


def held_by(table: Table, snapshot: Snapshot) -> Held:
    """What a snapshot holds, from its own summary and those of its ancestors."""
    files: dict[str, SourceFile] = {}
    own: Mapping[str, str] | None = None
    taken: str | None = None
    complete = False
    for one in ancestors_of(snapshot, table.metadata):
        said = says(one)
        own = said if own is None and "raypipe.reading" in said else own
        files = _by_digest(said.get("raypipe.files", "[]")) | files
        taken = said.get("raypipe.taken") if taken is None else taken
        if complete := said.get("raypipe.from") == "nothing":
            break
    if not complete:
        branch = MAIN if snapshot.snapshot_id == main_of(table).snapshot_id else INCOMING
        files = _by_digest(table.properties.get(MIRROR[branch], "[]")) | files
        taken = table.properties.get(TAKEN[branch]) if taken is None else taken
    own = own or {}
    return Held(
        snapshot_id=snapshot.snapshot_id,
        reading=own.get("raypipe.reading", ""),
        files=files,
        rows=int(says(snapshot).get("total-records", 0)),
        added=int(own.get("raypipe.added", 0)),
        repeated=int(own.get("raypipe.repeated", 0)),
        widened=msgspec.json.decode(own.get("raypipe.widened", "{}"), type=dict[str, str]),
        taken=Taken.from_json(taken) if taken else Taken(),
        shape=Shape.from_json(own.get(SHAPE, "{}")),
        changed=msgspec.json.decode(own.get("raypipe.changed", "[]"), type=tuple[str, ...]),
        differing=own.get("raypipe.differing", ""),
    )


def told_on(held: Held) -> dict[str, str]:
    """What a snapshot that reads nothing new says: the one before it may be expired, and this one not."""
    return {
        "raypipe.reading": held.reading,
        "raypipe.added": str(held.added),
        "raypipe.repeated": str(held.repeated),
        "raypipe.widened": msgspec.json.encode(dict(held.widened)).decode(),
        "raypipe.changed": msgspec.json.encode(held.changed).decode(),
        "raypipe.differing": held.differing,
        SHAPE: held.shape.to_json(),
    }


def mirror(branch: str, files: Iterable[SourceFile], taken: Taken) -> dict[str, str]:
    """What a branch holds, as table properties."""
    return {MIRROR[branch]: listed(files), TAKEN[branch]: taken.to_json()}


def has_attempt(table: Table, attempt: str) -> bool:
    """True when an attempt's commit is in the table, heard of or not."""
    return any(says(one).get("raypipe.attempt") == attempt for one in table.metadata.snapshots)


def data_files(table: Table, snapshot: Snapshot) -> list[DataFile]:
    """The Parquet files of a snapshot, in the order in which their rows came."""
    tasks = table.scan(snapshot_id=snapshot.snapshot_id).plan_files()
    return sorted((task.file for task in tasks), key=lambda file: file.file_path)


def rows_of(table: Table, snapshot: Snapshot) -> pl.LazyFrame:
    """Exactly the rows of a snapshot, in the order in which they came, with the types that they came with."""
    return _rows(table, snapshot, [file.file_path for file in data_files(table, snapshot)])


def changes(table: Table, old: Snapshot, new: Snapshot) -> Changes:
    """What became of a table from one snapshot to a later one, by its files."""
    before = [file.file_path for file in data_files(table, old)]
    after = [file.file_path for file in data_files(table, new)]
    lost, kept = set(before) - set(after), set(before) & set(after)
    return Changes(
        kept=_rows(table, new, [path for path in after if path in kept]),
        gained=_rows(table, new, [path for path in after if path not in kept]),
        lost=_rows(table, old, [path for path in before if path in lost]) if lost else None,
        anew=bool(before) and not kept,
    )


def _rows(table: Table, snapshot: Snapshot, paths: list[str]) -> pl.LazyFrame:
    rows = storage.scan(paths) if paths else _no_rows(table, snapshot)
    types = given_back(held_by(table, snapshot).widened)
    return rows.with_columns(pl.col(name).cast(kind) for name, kind in types.items()) if types else rows


def listed(files: Iterable[SourceFile]) -> str:
    """Files as they stand in summaries and properties."""
    return msgspec.json.encode(list(files)).decode()


def says(snapshot: Snapshot) -> Mapping[str, str]:
    """What a snapshot's summary says beyond its operation."""
    return snapshot.summary.additional_properties if snapshot.summary is not None else {}


def _no_rows(table: Table, snapshot: Snapshot) -> pl.LazyFrame:
    schema = next(one for one in table.metadata.schemas if one.schema_id == snapshot.schema_id)
    return pl.DataFrame(pl.from_arrow(schema_to_pyarrow(schema).empty_table())).lazy()


def _by_digest(text: str) -> dict[str, SourceFile]:
    return {file.digest: file for file in msgspec.json.decode(text, type=list[SourceFile])}
