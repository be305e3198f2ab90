"""Why an alarm: what the logs, the bundle and the ledger know of it, put into one paragraph."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from msgspec import structs

from raypipe.contracts import bundle
from raypipe.contracts.bins import Reference
from raypipe.contracts.logs import opened
from raypipe.contracts.records import GateReport
from raypipe.contracts.watching import DriftReport, PerformanceReport
from raypipe.errors import RaypipeError
from raypipe.flows.platform import Platform
from raypipe.flows.watching.known import Known
from raypipe.flows.watching.labels import TICKS, feedback, predictions
from raypipe.ledger import Entry, Ledger
from raypipe.monitoring.diagnosis import Diagnosis, Losses, Matrix, Sides, diagnose
from raypipe.serving.model import Model, Served
from raypipe.spec import computed

logger = logging.getLogger(__name__)

#: Rows that are scored again, of each side.
_SCORED = 2_000
#: Segments are told of for columns with at most so many values.
_VALUES = 40


def why(platform: Platform, known: Known, report: DriftReport, found: PerformanceReport | None = None) -> Diagnosis:
    """What is behind the open alarms of a report, whatever happens: what cannot be found out is left out, and said.

    Args:
        platform: where it is.
        known: the version.
        report: of its newest tick.
        found: what came true of it, when an alarm of errors is to be explained as well.
    """
    try:
        return _why(platform, known, report, found)
    except Exception as error:  # neither the alarm nor what a policy makes of it may be lost for want of a reason
        logger.exception("an alarm is told without what is behind it")
        return Diagnosis(breaks=report.breaks, blamed=(), segments=(), upstream=(), text=_unexplained(error))


def _why(platform: Platform, known: Known, report: DriftReport, found: PerformanceReport | None) -> Diagnosis:
    span = platform.watching.plan.span
    onset, recent, until = report.onset, report.onset, report.at
    if found is not None and found.onset is not None:
        # Labels may be weeks late: who is hit is read off the first ones, and the newest rows say what they look like.
        onset, until = found.onset, min(found.onset + 2 * TICKS * span, report.at)
    changes = list(upstream(platform.ledger, report.pipeline, onset - span, until))
    try:
        at = pl.col("at")
        rows = predictions(
            platform,
            known,
            onset - 32 * span,
            "category",
            "features",
            when=(at <= _moment(until)) | (at >= _moment(recent)),
        )
        told = feedback(platform, known, onset - 32 * span)
    except (RaypipeError, pl.exceptions.PolarsError) as error:
        logger.exception("an alarm is told without rows")
        without = diagnose(report, upstream=changes, found=found)
        return structs.replace(without, text=f"{without.text} {_unexplained(error)}")
    return explained(known, report, rows, told, onset, changes, found)


def _unexplained(error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return f"What is behind it could not be explained: {reason}."


def explained(
    known: Known,
    report: DriftReport,
    rows: pl.DataFrame,
    told: pl.DataFrame,
    onset: int,
    changes: Sequence[str],
    found: PerformanceReport | None = None,
) -> Diagnosis:
    """The same from rows that were read.

    Args:
        known: the version.
        report: has open alarms.
        rows: what it answered: ``id``, ``at``, ``score``, ``category`` and ``features``.
        told: what became of it: ``id`` and `labels.TOLD`.
        onset: when it began, microseconds UTC.
        changes: what else changed then, in words.
        found: what came true, when an alarm of errors is to be explained as well.
    """
    sides = losses = None
    try:
        if rows.height:
            frame = _features(known, rows)
            losses = _losses(known, frame, told, onset)
            sides = _sides(known, frame.filter(pl.col("at") >= _moment(onset)).tail(_SCORED))
    except (RaypipeError, pl.exceptions.PolarsError) as error:
        logger.warning("an alarm is told without rows: %s", error)
    return diagnose(report, sides, losses, changes, found)


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
    return Sides(names, drawn(known.reference, frame.height), signature.encode(frame), score, computed(known.pipeline))


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
    joined = known.measure.beside(frame, told, ["id"]).drop_nulls("truth")
    after = pl.col("at") >= _moment(onset)
    sides = [joined.filter(~after), joined.filter(after)]
    signature = bundle.signature(Path(known.version.folder))
    names = [c.name for c in signature.columns if c.vocabulary and len(c.vocabulary) <= _VALUES and c.name in frame]
    lost = [known.measure.losses(side["score"].to_numpy(), side["truth"].to_numpy()) for side in sides]
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
            if body.get("version", "?") is None:
                yield "the champion was withdrawn"
            else:
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
