"""Batches of predictions: one table a pipeline, one snapshot a batch, appended whole or not at all."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import pyarrow as pa
from filelock import FileLock, Timeout
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import NestedField

from raypipe.errors import SourceError, WorkspaceError
from raypipe.failpoints import failpoint
from raypipe.lake import storage
from raypipe.lake.catalog import PROPERTIES
from raypipe.lake.columns import iceberg_types
from raypipe.lake.commit import evolve
from raypipe.lake.state import says

NAMESPACE = "batches"
BATCH = "raypipe.batch"
ATTEMPTS = 5


class Batches:
    """The table ``batches.{pipeline}`` of a lake.

    Args:
        open_catalog: gives the catalog when it is needed.
        guard: turns the system's complaints into ours.
        pipeline: whose batches they are.
    """

    def __init__(
        self, open_catalog: Callable[[], SqlCatalog], guard: Callable[[], AbstractContextManager[None]], pipeline: str
    ) -> None:
        self._catalog, self._guard = open_catalog, guard
        self._pipeline, self.name = pipeline, f"{NAMESPACE}.{pipeline}"

    def snapshot(self, batch: str) -> int | None:
        """The snapshot that a batch is; None when it is not in the table."""
        with self._guard():
            table = self._find()
        found = [] if table is None else [s for s in table.snapshots() if says(s).get(BATCH) == batch]
        return found[0].snapshot_id if found else None

    @contextmanager
    def begun(self, batch: str, columns: Mapping[str, pl.DataType]) -> Iterator[tuple[Path, pa.Schema]]:
        """Where the files of a batch are put until they are committed, and how they are to be written.

        What an earlier run of the same batch has put there is still there; what is left of others is removed.

        Raises:
            WorkspaceError: another batch of this pipeline is being worked on, or the lake cannot be used.
        """
        with self._guard():
            table = self._find() or self._make(columns)
            if storage.remote(table.location()):
                cure = "Score from a workspace whose warehouse is a folder"
                raise WorkspaceError("batches cannot be written to S3", where=f"table {self.name}", cure=cure)
            data = Path(urlsplit(table.location()).path) / "data"
            data.mkdir(parents=True, exist_ok=True)
            lock = FileLock(data / "batch.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            cure = "Wait until it is done"
            raise WorkspaceError("another batch is being worked on", where=f"table {self.name}", cure=cure) from None
        try:
            with self._guard():
                kept = {says(one).get(BATCH) for one in table.snapshots()} | {batch}
                for folder in data.iterdir():
                    if folder.is_dir() and folder.name not in kept:
                        shutil.rmtree(folder)
                folder = data / batch
                folder.mkdir(exist_ok=True)
                transaction = table.transaction()
                # Columns that only earlier batches have stay: what was said stays as it was said.
                earlier = {field.name: field.field_type for field in table.schema().fields}
                schema = evolve(transaction, earlier | iceberg_types(columns))
                transaction.commit_transaction()
            yield folder, schema
        finally:
            lock.release()

    def append(self, batch: str, paths: Sequence[str]) -> int:
        """Make the files of a batch one snapshot on top of the table. Doing it again changes nothing.

        Returns:
            The snapshot's id.

        Raises:
            WorkspaceError: the lake cannot be used.
        """
        for _ in range(ATTEMPTS):
            if (known := self.snapshot(batch)) is not None:
                return known
            with self._guard():
                table = self._find()
                if table is None:
                    raise SourceError("is not in the lake", where=f"table {self.name}")
                transaction = table.transaction()
                with transaction.update_snapshot(snapshot_properties={BATCH: batch}).fast_append() as producer:
                    for file in parquet_files_to_data_files(table.io, transaction.table_metadata, iter(paths)):
                        producer.append_data_file(file)
                failpoint("predict.before_commit")
                try:
                    transaction.commit_transaction()
                except CommitFailedException:
                    continue  # somebody else moved the table: look again
                failpoint("predict.after_commit")
        raise WorkspaceError(f"others changed it {ATTEMPTS} times in a row", where=f"table {self.name}")

    def frame(self, batch: str | None = None) -> pl.LazyFrame:
        """The rows of one batch, or of all.

        Raises:
            SourceError: there is no such batch.
        """
        with self._guard():
            table = self._find()
            if table is None or (batch is not None and self.snapshot(batch) is None):
                raise SourceError("is not in the lake", where=f"batch {batch} of {self._pipeline}")
            paths = sorted(task.file.file_path for task in table.scan().plan_files())
        rows = pl.scan_parquet(paths, glob=False, missing_columns="insert", extra_columns="ignore")
        return rows if batch is None else rows.filter(pl.col("batch") == batch)

    def _find(self) -> Table | None:
        try:
            return self._catalog().load_table(self.name)
        except NoSuchTableError:
            return None

    def _make(self, columns: Mapping[str, pl.DataType]) -> Table:
        catalog = self._catalog()
        catalog.create_namespace_if_not_exists(NAMESPACE)
        fields = [NestedField(i, name, kind) for i, (name, kind) in enumerate(iceberg_types(columns).items(), 1)]
        try:
            return catalog.create_table(self.name, Schema(*fields), properties=PROPERTIES)
        except (TableAlreadyExistsError, CommitFailedException):  # somebody else made it just now
            return catalog.load_table(self.name)
