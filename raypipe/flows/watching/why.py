"""Why an alarm: what the logs, the bundle and the ledger know of it, put into one paragraph."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from raypipe.contracts import bundle
from raypipe.contracts.bins import Reference
from raypipe.contracts.logs import opened
from raypipe.contracts.records import GateReport
from raypipe.contracts.watching import DriftReport
from raypipe.errors import RaypipeError
from raypipe.flows.platform import Platform
from raypipe.flows.watching.known import Known
from raypipe.flows.watching.labels import feedback, predictions
from raypipe.ledger import Entry, Ledger
from raypipe.monitoring.diagnosis import Diagnosis, Losses, Matrix, Sides, diagnose
from raypipe.serving.model import Model, Served
from raypipe.stats.estimate import log_loss

logger = logging.getLogger(__name__)

#: Rows that are scored again, of each side.
_SCORED = 2_000
#: Segments are told of for columns with at most so many values.
_VALUES = 40


def why(platform: Platform, known: Known, report: DriftReport) -> Diagnosis:
    """What is behind the open alarms of a report; what cannot be found out is left out of it."""
    span = platform.watching.plan.span
    ticks = max((column.ticks for column in report.alarms), default=1)
    onset = report.at - ticks * span
    changes = list(upstream(platform.ledger, report.pipeline, onset - span, report.at))
    try:
        rows = predictions(platform, known, onset - 32 * span, "features")
        told = feedback(platform, known, onset - 32 * span)
    except RaypipeError:
        logger.exception("an alarm is told without rows")
        return diagnose(report, upstream=changes)
    return explained(known, report, rows, told, onset, changes)


def explained(
    known: Known, report: DriftReport, rows: pl.DataFrame, told: pl.DataFrame, onset: int, changes: Sequence[str]
) -> Diagnosis:
    """The same from rows that were read.

    Args:
        known: the version.
        report: has open alarms.
        rows: what it answered: ``id``, ``at``, ``score`` and ``features``.
        told: what became of it: ``id`` and ``truth``.
        onset: when the drift began, microseconds UTC.
        changes: what else changed then, in words.
    """
    sides = losses = None
    try:
        if rows.height:
            frame = _features(known, rows)
            losses = _losses(known, frame, told, onset)
            sides = _sides(known, frame.filter(pl.col("at") >= _moment(onset)).tail(_SCORED))
    except (RaypipeError, pl.exceptions.PolarsError) as error:
        logger.warning("an alarm is told without rows: %s", error)
    return diagnose(report, sides, losses, changes)


def _features(known: Known, rows: pl.DataFrame) -> pl.DataFrame:
    folder, kept = Path(known.version.folder), known.pipeline.log.features
    golden = bundle.golden(folder).schema
    names = [c.name for c in bundle.signature(folder).columns if kept is None or c.name in kept]
    return opened(rows, "features", {name: golden[name] for name in names})


def _sides(known: Known, frame: pl.DataFrame) -> Sides | None:
    """Rows of now, and values of the reference to put into their place; None when the log keeps less than is needed."""
    folder, version = Path(known.version.folder), known.version
    signature = bundle.signature(folder)
    names = tuple(column.name for column in signature.columns)
    hashed = set(known.pipeline.log.hashed) & set(names)
    if known.reference is None or hashed or not frame.height or not set(names) <= set(frame.columns):
        return None
    score = None
    try:
        score = Model(Served(folder=version.folder, digest=version.digest, version=version.version)).score
    except RaypipeError as error:
        logger.warning("an alarm is told without its model: %s", error)
    return Sides(names, drawn(known.reference, frame.height), signature.encode(frame), score)


def drawn(reference: Reference, rows: int) -> Matrix:
    """Encoded rows whose columns are distributed as in the reference, each for itself."""
    rng = np.random.default_rng(0)
    columns = []
    for column in reference.features:
        special = len(column.counts) - len(column.values or column.starts)
        counts = np.asarray(column.counts, dtype=float)
        missing, own = counts[:special].sum(), counts[special:]
        values = np.arange(1, len(own) + 1) if column.values else np.asarray(column.starts)
        gap = 0.0 if column.values else np.nan
        shares = np.append(own, missing) / max(counts.sum(), 1.0)
        picked = rng.choice(len(shares), rows, p=shares) if shares.sum() else np.full(rows, len(own))
        columns.append(np.append(values, gap)[picked])
    return np.column_stack(columns).astype(np.float32)


def _losses(known: Known, frame: pl.DataFrame, told: pl.DataFrame, onset: int) -> Losses:
    """Labelled rows before and since it began, by the values of the categories among their features."""
    joined = frame.join(told.drop_nulls("truth").select("id", "truth"), on="id")
    after = pl.col("at") >= _moment(onset)
    sides = [joined.filter(~after), joined.filter(after)]
    signature = bundle.signature(Path(known.version.folder))
    names = [c.name for c in signature.columns if c.vocabulary and len(c.vocabulary) <= _VALUES and c.name in frame]
    lost = [log_loss(side["truth"].cast(pl.Float64).to_numpy(), side["score"].to_numpy()) for side in sides]
    groups = [{n: side[n].cast(pl.String).fill_null("missing").to_list() for n in names} for side in sides]
    return Losses(lost[0], lost[1], groups[0], groups[1])


def _moment(at: int) -> pl.Expr:
    return pl.lit(at).cast(pl.Datetime("us", "UTC"))


def upstream(ledger: Ledger, pipeline: str, since: int, until: int) -> Iterator[str]:
    """What happened to the data and the models of a pipeline in a time, out of the ledger, in words."""
    for entry in ledger.entries(subject=pipeline):
        if since <= entry.at <= until:
            yield from _words(entry)


def _words(entry: Entry) -> Iterator[str]:
    try:
        if entry.kind == "stage.gate":
            yield from _new_rows(GateReport.from_json(entry.body))
        elif entry.kind in _KINDS:
            body = msgspec.json.decode(entry.body, type=dict[str, object])
            yield _KINDS[entry.kind].format_map({name: body.get(name, "?") for name in ("version", "why", "table")})
    except (RaypipeError, msgspec.MsgspecError):
        return


def _new_rows(report: GateReport) -> Iterator[str]:
    for snapshot in report.snapshots:
        if snapshot.added:
            files = f" (newest file {snapshot.files[-1].path})" if snapshot.files else ""
            yield f"{snapshot.table} took in {snapshot.added:,} rows{files}"


_KINDS = {
    "model.promoted": "version {version} became champion",
    "model.deployed": "version {version} was deployed",
    "model.released": "version {version} was released beside the champion",
    "gate.bypassed": "the gate was bypassed",
    "gate.stopped": "the gate stopped a run",
    "data.quarantined": "rows of {table} were set aside",
    "data.erased": "rows were erased",
}
