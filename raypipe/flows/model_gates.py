"""The gates of a model: its training set before anything is learned from it, its answers before it is promoted."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from raypipe import validation
from raypipe.contracts import bundle
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import GateReport, ModelVersion, TrainingSet
from raypipe.errors import GateError, RegistryError
from raypipe.features.sifted import without
from raypipe.flows.gate import settle, write_set
from raypipe.flows.platform import Platform
from raypipe.lake import Lake
from raypipe.registry.admission import PROMOTION
from raypipe.registry.answers import answers
from raypipe.spec import Pipeline
from raypipe.spec.checks import Check
from raypipe.spec.questions import ASKED_AT, PERIOD, answer_columns, training_columns

TRAINING = "training"
PERIODS = ("train", "tune", "holdout")


def gate_training(
    platform: Platform, progress: Progress, *, pipeline: Pipeline, training_set: TrainingSet, bypass: str = ""
) -> TrainingSet:
    """Judge a training set before anything is learned from it.

    Returns:
        The training set, without the rows that a check sets aside.

    Raises:
        GateError: a check failed that stops, and ``bypass`` gives no reason to go on.
    """
    with progress.step("check the training set", 1) as step:
        before = _trained_on_before(platform, pipeline, training_set)
        verdict, left = sift(platform.lake, pipeline, training_set, before)
        report = _report(pipeline, training_set, verdict, TRAINING, training_set.digest)
        settle(platform, report, bypass)
        if left is not training_set:
            counts = dict(verdict.faulty.group_by("check", maintain_order=True).len().iter_rows())
            write_set(platform, pipeline, Path(left.folder).name, {"training_set": training_set.digest}, counts)
        step.advance(note=f"{len(report.results)} checks")
    return left


def sift(
    lake: Lake, pipeline: Pipeline, training_set: TrainingSet, before: pl.LazyFrame | None = None
) -> tuple[validation.Verdict, TrainingSet]:
    """What the checks before training say, and the training set without what they set aside.

    Args:
        lake: holds the tables that checks refer to.
        pipeline: declares the checks.
        training_set: is judged whole.
        before: the training set to compare with; None: there is none.

    Raises:
        GateError: it cannot be read.
    """
    rows = _rows(training_set)
    subject = _subject("training set", pipeline, training_columns(pipeline), pipeline.before_training)
    keys = _keys(lake, pipeline.before_training, training_set)
    verdict = validation.examine_rows(subject, rows, keys, training_set.as_of, before)
    left = without(training_set, rows, verdict.faulty) if verdict.faulty.height else training_set
    return verdict, left


def gate_candidate(
    platform: Platform,
    pipeline: Pipeline,
    version: ModelVersion,
    training_set: TrainingSet,
    champion: ModelVersion | None,
    bypass: str = "",
) -> None:
    """Judge what a version answers on the holdout, before it may be promoted. Without checks there is no gate.

    Raises:
        GateError: a check failed that stops, and ``bypass`` gives no reason to go on.
    """
    checks = pipeline.before_promotion
    if not checks:
        return
    path = Path(training_set.folder) / "holdout.parquet"
    try:
        held = pl.read_parquet(path, glob=False)
        answered = held.with_columns(answers(Path(version.folder), held))
    except (OSError, pl.exceptions.PolarsError, RegistryError) as error:
        what = f"its answers cannot be judged: {str(error).splitlines()[0]}"
        raise GateError(what, where=f"{version.name}/{version.version}", cure="Run its pipeline again") from None
    subject = _subject("answers", pipeline, answer_columns(pipeline), checks)
    before = None if champion is None else _answered(Path(champion.folder), held)
    keys = _keys(platform.lake, checks, training_set)
    verdict = validation.examine_rows(subject, answered.lazy(), keys, training_set.as_of, before)
    settle(platform, _report(pipeline, training_set, verdict, PROMOTION, version.digest), bypass)


def _subject(
    name: str, pipeline: Pipeline, columns: Mapping[str, pl.DataType | None], gate: tuple[Check, ...]
) -> validation.Subject:
    """Rows that are questions: what was asked, and when, tells them apart."""
    return validation.Subject(
        name=name,
        columns=columns,
        gate=gate,
        id=(*pipeline.request.fields, ASKED_AT),
        time=ASKED_AT,
        happened=ASKED_AT,
        grows=False,
        where=pipeline.where,
    )


def _report(
    pipeline: Pipeline, training_set: TrainingSet, verdict: validation.Verdict, stage: str, about: str
) -> GateReport:
    """As of the moment, and of the snapshots, that the training set is made from; ``about`` is the digest judged."""
    return GateReport(
        pipeline=pipeline.name,
        as_of=training_set.as_of,
        snapshots=training_set.snapshots,
        results=verdict.results,
        stage=stage,
        about=about,
    )


def _rows(training_set: TrainingSet) -> pl.LazyFrame:
    """All rows, in the order of their periods, with the column ``period``."""
    names = sorted(training_set.rows, key=lambda name: (PERIODS.index(name) if name in PERIODS else 9, name))
    files = {name: Path(training_set.folder) / f"{name}.parquet" for name in names}
    try:
        parts = [pl.scan_parquet(path, glob=False).with_columns(pl.lit(n).alias(PERIOD)) for n, path in files.items()]
        rows = pl.concat(parts)
        rows.collect_schema()
    except (OSError, pl.exceptions.PolarsError) as error:
        what = f"cannot be read: {str(error).splitlines()[0]}"
        raise GateError(what, where=f"training set {training_set.folder}", cure="Delete it and run again") from None
    return rows


def _keys(lake: Lake, checks: tuple[Check, ...], training_set: TrainingSet) -> dict[str, pl.Series]:
    """The keys of the tables that checks refer to, as they were when the training set was made."""
    wanted = {check.to.name for check in checks if check.to is not None}
    return validation.keys_of(checks, {s.table: lake.frame(s) for s in training_set.snapshots if s.table in wanted})


def _trained_on_before(platform: Platform, pipeline: Pipeline, training_set: TrainingSet) -> pl.LazyFrame | None:
    """The training set before this one, for checks that compare; if it is gone, they cannot be made."""
    if not any(check.kind in ("drift", "rows_like_before") for check in pipeline.before_training):
        return None
    for entry in reversed(platform.ledger.entries("stage.features", pipeline.name)):
        record = TrainingSet.from_json(entry.body)
        if record.digest != training_set.digest:
            folder = Path(record.folder)
            return pl.concat([pl.scan_parquet(folder / f"{name}.parquet", glob=False) for name in sorted(record.rows)])
    return None


def _answered(folder: Path, held: pl.DataFrame) -> pl.LazyFrame:
    """What the champion answers to the same rows; without a feature that it reads, comparing with it fails."""
    features = [column.name for column in bundle.signature(folder).columns]
    if set(features) <= set(held.columns):
        return held.with_columns(answers(folder, held)).lazy()
    return held.lazy().select(features)
