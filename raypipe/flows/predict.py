"""Predictions for a whole file or table: scored by a pool of actors, appended to the lake as one snapshot."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from raypipe import features
from raypipe.contracts import bundle
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import ModelVersion, Record
from raypipe.errors import ServingError, SourceError, did_you_mean
from raypipe.failpoints import failpoint
from raypipe.flows.deploy import recipe
from raypipe.flows.platform import Platform
from raypipe.flows.remote import on_cluster
from raypipe.serving.batch import Job, Part, Scorer, beside
from raypipe.serving.fields import Field, request_fields
from raypipe.serving.model import Model, Served
from raypipe.serving.sheet import typed
from raypipe.spec import Pipeline, Stream

#: So many rows make a part: what is lost when a run is killed, and what an actor writes before it takes the next.
PART_ROWS = 65_536
#: So many reasons are told of why rows were refused, those of most rows first.
REASONS = 3
PARQUET = (".parquet", ".pq", "")
SUFFIXES = (".parquet", ".pq", ".csv", ".json", ".jsonl", ".ndjson")


class BatchPrediction(Record, frozen=True, kw_only=True):
    """A batch in the lake, as one snapshot of the table ``batches.{name}``.

    ``batch`` names it by what it is made of: the questions' bytes, the model's digest, the features' state. ``rows``
    were asked, ``refused`` of them have an error in place of an answer, ``because`` counts the commonest errors;
    ``added`` is false when the very same batch was there already.
    """

    name: str
    version: int
    batch: str
    table: str
    snapshot_id: int
    rows: int
    refused: int
    because: dict[str, int]
    added: bool


def predict(
    platform: Platform, progress: Progress, *, version: ModelVersion, questions: str, since: int | None = None
) -> BatchPrediction:
    """Answer every row of a file or of a table of the lake with a version and the online features as they are now.

    A run that was killed goes on with what is missing when it is run again. The same questions to the same model over
    the same features are one batch, and are added once. No row of an earlier batch is touched.

    Args:
        platform: the open workspace, joined to its cluster.
        progress: is told how many rows are done.
        version: which model answers.
        questions: a Parquet, CSV or JSON-lines file, or the name of one of the pipeline's tables.
        since: leave out rows whose moment is earlier; microseconds UTC.

    Raises:
        SourceError: the questions cannot be read, or lack a required field.
        FeatureError: no features are stored.
        ServingError: the model cannot be used.
    """
    work = partial(_work, version=version, questions=questions, since=since)
    return on_cluster(f"{version.name}: predict", work, platform, progress)


def _work(
    platform: Platform, progress: Progress, *, version: ModelVersion, questions: str, since: int | None
) -> BatchPrediction:
    served = Served(folder=version.folder, digest=version.digest, version=version.version)
    Model(served)  # a bad version is found out before any actor has started
    pipeline = bundle.pipeline(Path(version.folder))
    paths, content = _found(platform, pipeline, questions)
    state = features.OnlineFeatures(pipeline, platform.store).materialized()
    made_of = f"{content}|{since}|{served.digest}|{state.digest}|{state.generation}|{state.watermark}"
    batch = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    table = platform.lake.batches(version.name)
    added = (snapshot := table.snapshot(batch)) is None
    if snapshot is None:
        fields = request_fields(pipeline)
        target = bundle.card(Path(version.folder)).target
        columns = beside(target) | {field.name: field.dtype for field in fields}
        with table.begun(batch, columns) as (folder, schema), _as_parquet(paths, folder, fields) as files:
            job = Job(
                batch=batch,
                at=platform.clock.now(),
                served=served,
                open_reader=recipe(platform, version.name).open_reader,
                schema=schema,
                name=questions,
                since=since,
            )
            for path in files:
                # Columns of another shape are told here, by name, before any actor has started.
                typed(pl.DataFrame(schema=_schema(path)), fields, questions)
            parts = list(_parts(files, folder))
            _score(job, parts, progress, platform.cpus)
            failpoint("predict.before_append")
            snapshot = table.append(batch, [part.target for part in parts if _rows(part.target)])
    answered = table.frame(batch)
    counts = answered.select(rows=pl.len(), refused=pl.col("error").count()).collect().row(0, named=True)
    why = answered.drop_nulls("error").group_by("error").len().sort("len", "error", descending=[True, False])
    return BatchPrediction(
        name=version.name,
        version=version.version,
        batch=batch,
        table=table.name,
        snapshot_id=snapshot,
        added=added,
        because=dict(why.head(REASONS).collect().iter_rows()),
        **counts,
    )


def _found(platform: Platform, pipeline: Pipeline, questions: str) -> tuple[list[str], str]:
    """The files that are meant, and what names their content."""
    path = Path(questions)
    if path.suffix in SUFFIXES:
        try:
            with path.open("rb") as file:
                return [str(path.absolute())], hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            cure = "Check the path, which is relative to the working folder, and the file's rights"
            raise SourceError(f"cannot be read: {error.strerror}", where=questions, cure=cure) from None
    sources = {source.name: source for source in pipeline.sources if isinstance(source, Stream)}
    if questions not in sources:
        cure = did_you_mean(questions, sources) + f" A file ends in {', '.join(SUFFIXES)}"
        raise SourceError("is neither a file nor a stream of this pipeline", where=questions, cure=cure.strip())
    snapshot = platform.lake.published(sources[questions])
    if snapshot is None:
        raise SourceError("holds nothing that passed a gate", where=f"table {questions}", cure="Run `raypipe run`")
    return platform.lake.paths(snapshot), f"{questions}@{snapshot.snapshot_id}"


@contextmanager
def _as_parquet(paths: Sequence[str], folder: Path, fields: Sequence[Field]) -> Iterator[list[str]]:
    """The same rows as Parquet whose row groups are small enough for parts; nothing is left behind."""
    drafts = {path: folder / f"questions.{number}.draft" for number, path in enumerate(paths) if not _in_groups(path)}
    try:
        for path, draft in drafts.items():
            _copy(path, draft, fields)
        yield [str(drafts.get(path, path)) for path in paths]
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _in_groups(path: str) -> bool:
    """Whether parts of a file can be read alone: pyarrow puts a million rows into one group."""
    if Path(path).suffix not in PARQUET:
        return False
    _schema(path)
    metadata = pq.ParquetFile(path).metadata
    return all(metadata.row_group(group).num_rows <= 2 * PART_ROWS for group in range(metadata.num_row_groups))


def _copy(path: str, draft: Path, fields: Sequence[Field]) -> None:
    try:
        with _reader(path, fields) as (schema, blocks), pq.ParquetWriter(draft, schema, compression="lz4") as writer:
            for block in blocks:
                for start in range(0, block.num_rows, PART_ROWS):
                    writer.write_batch(block.slice(start, PART_ROWS))
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"cannot be read: {str(error).splitlines()[0]}", where=path) from None


@contextmanager
def _reader(path: str, fields: Sequence[Field]) -> Iterator[tuple[pa.Schema, Iterable[pa.RecordBatch]]]:
    if Path(path).suffix in PARQUET:
        with pq.ParquetFile(path) as file:
            yield file.schema_arrow, file.iter_batches(PART_ROWS)
        return
    with _text_reader(path, fields) as reader:
        yield reader.schema, reader


def _text_reader(path: str, fields: Sequence[Field]) -> "pa.csv.CSVStreamingReader | pa.json.JSONStreamingReader":
    if not path.endswith(".csv"):
        # Left to itself, Arrow takes text that looks like a time for a time, and drops the zone.
        kinds = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
        wanted = pa.schema([(field.name, kinds.get(field.kind, pa.string())) for field in fields])
        return pa.json.open_json(
            path, parse_options=pa.json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
        )
    names = pl.read_csv(path, n_rows=0, infer_schema=False).columns
    as_text = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True)
    return pa.csv.open_csv(path, convert_options=as_text)


def _schema(path: str) -> pl.Schema:
    try:
        return pl.Schema(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(f"is not Parquet: {str(error).splitlines()[0]}", where=path) from None


def _parts(files: Sequence[str], folder: Path) -> Iterator[Part]:
    first = number = 0
    for path in files:
        metadata = pq.ParquetFile(path).metadata
        groups: list[int] = []
        rows = 0
        for group in range(metadata.num_row_groups):
            groups.append(group)
            rows += metadata.row_group(group).num_rows
            if rows >= PART_ROWS or group == metadata.num_row_groups - 1:
                yield Part(path, tuple(groups), first, str(folder / f"{number:06}.parquet"))
                first, number, groups, rows = first + rows, number + 1, [], 0


def _score(job: Job, parts: Sequence[Part], progress: Progress, cpus: int) -> None:
    """Have a pool of actors, one a core, work on the parts; each comes back when its file is there."""
    import ray.data

    missing = [part for part in parts if not Path(part.target).exists()]
    total = sum(pq.ParquetFile(path).metadata.num_rows for path in {part.path for part in parts})
    with progress.step("predict", total=total) as step:
        step.advance(sum(_rows(part.target) for part in parts if part not in missing))
        if not missing:
            return
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=min(cpus, len(missing)), max_tasks_in_flight_per_actor=1)
        scored = ray.data.from_items([{"part": part} for part in missing], override_num_blocks=len(missing)).map(
            Scorer,  # type: ignore[arg-type]  # Ray Data makes the object in each actor
            fn_constructor_args=(job,),
            compute=pool,
            num_cpus=1,
        )
        for done in scored.iter_rows():
            step.advance(done["rows"])
    if left := [part.target for part in parts if not Path(part.target).exists()]:
        raise ServingError(f"{len(left)} of {len(parts)} parts were not written", where=job.name, cure="Run it again")


def _rows(path: str) -> int:
    return int(pq.ParquetFile(path).metadata.num_rows)
