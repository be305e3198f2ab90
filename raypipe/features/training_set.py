"""One row for each prediction that could have been asked, with its features as known then."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp

import msgspec
import numpy as np
import polars as pl

from raypipe.contracts.progress import Progress, Step
from raypipe.contracts.records import Snapshot, TrainingSet
from raypipe.errors import FeatureError
from raypipe.failpoints import failpoint
from raypipe.features import frames, keys, spine, spread
from raypipe.features.logic import of_history, steps, with_logic
from raypipe.features.plan import GroupPlan, plans
from raypipe.features.reading import Read, Tables
from raypipe.features.spans import answer
from raypipe.features.spread import Laid, Scan
from raypipe.spec import FeatureGroup, Pipeline, TableFeatures, fingerprint
from raypipe.stats.arrays import Ints

RECORD = "training_set.json"
#: Into at least so many parts a history is cut that is worked out all over the cluster.
PARTS = 16


def build_training_set(
    pipeline: Pipeline,
    snapshots: Mapping[str, Snapshot],
    read: Read,
    folder: Path,
    as_of: int,
    progress: Progress,
    *,
    scan: Scan | None = None,
    laid: Laid | None = None,
) -> TrainingSet:
    """Join every question of history with its features as known when it was asked.

    The same definition, snapshots and ``as_of`` give the same bytes, whenever they are built. What is there already is
    not built again; a folder appears whole or not at all.

    Args:
        pipeline: the definition.
        snapshots: by table name, everything it reads.
        read: gives the rows of a snapshot.
        folder: where training sets are kept, each in a folder of its own.
        as_of: nothing known later is used; microseconds UTC.
        progress: told of each feature group.
        scan: gives some columns of a snapshot as a Ray dataset; histories too long for one process are read so.
        laid: tells how a snapshot is laid out; where it lies by key, nothing of it is sent around.

    Returns:
        The record. Files are ``train.parquet``, ``tune.parquet`` and ``holdout.parquet``: request fields, ``asked_at``,
        the features, ``label``; sorted by time of asking, then id.

    Raises:
        FeatureError: a snapshot is missing, or the data does not fit the definition.
    """
    tables = Tables(pipeline, snapshots, read, scan=scan, laid=laid, scratch=folder)
    definition = fingerprint((pipeline.ask, pipeline.inputs, pipeline.label, pipeline.split))
    used = tuple(snapshots[source.name] for source in pipeline.sources)
    identity = f"{definition}|{as_of}|{'|'.join(f'{s.table}@{s.snapshot_id}' for s in used)}"
    target = folder / f"{pipeline.name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    if (there := known(target)) is not None:
        return there
    folder.mkdir(parents=True, exist_ok=True)
    with progress.step("features", total=len(pipeline.inputs) + 2) as step:
        asked, frame = join(tables, as_of, step)
        draft = Path(mkdtemp(dir=folder, prefix=f".{target.name}-"))
        try:
            digest = write(frame, draft)
            binary = frame.schema[spine.LABEL] == pl.Boolean
            record = TrainingSet(
                pipeline=pipeline.name,
                definition=definition,
                as_of=as_of,
                snapshots=used,
                folder=str(target),
                digest=digest,
                features=pipeline.feature_names,
                rows=by_period(frame, pl.len()),
                positives=by_period(frame, pl.col(spine.LABEL).sum()) if binary else {},
                left_out=asked.left_out,
            )
            (draft / RECORD).write_text(record.to_json())
            failpoint("features.before_publish")
            publish(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        step.advance()
    return record


def join(tables: Tables, as_of: int, step: Step) -> tuple[spine.Spine, pl.DataFrame]:
    """The questions of history, and the same with their features beside them."""
    pipeline = tables.pipeline
    _require_free_names(pipeline)
    asked = spine.spine(pipeline, tables.table(pipeline.ask.stream.name), as_of)
    step.advance(note=f"{asked.frame.height:,} rows")
    compiled = iter(plans(pipeline))
    made: list[pl.Series] = []
    for item in pipeline.inputs:
        if isinstance(item, FeatureGroup):
            made += group_features(next(compiled), tables, asked.frame, as_of)
        elif isinstance(item, TableFeatures):
            made += frames.table_features(item, tables.table(item.table.name), asked.frame)
        step.advance(note=", ".join(list(item.features)[:3]))
    frame = asked.frame.with_columns(made)
    frame = with_logic(frame, list(steps(pipeline)), of_history)
    features = [name for name in pipeline.feature_names if name not in pipeline.request.fields]
    return asked, frame.select(*pipeline.request.fields, spine.ASKED_AT, *features, spine.LABEL, spine.PERIOD)


def group_features(plan: GroupPlan, tables: Tables, asked: pl.DataFrame, as_of: int) -> list[pl.Series]:
    """The columns of one feature group, one value a question; the events of some keys at a time if they are many."""
    asked_keys, times = keys.plain(asked, plan.group.asked), asked[spine.ASKED_AT].cast(pl.Int64).to_numpy()
    known_by, parts = min(as_of, int(times.max(initial=0))), tables.parts(plan)
    if (portions := tables.portions(plan)) is not None:
        return spread.in_portions(plan, portions, asked_keys, times, known_by)
    if (rows := tables.scanned(plan)) is not None:
        many = tables.snapshots[plan.group.moment.stream.name].rows
        return spread.group_features(plan, rows, many, asked_keys, times, known_by, max(parts, PARTS), tables.scratch)
    if parts == 1:
        answers = answer(plan, tables.events(plan, known_by, 0), asked_keys, times)
        return [frames.Made(f.name, f.dtype, a).column() for f, a in zip(plan.features, answers, strict=True)]
    mine = asked_keys.select(keys.bucket([pl.col(name) for name in asked_keys.columns], parts)).to_series().to_numpy()
    order: list[Ints] = []
    columns: list[list[pl.Series]] = []
    for part in range(parts):
        places = np.flatnonzero(mine == part)
        answers = answer(plan, tables.events(plan, known_by, part), asked_keys[pl.Series(places)], times[places])
        columns.append([frames.Made(f.name, f.dtype, a).column() for f, a in zip(plan.features, answers, strict=True)])
        order.append(places)
    back = np.argsort(np.concatenate(order))
    return [pl.concat(pieces).gather(back) for pieces in zip(*columns, strict=True)]


def _require_free_names(pipeline: Pipeline) -> None:
    taken = {spine.ASKED_AT, spine.LABEL} & {*pipeline.request.fields, *pipeline.feature_names}
    for name in sorted(taken):
        cure = "Give the field or feature another name"
        raise FeatureError(f"`{name}` is a column of every training set", where=pipeline.where, cure=cure)


def write(frame: pl.DataFrame, folder: Path) -> str:
    """One file a period; the SHA-256 over all of them."""
    digest = hashlib.sha256()
    for name in ("train", "tune", "holdout"):
        path = folder / f"{name}.parquet"
        part = frame.filter(pl.col(spine.PERIOD) == name).drop(spine.PERIOD)
        part.write_parquet(path, compression="zstd", compression_level=3, row_group_size=2**17)
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def by_period(frame: pl.DataFrame, value: pl.Expr) -> dict[str, int]:
    """A number for each period, 0 for one without rows."""
    counts = dict(frame.group_by(spine.PERIOD).agg(value.alias("n")).iter_rows())
    return {name: counts.get(name, 0) for name in ("train", "tune", "holdout")}


def publish(draft: Path, target: Path) -> None:
    """Give the finished folder its name; somebody else may have made the same one meanwhile, of the same bytes."""
    try:
        draft.rename(target)
    except OSError:
        if known(target) is None:
            raise


def known(target: Path) -> TrainingSet | None:
    """The training set in a folder; None when it is not there.

    Raises:
        FeatureError: its record is damaged.
    """
    try:
        return TrainingSet.from_json((target / RECORD).read_bytes())
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError:
        raise FeatureError(
            "is damaged", where=f"training set {target}", cure="Delete the folder and run again"
        ) from None
