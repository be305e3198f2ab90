"""What readers see of a lake: exact snapshots, whole or in columns, as frames, datasets or files."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import polars as pl

from raypipe.contracts.changes import Changes
from raypipe.contracts.logs import LogKind
from raypipe.contracts.records import Snapshot
from raypipe.lake import storage
from raypipe.lake.batches import Batches
from raypipe.lake.catalog import load_table
from raypipe.lake.columns import arrow_type, given_back
from raypipe.lake.home import Home, as_record
from raypipe.lake.log import LogTable
from raypipe.lake.portions import Portion, portions
from raypipe.lake.state import candidate, changes, data_files, held_by, main_of, rows_of
from raypipe.spec import Source

if TYPE_CHECKING:
    import ray.data


class Reading(Home):
    """The part of a lake that reads."""

    def published(self, source: Source) -> Snapshot | None:
        """What readers of ``main`` see of a source; None when no gate has passed anything yet."""
        with self._workspace_errors():
            table = load_table(self._catalog, source.name)
        if table is None or not (held := held_by(table, main_of(table)).standing).reading:
            return None
        return as_record(source, held)

    def landed(self, source: Source) -> int | None:
        """The snapshot of what has come of a source and waits for its gate; None: nothing does."""
        with self._workspace_errors():
            table = load_table(self._catalog, source.name)
        if table is None:
            return None
        waiting, main = candidate(table).snapshot_id, main_of(table).snapshot_id
        return None if waiting == main else waiting

    def frame(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """Exactly the rows of a snapshot, in the order in which they came; only the columns asked for are read.

        Types are those of ``spec.shape.in_lake``.

        Raises:
            SourceError: the lake does not have it.
        """
        rows = rows_of(*self._find(snapshot))
        return rows if columns is None else rows.select(columns)

    def changes(self, old: Snapshot, new: Snapshot) -> Changes | None:
        """What became of a table from one snapshot to a later one; None when the lake lacks the earlier by now.

        Raises:
            SourceError: the lake does not have the later one.
        """
        table, later = self._find(new)
        if (earlier := table.metadata.snapshot_by_id(old.snapshot_id)) is None:
            return None
        return changes(table, earlier, later)

    def dataset(self, snapshot: Snapshot, columns: Sequence[str] | None = None) -> "ray.data.Dataset":
        """The same rows as a Ray dataset, read by the cluster, in any order.

        Raises:
            SourceError: the lake does not have it.
        """
        import ray.data
        from ray.data.datatype import DataType
        from ray.data.expressions import col

        table, found = self._find(snapshot)
        paths = [file.file_path for file in data_files(table, found)]
        if not paths:
            return ray.data.from_arrow(self.frame(snapshot, columns).collect().to_arrow())
        rows = ray.data.read_parquet(paths, filesystem=storage.filesystem(paths[0]))
        for name, kind in held_by(table, found).widened.items():
            if columns is None or name in columns:
                rows = rows.with_column(name, col(name).cast(DataType.from_arrow(arrow_type(kind))))
        return rows if columns is None else rows.select_columns(list(columns))

    def portions(self, snapshot: Snapshot, by: str) -> list[Portion] | None:
        """The same rows in portions of keys, where the table is laid out by them; None where it is not.

        Raises:
            SourceError: the lake does not have it.
        """
        table, found = self._find(snapshot)
        return portions(table, data_files(table, found), by, given_back(held_by(table, found).widened))

    def blocks(self, snapshot: Snapshot, columns: Sequence[str], ask: Callable[[pl.DataFrame], bytes]) -> list[bytes]:
        """What a function says of each block of these rows, asked all over the cluster, in any order.

        Raises:
            SourceError: the lake does not have it.
        """
        import pyarrow as pa

        def said(block: pa.Table) -> pa.Table:
            return pa.table({"said": [ask(pl.DataFrame(pl.from_arrow(block)))]})

        said.__name__ = f"check_{snapshot.table}"  # what the dashboard calls it
        rows = self.dataset(snapshot, columns)
        answers = rows.map_batches(said, batch_format="pyarrow", batch_size=None, zero_copy_batch=True)
        return [row["said"] for row in answers.iter_rows()]

    def paths(self, snapshot: Snapshot) -> list[str]:
        """The Parquet files of a snapshot, in the order in which their rows came.

        Raises:
            SourceError: the lake does not have it.
        """
        return [file.file_path for file in data_files(*self._find(snapshot))]

    def log(self, kind: LogKind, pipeline: str) -> LogTable:
        """What was predicted by a pipeline, or told about it; see ``contracts.logs``."""
        return LogTable(lambda: self._catalog, self._workspace_errors, kind, pipeline)

    def batches(self, pipeline: str) -> Batches:
        """The table of what a pipeline's models said to batches of questions."""
        return Batches(lambda: self._catalog, self._workspace_errors, pipeline)
