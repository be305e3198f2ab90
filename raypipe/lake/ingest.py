"""From a source's files to a snapshot on the branch ``incoming``, whatever is there already."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import polars as pl
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable

from raypipe.contracts.progress import Progress
from raypipe.errors import SourceError, WorkspaceError
from raypipe.lake import storage
from raypipe.lake.catalog import load_table, open_table
from raypipe.lake.columns import stored, widened
from raypipe.lake.commit import Change, evolve, land, restore_columns, set_incoming
from raypipe.lake.derive import looked_up, require_free_names
from raypipe.lake.files import FoundFile, find
from raypipe.lake.settle import settle
from raypipe.lake.stage import Task, stage
from raypipe.lake.state import INCOMING, Held, candidate, data_files, has_attempt, head, held_by, main_of, rows_of
from raypipe.spec import Lookup, Source, Stream, Table, fingerprint
from raypipe.spec.shape import in_lake

#: How often a commit that lost a race is looked at again before the run gives up.
ATTEMPTS = 5


@dataclass(frozen=True)
class Load:
    """What an ingestion has to do with.

    Attributes:
        source: the declaration.
        found: the files that are there, by digest, in order of their names.
        lookups: the key and the wanted columns of each looked-up table.
        reading: names everything that decides what rows a file gives.
        spread_bytes: from how much on reading is spread over the cluster.
    """

    source: Source
    found: Mapping[str, FoundFile]
    lookups: Mapping[str, pl.DataFrame]
    reading: str
    spread_bytes: int


def ingest(catalog: SqlCatalog, source: Source, progress: Progress, spread_bytes: int) -> Held:
    """Take in what a source's table does not hold yet; see ``Lake.ingest``."""
    require_free_names(source)
    columns = stored(source, in_lake(source))
    found = {file.digest: file for file in find(source.source)}
    lookups = {table.name: _lookup(catalog, table, names) for table, names in looked_up(source).items()}
    load = Load(source, found, lookups, _reading(source, lookups), spread_bytes)
    for _ in range(ATTEMPTS):
        table = open_table(catalog, source.name, columns)
        try:
            if (held := _there_already(table, load)) is not None:
                return held
            _take_in(table, load, progress)
        except CommitFailedException:
            continue  # somebody else moved the table: look again what is left to do
    what = f"other runs changed it {ATTEMPTS} times in a row"
    raise WorkspaceError(what, where=f"table {source.name}", cure="Run again when they are done")


def _there_already(table: IcebergTable, load: Load) -> Held | None:
    """What ``incoming`` is, or is let to be, if that is all that was asked for."""
    main = main_of(table)
    held = held_by(table, main)
    if held.reading == load.reading and load.found.keys() <= held.files.keys():
        if head(table, INCOMING) != main:  # rows that no gate has passed, of files that are gone or were changed
            set_incoming(table, main)
        return held.standing
    landed = candidate(table)
    incoming = held_by(table, landed)
    wanted = load.found.keys() | (set() if _is_anew(held, load) else held.files.keys())
    there = landed != main and incoming.reading == load.reading and incoming.files.keys() == wanted
    return incoming if there else None


def _take_in(table: IcebergTable, load: Load, progress: Progress) -> None:
    main = main_of(table)
    held, before = held_by(table, main), data_files(table, main)
    anew = _is_anew(held, load)
    if anew:
        _require_all(load, held)
    else:
        table = restore_columns(table)
    attempt = f"{table.metadata.next_sequence_number():08d}-{uuid.uuid4().hex[:8]}"
    folder = f"{table.location()}/data/{attempt}"
    storage.make_folder(folder)
    try:
        transaction = table.transaction()
        schema = evolve(transaction, stored(load.source, in_lake(load.source)))
        new = [(digest, file) for digest, file in load.found.items() if anew or digest not in held.files]
        tasks = [
            Task(file, digest, load.source, load.lookups, schema, folder, f"{place:07d}")
            for place, (digest, file) in enumerate(new)
        ]
        staged = stage(tasks, progress, load.spread_bytes)
        settled = settle(load.source, staged, [] if anew else [file.file_path for file in before], schema, folder)
        change = Change(
            attempt=attempt,
            files=[one.file for one in staged],
            paths=settled.paths,
            replaces=before if anew or settled.replaces else [],
            from_nothing=anew,
            reading=load.reading,
            added=settled.added,
            repeated=settled.repeated,
            widened=widened(in_lake(load.source)),
        )
        land(table, transaction, change)
    except BaseException as error:
        # An attempt that landed without our hearing of it is a success; only if it surely failed do its files go.
        if not has_attempt(table.refresh(), attempt):
            storage.remove_folder(folder)
        elif isinstance(error, Exception):
            return
        raise


def _is_anew(held: Held, load: Load) -> bool:
    """True when the rows that are there were read by another definition: all files are read again."""
    return held.reading not in ("", load.reading)


def _require_all(load: Load, held: Held) -> None:
    # A file that was written to since is there with what it now holds.
    there = load.found.keys() | {file.name for file in load.found.values()}
    if lost := [file.path for digest, file in held.files.items() if not {digest, file.path} & there]:
        what = f"was read by another definition; to read it again, {lost[0]} is needed, which the source leaves out"
        cure = "Give the source that file too, or give the table another name"
        raise SourceError(what, where=f"table {load.source.name} ({load.source.where})", cure=cure)


def _lookup(catalog: SqlCatalog, table: Table, names: Sequence[str]) -> pl.DataFrame:
    there = load_table(catalog, table.name)
    if there is None:
        raise SourceError("is not in the lake yet", where=f"table {table.name}", cure="Ingest it first")
    rows = rows_of(there, candidate(there)).select(list(dict.fromkeys((table.key, *names))))
    return rows.filter(pl.col(table.key).is_not_null()).collect()


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
    ordered = frame.select(sorted(frame.columns)).sort(pl.all(), nulls_last=True)
    return sha256(ordered.write_json().encode()).hexdigest()[:16]
