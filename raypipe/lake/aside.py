"""Rows set aside: first into the table of quarantined rows, then out of the snapshot, each one atomic commit.

A snapshot that lost rows names the set that they went to. Only sets that a snapshot behind ``main`` names count, so a
run that was killed between the two commits leaves nothing that counts, and the same run again finds its set there.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import accumulate
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update.snapshot import ManageSnapshots
from pyiceberg.types import BinaryType, LongType, NestedField, StringType, TimestamptzType

from raypipe.contracts.faulty import Faulty
from raypipe.failpoints import failpoint
from raypipe.lake import storage
from raypipe.lake.catalog import PROPERTIES
from raypipe.lake.commit import commit_files
from raypipe.lake.state import INCOMING, SETS, data_files, head, held_by, main_of, mirror, rows_of, says, told_on

#: A namespace apart from the sources, so that any of them may have the name.
NAMESPACE, NAME = "raypipe", "quarantine"
COLUMNS = {
    "set": StringType(),
    "source": StringType(),
    "snapshot": LongType(),
    "check": StringType(),
    "reason": StringType(),
    "row": StringType(),
    "as_of": TimestamptzType(),
    "origin": StringType(),
    "offset": StringType(),
    "bytes": BinaryType(),
}
SET = "raypipe.set_aside"


def keep_rows(catalog: SqlCatalog, table: Table, snapshot: Snapshot, faulty: Faulty, as_of: int) -> None:
    """Write faulty rows into the quarantine, unless this very set of them is there.

    Raises:
        CommitFailedException: somebody else wrote to it meanwhile; nothing was changed.
    """
    rows = rows_of(table, snapshot).with_row_index("__row").join(_places(faulty), on="__row", how="semi")
    texts = rows.sort("__row").drop("__row").collect().write_ndjson().rstrip("\n").split("\n")
    frame = faulty.rows.select(
        pl.lit(faulty.name).alias("set"),
        pl.lit(faulty.snapshot.table).alias("source"),
        pl.lit(snapshot.snapshot_id, pl.Int64).alias("snapshot"),
        "check",
        "reason",
        pl.Series("row", texts, pl.String),
        pl.lit(as_of, pl.Int64).cast(pl.Datetime("us", "UTC")).alias("as_of"),
        pl.lit(None, pl.String).alias("origin"),
        pl.lit(None, pl.String).alias("offset"),
        pl.lit(None, pl.Binary).alias("bytes"),
    )
    append_rows(catalog, faulty.name, frame)


def append_rows(catalog: SqlCatalog, name: str, rows: pl.DataFrame) -> None:
    """Write one set of rows, with the table's columns, unless this very set is there.

    Raises:
        CommitFailedException: somebody else wrote to it meanwhile; nothing was changed.
    """
    kept = _open(catalog)
    if not kept.scan(row_filter=f"set = '{name}'", selected_fields=("set",), limit=1).to_arrow().num_rows:
        kept.append(rows.select(list(COLUMNS)).to_arrow())


def drop_faulty(table: Table, snapshot: Snapshot, faulty: Faulty) -> None:
    """Let ``incoming`` be a snapshot without its faulty rows.

    Raises:
        CommitFailedException: somebody else moved the table meanwhile; nothing was changed.
    """
    transaction = table.transaction()
    current = head(table, INCOMING)
    if current is None or current.snapshot_id != snapshot.snapshot_id:
        ManageSnapshots(transaction).create_branch(snapshot.snapshot_id, INCOMING).commit()
    with _rewritten(table, snapshot, faulty) as (gone, written):
        held = held_by(table, snapshot)
        transaction.set_properties(mirror(INCOMING, held.files.values(), held.taken))
        # It says nothing of files read: those of the snapshot before it hold on.
        commit_files(table, transaction, told_on(held) | {SET: faulty.name}, gone, written)
        failpoint("quarantine.before_commit")
        transaction.commit_transaction()
    failpoint("quarantine.after_commit")


def without(table: Table, faulty: Faulty) -> Snapshot | None:
    """The snapshot that lost exactly these rows, if it is on top of the table."""
    for snapshot in (head(table, INCOMING), main_of(table)):
        if snapshot is not None and says(snapshot).get(SET) == faulty.name:
            return snapshot
    return None


def set_aside_rows(catalog: SqlCatalog, table: Table) -> pl.LazyFrame:
    """The quarantined rows of a table as its ``main`` is now."""
    sets = []
    for one in ancestors_of(main_of(table), table.metadata):
        sets.append(says(one).get(SET, ""))
        if says(one).get("raypipe.from") == "nothing":
            break  # all files were read anew since what lies before
    else:
        sets += table.properties.get(SETS, "").split()
    kept = _open(catalog)
    current = kept.current_snapshot()
    rows = _empty() if current is None else rows_of(kept, current)
    return rows.filter(pl.col("set").is_in(sets))


def erase_quarantined(catalog: SqlCatalog, source: str, wanted: pl.Series, value: str) -> int:
    """Remove quarantined rows and records of a source that hold a value; returns how many there were.

    A record that is no row goes when the value stands anywhere in it, or when it cannot be looked into: a whole file,
    or what is no text.

    Args:
        catalog: the lake's.
        source: its name.
        wanted: the value, as the column of its name holds it.
        value: as it was given.

    Raises:
        CommitFailedException: somebody else wrote to it meanwhile; doing it again goes on.
    """
    kept = _open(catalog)
    if (current := kept.current_snapshot()) is None:
        return 0
    rows = rows_of(kept, current).collect()
    written = msgspec.json.decode(wanted.to_frame().write_ndjson())[wanted.name]
    word = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)")
    held = [
        one["source"] == source
        and (_holds(one["row"], wanted.name, written) if one["origin"] is None else _mentions(one, word))
        for one in rows.select("source", "row", "origin", "offset", "bytes").iter_rows(named=True)
    ]
    gone = pl.Series(held, dtype=pl.Boolean)
    if gone.any():
        kept.overwrite(rows.filter(~gone).select(list(COLUMNS)).to_arrow())
    return int(gone.sum())


def quarantine_table(catalog: SqlCatalog) -> Table:
    """The table of all quarantined rows."""
    return _open(catalog)


def _holds(row: str, column: str, written: object) -> bool:
    found: object = msgspec.json.decode(row).get(column)
    return written is not None and found == written


def _mentions(record: Mapping[str, Any], word: re.Pattern[str]) -> bool:
    if not record["offset"]:
        return True
    try:
        text = record["bytes"].decode()
    except UnicodeDecodeError:
        return True
    with suppress(msgspec.MsgspecError):  # texts of JSON may be written in escapes
        text += msgspec.json.encode(msgspec.json.decode(text)).decode()
    return word.search(text) is not None


def _open(catalog: SqlCatalog) -> Table:
    try:
        table = catalog.load_table(f"{NAMESPACE}.{NAME}")
        if added := COLUMNS.keys() - set(table.schema().column_names):  # it was made by an earlier version
            with table.update_schema() as update:
                for name, kind in COLUMNS.items():
                    if name in added:
                        update.add_column(name, kind)
        return table
    except NoSuchTableError:
        catalog.create_namespace_if_not_exists(NAMESPACE)
    fields = [NestedField(place, name, kind) for place, (name, kind) in enumerate(COLUMNS.items(), 1)]
    try:
        return catalog.create_table(f"{NAMESPACE}.{NAME}", Schema(*fields), properties=PROPERTIES)
    except (TableAlreadyExistsError, CommitFailedException):  # somebody else made it just now
        return catalog.load_table(f"{NAMESPACE}.{NAME}")


def _empty() -> pl.LazyFrame:
    types = dict.fromkeys(COLUMNS, pl.String()) | {
        "snapshot": pl.Int64(),
        "as_of": pl.Datetime("us", "UTC"),
        "bytes": pl.Binary(),
    }
    return pl.LazyFrame(schema=types)


def _places(faulty: Faulty) -> pl.LazyFrame:
    return faulty.rows.lazy().select(pl.col("row").cast(pl.get_index_type()).alias("__row"))


@contextmanager
def _rewritten(table: Table, snapshot: Snapshot, faulty: Faulty) -> Iterator[tuple[list[DataFile], list[str]]]:
    """The files that lose rows, and new ones in their place, which go again if the commit fails."""
    gone, written = [], []
    files, bad = data_files(table, snapshot), faulty.rows["row"].cast(pl.Int64)
    starts = accumulate((file.record_count for file in files), initial=0)
    try:
        for file, start in zip(files, starts, strict=False):
            here = bad.filter((bad >= start) & (bad < start + file.record_count)) - start
            if here.len():
                gone.append(file)
            if 0 < here.len() < file.record_count:
                written.append(_without(file.file_path, here))
        yield gone, written
    except CommitFailedException:
        for path in written:
            storage.remove(path)
        raise


def _without(path: str, rows: pl.Series) -> str:
    # The name sorts where the file was: names tell the order in which rows came.
    written = f"{path.removesuffix('.parquet')}-{uuid.uuid4().hex[:8]}.parquet"
    whole = storage.read_arrow(path)
    good = ~pl.int_range(whole.num_rows, eager=True).is_in(rows.implode())
    storage.write(whole.filter(pa.array(good.to_list(), pa.bool_())), written)
    return written
