"""Files become Parquet in the warehouse, in blocks: read, derive, write. Nothing refers to them until a commit does."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event, Lock

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import structs

from raypipe.contracts.progress import Progress, Step
from raypipe.contracts.records import Record, SourceFile
from raypipe.errors import SourceError
from raypipe.failpoints import failpoint
from raypipe.lake import storage
from raypipe.lake.declared import files_of, require_columns
from raypipe.lake.derive import FAULTS, derive, derive_good, first_fault, not_derived, what_is_wrong
from raypipe.lake.elsewhere import FoundTable
from raypipe.lake.faults import line_of
from raypipe.lake.files import BrokenFileError, FoundFile
from raypipe.lake.poison import Bad
from raypipe.lake.read import blocks
from raypipe.lake.salvage import Line, bad_line, names_of, salvage, whole
from raypipe.lake.shipped import Shape, columns_of, sizes_of
from raypipe.lake.spread import spread
from raypipe.spec import Source

ROWS_PER_FILE = 2**20


class Staged(Record, frozen=True, kw_only=True):
    """What came of one file of a size: the Parquet written, in order of its rows, and what its columns look like.

    ``bad`` is what of it is no row.
    """

    file: SourceFile
    paths: tuple[str, ...]
    shape: Shape
    size: int
    bad: tuple[Bad, ...] = ()


@dataclass(frozen=True)
class Task:
    """Everything that is needed to stage one file, in any process.

    Attributes:
        file: what is read.
        digest: of its bytes.
        source: how it is read and what is derived.
        lookups: the key and wanted columns of each looked-up table.
        schema: of the Parquet written, with Iceberg's field ids.
        folder: where it is written.
        prefix: what the written names begin with; names sort in order of the rows.
        newest: the newest event time of the table before; None when lateness is not asked for.
    """

    file: FoundFile
    digest: str
    source: Source
    lookups: Mapping[str, pl.DataFrame]
    schema: pa.Schema
    folder: str
    prefix: str
    newest: int | None = None

    def run(self, advance: Callable[[float], object] = float) -> Staged:
        """Read, derive, write; ``advance`` is told the share of the file done so far.

        Raises:
            SourceError: the file is not what its source declares, or more of it than the source lets go.
        """
        with PartWriter(self.folder, self.prefix, self.schema) as writer:
            try:
                shape = self._read(writer, advance)
            except SourceError as fault:
                if isinstance(self.file, FoundTable) or not files_of(self.source).at_most_bad:
                    raise
                writer.discard()
                shape, bad = self._salvaged(writer, fault)
            else:
                bad = []
        read = SourceFile(path=self.file.name, digest=self.digest, rows=writer.rows, bad=len(bad))
        return Staged(file=read, paths=tuple(writer.paths), shape=shape, size=self.file.size, bad=tuple(bad))

    def _read(self, writer: "PartWriter", advance: Callable[[float], object]) -> Shape:
        sizes = Shape()
        for batch, share in blocks(self.file, self.source):
            derived = self._derived(batch, writer.rows)
            sizes = sizes if writer.rows else sizes_of(self.source, derived)
            writer.write(derived.to_arrow())
            advance(share)
        return structs.replace(sizes, columns=columns_of(self.file, self.source))

    def _salvaged(self, writer: "PartWriter", fault: SourceError) -> tuple[Shape, list[Bad]]:
        """Write what can be read of a file with a fault."""
        if isinstance(fault, BrokenFileError):
            return Shape(), [whole(self.file, fault)]
        if files_of(self.source).format not in ("csv", "json"):
            raise fault
        bad: list[Bad] = []
        names: dict[str, str] = {}
        sizes = Shape()
        for some in salvage(self.file, self.source):
            bad += [bad_line(self.file, line, why) for line, why in some.bad]
            if not some.lines:
                continue
            names |= dict.fromkeys(names_of(self.file, self.source, some.lines), "")
            left = list(some.lines)
            frame = pl.DataFrame(pl.from_arrow(some.rows))
            rows = derive_good(frame, self.source, self.lookups, partial(self._spare, bad, left), self.newest)
            sizes = sizes if writer.rows else sizes_of(self.source, rows)
            writer.write(rows.to_arrow())
        if writer.rows:
            require_columns(self.file, self.source, list(names))
        return structs.replace(sizes, columns=tuple(names.items())), bad

    def _spare(self, bad: list[Bad], left: list[Line], row: int, why: str) -> None:
        bad.append(bad_line(self.file, left.pop(row), why))

    def _derived(self, batch: pa.RecordBatch, before: int) -> pl.DataFrame:
        block = pl.DataFrame(pl.from_arrow(batch))
        try:
            return derive(block, self.source, self.lookups, self.newest)
        except FAULTS as error:
            found = first_fault(block, self.source, self.lookups)
            if found is None:
                raise not_derived(self.source, error) from None
            row, name, fault = found
            line = line_of(self.file, files_of(self.source).format, before + row)
            where = f"{self.file.name}:{line}" if line else f"{self.file.name} row {before + row + 1}"
            way = self.source.derive.get(name)
            cure = "Change the file" if way is None else f"Change the file, or the derivation at {way.where}"
            raise SourceError(what_is_wrong(self.source, name, fault), where=where, cure=cure) from None


class PartWriter:
    """Writes blocks as Parquet files of a bounded number of rows; while one is written the next can be read."""

    def __init__(self, folder: str, prefix: str, schema: pa.Schema) -> None:
        self._folder, self._prefix, self._schema = folder, prefix, schema
        self._writer: pq.ParquetWriter | None = None
        self._hand = ThreadPoolExecutor(1, "write")
        self._written: Future[None] | None = None
        self._in_part = 0
        self.paths: list[str] = []
        self.rows = 0

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._hand.shutdown()
        if kind is None:
            self._wait()
        self._close()

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if table.num_rows == 0:
            return
        if self._writer is None:
            self.paths.append(f"{self._folder}/{self._prefix}-{len(self.paths):05d}.parquet")
            self._writer = storage.writer(self.paths[-1], self._schema)
        rows = table.select(self._schema.names).cast(self._schema)
        self._wait()
        self._written = self._hand.submit(self._writer.write_table, rows)
        self.rows += table.num_rows
        self._in_part += table.num_rows
        failpoint("ingest.while_reading")
        if self._in_part >= ROWS_PER_FILE:
            self._wait()
            self._close()

    def discard(self) -> None:
        """Begin again with nothing."""
        self._wait()
        self._close()
        for path in self.paths:
            storage.remove(path)
        self.paths, self.rows = [], 0

    def _wait(self) -> None:
        """Until the last block is written; what went wrong with it is raised here."""
        if self._written is not None:
            self._written.result()
        self._written = None

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._in_part = None, 0


def stage(tasks: Sequence[Task], progress: Progress, spread_bytes: int) -> list[Staged]:
    """Stage files, results in the order of the tasks: by all cores here, or, from ``spread_bytes`` on, by the cluster.

    Raises:
        SourceError: a file is not what its source declares.
    """
    if not tasks:
        return []
    total = sum(task.file.size for task in tasks)
    with progress.step(f"read {tasks[0].source.name}", total) as step:
        if total >= spread_bytes and len(tasks) > 1:
            return _spread(tasks, step)
        return _here(tasks, step)


class _EndedError(Exception):
    """Another file has a fault: what is left is not read."""


def _here(tasks: Sequence[Task], step: Step) -> list[Staged]:
    """A file a core at a time. Reading, deriving and writing leave Python alone."""
    turn, ended = Lock(), Event()
    with ThreadPoolExecutor(min(len(tasks), _cores()), "stage") as pool:
        found = [pool.submit(task.run, _advance(step, task, turn, ended)) for task in tasks]
        try:
            return [one.result() for one in found]
        finally:
            ended.set()
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """How many this process may use; not every system lets one ask that."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _advance(step: Step, task: Task, turn: Lock, ended: Event) -> Callable[[float], None]:
    done = 0.0

    def advance(share: float) -> None:
        nonlocal done
        if ended.is_set():
            raise _EndedError
        with turn:
            step.advance((share - done) * task.file.size, task.file.name)
        done = share

    return advance


def _spread(tasks: Sequence[Task], step: Step) -> list[Staged]:
    results: list[Staged] = []
    for task, found in zip(tasks, spread(tasks, f"read_{tasks[0].source.name}"), strict=True):
        step.advance(task.file.size, task.file.name)
        results.append(Staged.from_json(found))
    return results
