"""From a source's files to a snapshot on the branch ``incoming``, whatever is there already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import polars as pl
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

from raypipe.clock import to_second
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Taken
from raypipe.errors import SourceError, WorkspaceError
from raypipe.failpoints import failpoint
from raypipe.lake import storage
from raypipe.lake.aside import SET
from raypipe.lake.attempt import attempt
from raypipe.lake.catalog import load_table, open_table
from raypipe.lake.columns import stored, widened
from raypipe.lake.commit import Change, evolve, land, restore_columns, set_incoming
from raypipe.lake.derive import looked_up, require_free_names
from raypipe.lake.elsewhere import Connections, find_table, is_elsewhere
from raypipe.lake.files import FoundFile, find, named
from raypipe.lake.poison import keep_bad
from raypipe.lake.salvage import require_share
from raypipe.lake.settle import settle
from raypipe.lake.shipped import Shape, after
from raypipe.lake.stage import Staged, Task, stage
from raypipe.lake.state import (
    INCOMING,
    Held,
    candidate,
    data_files,
    descends,
    head,
    held_by,
    made_anew,
    main_of,
    rows_of,
)
from raypipe.spec import Lookup, Source, Stream, Table, fingerprint
from raypipe.spec.shape import in_lake

#: How often a commit that lost a race is looked at again before the run gives up.
ATTEMPTS = 5
#: An event that lies farther ahead of its arrival (microseconds) tells nothing of how far time has come.
AHEAD = 3_600_000_000


@dataclass(frozen=True)
class Load:
    """What an ingestion has to do with.

    Attributes:
        source: the declaration.
        found: the files that are there, by digest, in order of their names.
        lookups: the key and the wanted columns of each looked-up table.
        reading: names everything that decides what rows a file gives.
        spread_bytes: from how much on reading is spread over the cluster.
        anew: rows of files that are not there any more go.
    """

    source: Source
    found: Mapping[str, FoundFile]
    lookups: Mapping[str, pl.DataFrame]
    reading: str
    spread_bytes: int
    anew: bool = False


def ingest(
    catalog: SqlCatalog,
    source: Source,
    progress: Progress,
    spread_bytes: int,
    connections: Connections | None = None,
    *,
    anew: bool = False,
) -> Held:
    """Take in what a source's table does not hold yet; see ``Lake.ingest``."""
    require_free_names(source)
    columns = stored(source, in_lake(source))
    found = {file.digest: file for file in _found(source, connections or {})}
    lookups = lookups_of(catalog, source)
    load = Load(source, found, lookups, reading_of(source, lookups), spread_bytes, anew)
    waited: IcebergSnapshot | None = None
    for _ in range(ATTEMPTS):
        table = open_table(catalog, source.name, columns)
        waited = waited or made_anew(table)
        try:
            if (held := _there_already(table, load)) is not None:
                return replace(held, unnamed=_unnamed(held, load), dropped=_dropped(table, load, waited))
            _take_in(catalog, table, load, progress)
        except CommitFailedException:
            continue  # somebody else moved the table: look again what is left to do
    what = f"other runs changed it {ATTEMPTS} times in a row"
    raise WorkspaceError(what, where=f"table {source.name}", cure="Run again when they are done")


def _unnamed(held: Held, load: Load) -> tuple[str, ...]:
    """Files whose rows are there, and that the source neither finds nor would find by their name."""
    files = load.source.source
    if files is not None and is_elsewhere(files):
        return ()
    # A file whose rows had all been there has none; one may have come with other bytes each time.
    gone = [f.path for digest, f in held.files.items() if digest not in load.found and f.rows > f.again]
    return tuple(path for path in dict.fromkeys(gone) if files is None or not named(files, path))


def _dropped(table: IcebergTable, load: Load, waited: IcebergSnapshot | None) -> str:
    """What is to be said of rows that were read anew, and waited for their gate until this ingestion."""
    if waited is None or load.anew or descends(table, candidate(table), waited):
        return ""
    at = to_second(waited.timestamp_ms * 1_000)
    return f"{load.source.name}: the rows read with `--anew` at {at} were not published, and are dropped"


def _found(source: Source, connections: Connections) -> Sequence[FoundFile]:
    if source.source is None:
        return ()
    if is_elsewhere(source.source):
        return (find_table(source.source, connections),)
    return find(source.source)


def lookups_of(catalog: SqlCatalog, source: Source) -> dict[str, pl.DataFrame]:
    """By name, the key and the wanted columns of each table that a source looks things up in."""
    return {table.name: _lookup(catalog, table, names) for table, names in looked_up(source).items()}


def _there_already(table: IcebergTable, load: Load) -> Held | None:
    """What ``incoming`` is, or is let to be, if that is all that was asked for."""
    main = main_of(table)
    held = held_by(table, main)
    landed = candidate(table)
    incoming, asked = held_by(table, landed), load.found.keys()
    if landed != main and incoming.reading == load.reading and incoming.files.keys() == asked < held.files.keys():
        return incoming  # made anew without files that are gone, and not judged yet
    if held.reading == load.reading and asked <= held.files.keys() and (not load.anew or asked == held.files.keys()):
        alike = (incoming.reading, incoming.files.keys()) == (held.reading, held.files.keys())
        if alike and incoming.taken != held.taken:
            return incoming.standing  # main, and live rows on top of it
        if head(table, INCOMING) != main:  # rows that no gate has passed, of files that are gone or were changed
            set_incoming(table, main)
        return held.standing
    wanted = asked | (set() if _is_anew(held, load) else held.files.keys())
    there = landed != main and incoming.reading == load.reading and incoming.files.keys() == wanted
    return incoming if there else None


def _take_in(catalog: SqlCatalog, table: IcebergTable, load: Load, progress: Progress) -> None:
    main = main_of(table)
    held, before = held_by(table, main), data_files(table, main)
    anew = _is_anew(held, load)
    if anew and not load.anew:
        _require_all(load, held)
    elif not anew:
        table = restore_columns(table)
    with attempt(table) as folder:
        transaction = table.transaction()
        schema = evolve(transaction, stored(load.source, in_lake(load.source)))
        new = [(digest, file) for digest, file in load.found.items() if anew or digest not in held.files]
        newest = None if anew else _newest(load, [file.file_path for file in before])
        tasks = [
            Task(file, digest, load.source, load.lookups, schema, folder, f"{place:07d}", newest)
            for place, (digest, file) in enumerate(new)
        ]
        staged = stage(tasks, progress, load.spread_bytes)
        bad = _set_aside(catalog, load, staged)
        shape, changed = _shape(load.source, Shape() if anew else held.shape, staged)
        settled = settle(load.source, staged, [] if anew else [file.file_path for file in before], schema, folder)
        change = Change(
            attempt=folder.rpartition("/")[2],
            files=settled.files,
            paths=settled.paths,
            replaces=before if anew or settled.replaces else [],
            from_nothing=anew,
            reading=load.reading,
            added=settled.added,
            repeated=settled.repeated,
            differing=settled.differing,
            widened=widened(in_lake(load.source)),
            shape=shape,
            changed=changed,
            taken=Taken(first=held.taken.first) if anew else None,
            more={SET: bad} if bad else {},
        )
        land(table, transaction, change)


def _set_aside(catalog: SqlCatalog, load: Load, staged: Sequence[Staged]) -> str:
    """Keep what of the files is no row, if that is not too much; returns the name of the set, empty when there is none.

    Raises:
        SourceError: more of it is bad than may be; nothing was kept.
    """
    require_share(load.source, staged, sum(file.size for file in load.found.values()))
    bad = [one for file in staged for one in file.bad]
    if not bad:
        return ""
    digests = "\0".join(one.file.digest for one in staged if one.bad)
    name = sha256(f"{load.source.name}\0{load.reading}\0{digests}".encode()).hexdigest()[:32]
    keep_bad(catalog, load.source.name, name, bad)
    failpoint("ingest.after_bad")
    return name


def _shape(source: Source, shape: Shape, staged: Sequence[Staged]) -> tuple[Shape, list[str]]:
    """What columns look like with these files, and what each of them changed."""
    changed: list[str] = []
    for one in staged:
        shape, found = after(source, shape, one.shape, one.file.path)
        changed += [f"{one.file.path}: {what}" for what in found]
    return shape, changed


def _newest(load: Load, before: Sequence[str]) -> int | None:
    """The newest event time of the table, for a stream that says when a row is late; none from ahead of its file."""
    source = load.source
    if not isinstance(source, Stream) or source.late_by is None or not before or not load.found:
        return None
    ahead = max(file.changed for file in load.found.values()) // 1_000 + AHEAD
    times = storage.scan(before).select(pl.col("event_time").dt.epoch("us"))
    found: int | None = times.filter(pl.col("event_time") <= ahead).max().collect().item()
    return found


def _is_anew(held: Held, load: Load) -> bool:
    """True when all files are read again: rows that are there were read by another definition, or are to go."""
    gone = load.anew and not held.files.keys() <= load.found.keys()
    return gone or held.reading not in ("", load.reading)


def _require_all(load: Load, held: Held) -> None:
    # A file that was written to since is there with what it now holds.
    there = load.found.keys() | {file.name for file in load.found.values()}
    if lost := [file.path for digest, file in held.files.items() if not {digest, file.path} & there]:
        what = f"was read by another definition; to read it again, {lost[0]} is needed, which the source leaves out"
        cure = (
            "Give the source that file too, leave its rows out with `raypipe ingest FILE --anew`, or rename the table"
        )
        raise SourceError(what, where=f"table {load.source.name} ({load.source.where})", cure=cure)


def _lookup(catalog: SqlCatalog, table: Table, names: Sequence[str]) -> pl.DataFrame:
    there = load_table(catalog, table.name)
    if there is None:
        raise SourceError("is not in the lake yet", where=f"table {table.name}", cure="Ingest it first")
    rows = rows_of(there, candidate(there)).select(list(dict.fromkeys((table.key, *names))))
    return rows.filter(pl.col(table.key).is_not_null()).collect()


def reading_of(source: Source, lookups: Mapping[str, pl.DataFrame]) -> str:
    """Names everything that decides what rows a file gives: not the gate, not where the file is."""
    ways = tuple(
        (name, (way.table.name, way.column, way.by) if isinstance(way, Lookup) else way)
        for name, way in source.derive.items()
    )
    rest: tuple[object, ...]
    rest = (source.id, source.time, source.reveals, source.delay) if isinstance(source, Stream) else (source.key,)
    rest += (source.late_by,) if isinstance(source, Stream) and source.late_by is not None else ()
    files = () if source.source is None else (source.source.format, source.source.nulls)
    content = tuple((name, _digest(frame)) for name, frame in sorted(lookups.items()))
    return fingerprint((*files, source.columns, ways, rest, content))


def _digest(frame: pl.DataFrame) -> str:
    ordered = frame.select(sorted(frame.columns)).sort(pl.all(), nulls_last=True)
    return sha256(ordered.write_json().encode()).hexdigest()[:16]
