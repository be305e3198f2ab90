"""Many questions from files: each part of a batch is scored by one actor and written as one file."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.contracts.reader import OpenReader
from raypipe.contracts.target import Target
from raypipe.errors import RequestError
from raypipe.failpoints import failpoint
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served
from raypipe.serving.sheet import FAULT, typed

#: So many rows are scored at a time: enough that Polars and the model are at their best, few enough to stay in cache.
CHUNK = 8_192
#: What stands beside the request's fields in every row of the result.
BESIDE: dict[str, pl.DataType] = {
    "batch": pl.String(),
    "row": pl.Int64(),
    "at": pl.Datetime("us", "UTC"),
    "version": pl.Int32(),
    "digest": pl.String(),
    FAULT: pl.String(),
}


def beside(target: Target) -> dict[str, pl.DataType]:
    """The columns of a result beside the request's fields: `BESIDE`, and what is answered.

    >>> [name for name in beside(Target(task="count")) if name not in BESIDE]
    ['value']
    """
    if target.numeric:
        return BESIDE | {"value": pl.Float64()}
    decided: dict[str, pl.DataType] = {"category": pl.String()} if target.classes else {"label": pl.Boolean()}
    return BESIDE | {"probability": pl.Float64()} | decided


@dataclass(frozen=True)
class Part:
    """A piece of the questions.

    Attributes:
        path: of a Parquet file.
        groups: its row groups that belong to the part.
        first: the number of its first row, counted over the whole batch.
        target: where the result is written; there once it is whole.
    """

    path: str
    groups: tuple[int, ...]
    first: int
    target: str


@dataclass(frozen=True)
class Job:
    """What all parts of a batch have in common.

    Attributes:
        batch: names it.
        at: the moment it is dated, microseconds UTC.
        served: the model.
        open_reader: opens its features.
        schema: of the files that are written.
        name: what errors call the questions.
        since: rows whose moment is earlier are left out; microseconds UTC.
    """

    batch: str
    at: int
    served: Served
    open_reader: OpenReader
    schema: pa.Schema
    name: str
    since: int | None = None


class Scorer:
    """One actor: the model with its features, loaded once.

    Args:
        job: what all parts have in common.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._engine = Engine(job.served, job.open_reader, Meter())

    def __call__(self, item: dict[str, Part]) -> dict[str, int]:
        """Score a part and write its file, unless it is there. Gives how many rows it has."""
        part = item["part"]
        target = Path(part.target)
        if not target.exists():
            self._write(part, target)
        return {"rows": pq.ParquetFile(target).metadata.num_rows}

    def _write(self, part: Part, target: Path) -> None:
        draft = target.with_suffix(f".{os.getpid()}.draft")
        row = part.first
        try:
            with (
                pq.ParquetWriter(draft, self._job.schema, compression="zstd") as writer,
                pq.ParquetFile(part.path) as file,
            ):
                for block in file.iter_batches(CHUNK, row_groups=list(part.groups)):
                    answered = self.answer(pl.DataFrame(block), row)
                    writer.write_table(answered.to_arrow().cast(self._job.schema))
                    row += block.num_rows
            failpoint("predict.before_part")
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def answer(self, questions: pl.DataFrame, first: int) -> pl.DataFrame:
        """The questions with their answers beside them; a row that cannot be answered says why."""
        job, parser = self._job, self._engine.parser
        rows = typed(questions, parser.fields, job.name).with_row_index("row", first)
        if job.since is not None and (moment := self._engine.model.pipeline.ask.moment):
            rows = rows.filter(pl.col(moment).is_null() | (pl.col(moment).dt.epoch("us") >= job.since))
        names = [field.name for field in parser.fields]
        classes = self._engine.answers.target.classes
        scores = np.full((rows.height, len(classes)) if classes else rows.height, np.nan, np.float32)
        faults = rows[FAULT].to_list()
        good = np.flatnonzero(rows[FAULT].is_null().to_numpy())
        self._score(rows.select(names), good, scores, faults)
        beside: dict[str, pl.Expr | pl.Series] = {
            "batch": pl.lit(job.batch),
            "at": pl.lit(job.at).cast(BESIDE["at"]),
            "version": pl.lit(job.served.version, pl.Int32),
            "digest": pl.lit(job.served.digest),
            **self._engine.answers.columns(scores),
            FAULT: pl.Series(FAULT, faults, pl.String),
        }
        answered = rows.with_columns(pl.col("row").cast(pl.Int64), **beside)
        # Columns that only earlier batches have.
        return answered.select(
            name if name in answered.columns else pl.lit(None).alias(name) for name in job.schema.names
        )

    def _score(self, rows: pl.DataFrame, which: np.ndarray, scores: np.ndarray, faults: list[str | None]) -> None:
        """Fill in scores; of rows that are refused together, find the ones that are meant."""
        if not len(which):
            return
        try:
            scores[which] = self._engine.scores(rows[which])
        except RequestError as error:
            if error.status >= 500:
                raise
            if len(which) == 1:
                faults[which[0]] = str(error)
                return
            middle = len(which) // 2
            self._score(rows, which[:middle], scores, faults)
            self._score(rows, which[middle:], scores, faults)
