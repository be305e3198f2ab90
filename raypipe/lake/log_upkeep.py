"""Tables of logs kept small: many files become few, rows that are old enough go, and then files that nobody names.

A file is written anew once the commit that brought it is forgotten. Whoever follows a log and knows a later commit has
read it, so that he neither reads rows again nor misses any. What was replaced stays for those who are still reading it.
"""

from collections.abc import Iterator, Sequence
from uuid import uuid4

import polars as pl
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import parquet_files_to_data_files, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from raypipe.failpoints import failpoint
from raypipe.lake import storage
from raypipe.lake.stage import PartWriter
from raypipe.lake.state import says
from raypipe.lake.upkeep import Kept, remove_orphans

#: Stands in the summary of a snapshot that has other files and no other rows.
COMPACTED = "raypipe.compacted"
#: More files than this are worth writing anew; one of so many rows is not, and no more rows are in memory at once.
FEW_FILES, FULL_ROWS = 8, 2**17
#: A file that nobody names may still be on its way for so long, and be read by who looked before (microseconds).
DAY = 86_400_000_000
_TRIES = 10


def tidy(table: Table, now: int, since: int | None) -> Kept:
    """Do what there is to do; done again at once it finds nothing.

    Args:
        table: of a log, whose old snapshots are forgotten.
        now: microseconds UTC.
        since: rows from before this moment go, with up to a day of others from before it; None: all stay.
    """
    rows = files = 0
    # What is old is not put into one file with what is new: readers of a period would open it for either.
    for few in (_old(table, since), _small(table)):
        rows_before = sum(file.record_count for file in few)
        if few and (written := _written_anew(table, few, since)) is not None:
            rows, files = rows + rows_before - written[0], files + len(few) - written[1]
            table = table.refresh()
    return Kept(rows=rows, files=files, removed=remove_orphans(table, now - DAY))


def _old(table: Table, since: int | None) -> list[DataFile]:
    """Files with nothing but rows to be forgotten, or with some that are a day older than that."""
    if since is None:
        return []
    return [one for one in _settled(table) if _at(table, one)[1] < since or _at(table, one)[0] < since - DAY]


def _small(table: Table) -> list[DataFile]:
    """The newest files, as many as are worth it: the largest holds no more than half of their rows.

    So each time that a row is written anew its file at least doubles, until it is full: that is seldom.
    """
    files = _settled(table)
    rows = largest = 0
    first = len(files)
    for place in reversed(range(len(files))):
        if (mine := files[place].record_count) >= FULL_ROWS:
            break
        rows, largest = rows + mine, max(largest, mine)
        if 2 * largest <= rows:
            first = place
    return files[first:] if len(files) - first > FEW_FILES else []


def _settled(table: Table) -> list[DataFile]:
    """Files, by time, whose rows came with commits that are forgotten."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return []
    alive = {one.snapshot_id for one in table.metadata.snapshots if COMPACTED not in says(one)}
    entries = (one for manifest in snapshot.manifests(table.io) for one in manifest.fetch_manifest_entry(table.io))
    return sorted((one.data_file for one in entries if one.snapshot_id not in alive), key=lambda one: _at(table, one))


def _at(table: Table, file: DataFile) -> tuple[int, int]:
    """When the first and the last row of a file were logged, microseconds UTC."""
    column = table.schema().find_field("at").field_id
    # As Iceberg writes bounds of times.
    low, high = (int.from_bytes(of[column], "little", signed=True) for of in (file.lower_bounds, file.upper_bounds))
    return low, high


def _written_anew(table: Table, files: Sequence[DataFile], since: int | None) -> tuple[int, int] | None:
    """Put few files in the place of many; returns how many rows and files there are now. None: others were first."""
    schema = schema_to_pyarrow(table.schema())
    with PartWriter(f"{table.location()}/data", f"{uuid4().hex}-compacted", schema) as writer:
        types = dict(pl.DataFrame(pl.from_arrow(schema.empty_table())).schema)
        for some in _portions([one for one in files if since is None or _at(table, one)[1] >= since]):
            rows = storage.scan([one.file_path for one in some], types).sort("at", maintain_order=True)
            if since is not None:
                rows = rows.filter(pl.col("at").cast(pl.Int64) >= since)
            writer.write(rows.collect().to_arrow())
    failpoint("log.compact_after_files")
    if _take_place(table, files, writer.paths):
        return writer.rows, len(writer.paths)
    for path in writer.paths:
        storage.remove(path)
    return None


def _portions(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Files that follow each other, of so many rows together as are read at once."""
    some: list[DataFile] = []
    for file in files:
        if some and sum(one.record_count for one in some) + file.record_count > FULL_ROWS:
            yield some
            some = []
        some.append(file)
    if some:
        yield some


def _take_place(table: Table, files: Sequence[DataFile], paths: Sequence[str]) -> bool:
    """One commit; rows that others add meanwhile are no reason to give up, files that they replaced are."""
    gone = {file.file_path for file in files}
    for _ in range(_TRIES):
        if not gone <= {task.file.file_path for task in table.scan().plan_files()}:
            return False
        transaction = table.transaction()
        update = transaction.update_snapshot(snapshot_properties={COMPACTED: "true"})
        with update.overwrite() as producer:
            for file in files:
                producer.delete_data_file(file)
            for new in parquet_files_to_data_files(table.io, transaction.table_metadata, iter(paths)):
                producer.append_data_file(new)
        failpoint("log.compact_before_commit")
        try:
            transaction.commit_transaction()
        except CommitFailedException:
            table = table.refresh()
            continue
        failpoint("log.compact_after_commit")
        return True
    return False
