"""Events in files by part while they are worked on: read once from where they lie, then as often as needed."""

import shutil
import weakref
from pathlib import Path
from tempfile import mkdtemp

import polars as pl

PART = "__part"
#: So many rows of a part are in one file at most. Who reads a file has all of it mapped, and a part may be read span by
#: span and be many times what a span holds.
ROWS_A_FILE = 1_000_000


class Cut:
    """Events in files by part; the files go when nobody holds this any more, also under a part that is read still.

    Args:
        found: events.
        scratch: where the files lie; None: where the system keeps such files.
        part: which part each belongs to; all are in part 0 unless it is said.

    >>> cut = Cut(pl.LazyFrame({"k0": [7, 8, 9]}), part=pl.col("k0") % 2)
    >>> cut.part(0).collect()["k0"].to_list(), cut.part(5).collect().height
    ([8], 0)
    """

    def __init__(self, found: pl.LazyFrame, scratch: Path | None = None, part: pl.Expr | None = None) -> None:
        folder = Path(mkdtemp(dir=scratch, prefix=".events-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._folder, self._nothing = folder, pl.LazyFrame(schema=found.collect_schema())
        files = pl.PartitionBy(folder, key=PART, include_key=False, max_rows_per_file=ROWS_A_FILE)
        found.with_columns((pl.lit(0) if part is None else part).alias(PART)).sink_ipc(files)

    def part(self, number: int = 0) -> pl.LazyFrame:
        """The events of one part, to be read."""
        # A part that no event fell into has no file.
        files = sorted(self._folder.glob(f"{PART}={number}/*.ipc"))
        return pl.scan_ipc(files) if files else self._nothing
