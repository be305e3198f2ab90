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
        self._hashes = pl.Series("h", dtype=pl.UInt64)

    def may_repeat(self, table: Table, snapshot: Snapshot, rows: pl.DataFrame) -> bool:
        """True when a row may be there already, in the table or earlier in the batch; False is certain."""
        if self._at != snapshot.snapshot_id:
            paths = [file.file_path for file in data_files(table, snapshot)]
            there = storage.scan(paths).select(self._key).collect(engine="streaming") if paths else None
            self._hashes = pl.Series("h", dtype=pl.UInt64) if there is None else there["h"].sort()
            self._at = snapshot.snapshot_id
        if not rows.select(self._whole.all()).item():
            return True  # a gap in an id: whole rows are to be compared
        new = rows.select(self._key).to_series()
        if new.n_unique() < new.len():
            return True
        places = self._hashes.search_sorted(new)
        inside = places < self._hashes.len()
        near = self._hashes.gather(places.filter(inside)) if inside.any() else self._hashes.head(0)
        return bool((near == new.filter(inside)).any())

    def landed(self, snapshot_id: int, rows: pl.DataFrame) -> None:
        """Told that rows came in, all of them new, as a snapshot on top of the one looked at last."""
        self._hashes = pl.concat([self._hashes, rows.select(self._key).to_series()]).sort()
        self._at = snapshot_id
