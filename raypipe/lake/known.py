"""The ids of a table's rows, hashed and kept while one process takes in batch after batch."""

from collections.abc import Sequence

import polars as pl
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from raypipe.lake import storage
from raypipe.lake.state import data_files


class KnownIds:
    """Which ids a table may hold already: eight bytes a row, read anew when somebody else moved the table.

    Args:
        id: the columns that identify a row.
    """

    def __init__(self, id: Sequence[str]) -> None:
        self._key = pl.struct(id).hash().alias("h")
        self._whole = pl.all_horizontal(pl.col(*id).is_not_null())
        self._at: int | None = None
        self._hashes = self._new = pl.Series("h", dtype=pl.UInt64)

    def may_repeat(self, table: Table, snapshot: Snapshot, paths: Sequence[str]) -> bool:
        """True when a row of new files may be there already, in the table or earlier in them; False is certain."""
        if self._at != snapshot.snapshot_id:
            self._hashes = self._read([file.file_path for file in data_files(table, snapshot)])["h"].sort()
            self._at = snapshot.snapshot_id
        rows = self._read(paths)
        self._new = new = rows["h"]
        if not rows["whole"].all():
            return True  # a gap in an id: whole rows are to be compared
        if new.n_unique() < new.len():
            return True
        places = self._hashes.search_sorted(new)
        inside = places < self._hashes.len()
        near = self._hashes.gather(places.filter(inside)) if inside.any() else self._hashes.head(0)
        return bool((near == new.filter(inside)).any())

    def landed(self, snapshot_id: int) -> None:
        """Told that the files asked about last came in, all of their rows new, as a snapshot on top."""
        self._hashes = pl.concat([self._hashes, self._new]).sort()
        self._at = snapshot_id

    def _read(self, paths: Sequence[str]) -> pl.DataFrame:
        if not paths:
            return pl.DataFrame(schema={"h": pl.UInt64, "whole": pl.Boolean})
        return storage.scan(paths).select(self._key, self._whole.alias("whole")).collect(engine="streaming")
