"""A model's drift and outcomes, worked out anew from the prediction log: nothing runs, nothing can be lost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from msgspec import structs

from raypipe.contracts import bundle
from raypipe.contracts.bins import Reference
from raypipe.contracts.logs import opened
from raypipe.contracts.records import ModelVersion, Record
from raypipe.contracts.signature import Signature
from raypipe.contracts.watched import Watched
from raypipe.contracts.watching import DriftReport
from raypipe.errors import RegistryError
from raypipe.flows.figures import Outcome, outcomes
from raypipe.flows.measure import Measure
from raypipe.flows.unknown import Unknown, unknown
from raypipe.flows.watching.known import Known, importance
from raypipe.flows.watching.labels import ID, TOLD
from raypipe.flows.watching.why import explained, upstream
from raypipe.ledger import Ledger
from raypipe.monitoring import Monitor, Plan
from raypipe.monitoring.season import season
from raypipe.spec import of_clock
from raypipe.stats.seasonal import hours_of


class Watch(Record, frozen=True, kw_only=True):
    """What the log says of a version: its ticks, and what became of its predictions.

    ``unknown``: labels that name no class of the model; None: there are none.
    """

    ticks: tuple[DriftReport, ...]
    outcomes: tuple[Outcome, ...]
    diagnosis: str
    unknown: Unknown | None = None


@dataclass(frozen=True)
class _Seen:
    """The columns of a model that the log keeps as they are, and what they are compared with."""

    watched: Watched
    signature: Signature
    types: Mapping[str, pl.DataType]


def watch(
    version: ModelVersion,
    predictions: pl.DataFrame,
    feedback: pl.DataFrame,
    plan: Plan,
    by: str = "",
    ledger: Ledger | None = None,
) -> Watch:
    """Compare what a version answered with what it was judged on.

    Args:
        version: of the model; its bundle holds the reference.
        predictions: rows of the prediction log of its pipeline.
        feedback: rows of its feedback log.
        plan: how ticks are cut, and the budget of false alarms.
        by: a request field to tell outcomes by as well; empty: none.
        ledger: knows what else changed when a drift began; None: nothing is said of that.

    Raises:
        RegistryError: the version keeps no reference.
    """
    seen, pipeline = _seen(version), bundle.pipeline(Path(version.folder))
    mine = predictions.filter((pl.col("version") == version.version) & pl.col("score").is_not_null()).sort("at")
    weights = importance(Path(version.folder), seen.watched.names[:-1])
    usual = season(bundle.hours(Path(version.folder), seen.watched), seen.watched, plan)
    at = mine["at"].cast(pl.Int64).to_numpy()
    monitor = Monitor(
        version.name,
        version.version,
        seen.watched,
        plan,
        importance=weights,
        seasonal=usual,
        at=int(at[0]) if len(at) else 0,
    )
    ticks = []
    for start, end in _cuts(at, plan):
        monitor.add(_counts(seen, mine[start:end]), hours=hours_of(at[start:end]))
        ticks.append(monitor.close(int(at[end - 1])))
    said = _why(version, ticks[-1], mine, feedback, ledger) if ticks and ticks[-1].alarms else ""
    measure = Measure.of(version)
    return Watch(
        ticks=tuple(ticks),
        outcomes=tuple(outcomes(predictions, feedback, pipeline, measure, [by] if by else [])),
        diagnosis=said,
        unknown=unknown(mine, feedback, measure.target.classes),
    )


def _why(
    version: ModelVersion,
    newest: DriftReport,
    rows: pl.DataFrame,
    feedback: pl.DataFrame,
    ledger: Ledger | None,
) -> str:
    """One paragraph on the alarms that are open at the newest tick."""
    changes = [] if ledger is None else list(upstream(ledger, version.name, newest.onset, newest.at))
    told = feedback.select(ID, *TOLD)
    mine = rows.select(ID, "at", "score", "category", "features")
    return explained(Known.of(version), newest, mine, told, newest.onset, changes).text


def _seen(version: ModelVersion) -> _Seen:
    folder, where = Path(version.folder), f"{version.name}/{version.version}"
    reference = bundle.bins(folder)
    if reference is None:
        cure = "Train it again: `raypipe run` keeps one with each model"
        raise RegistryError("has no reference to be compared with", where=where, cure=cure)
    pipeline, signature = bundle.pipeline(folder), bundle.signature(folder)
    log = pipeline.log
    # What is not kept, or only as a hash, cannot be compared.
    kept = [
        c.name
        for c in signature.columns
        if (log.features is None or c.name in log.features) and c.name not in log.hashed
    ]
    part = Reference(
        rows=reference.rows,
        features=tuple(column for column in reference.features if column.name in kept),
        prediction=reference.prediction,
    )
    golden = bundle.golden(folder).schema
    columns = tuple(column for column in signature.columns if column.name in kept)
    watched, types = Watched.of(part, of_clock(pipeline)), {name: golden[name] for name in kept}
    return _Seen(watched, structs.replace(signature, columns=columns), types)


def _counts(seen: _Seen, rows: pl.DataFrame) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    frame = opened(rows, "features", seen.types)
    classes = list(seen.watched.vocabularies[-1])
    # Of classes the code of the one that was answered is counted, as replicas do.
    codes = pl.col("category").replace_strict(classes, range(1, len(classes) + 1), default=0)
    answers = frame.select((codes if classes else pl.col("score")).cast(pl.Float32)).to_series()
    return seen.watched.count(seen.signature, frame, answers.to_numpy())


def _cuts(at: np.ndarray[tuple[int], np.dtype[np.int64]], plan: Plan) -> Iterator[tuple[int, int]]:
    """Ticks: so many rows, or so long a time if it holds enough of them; what is left at the end waits for more."""
    start = 0
    while start < len(at):
        late = int(np.searchsorted(at, at[start] + plan.span, side="left"))
        most = len(at) if plan.rows is None else plan.rows
        end = min(start + most, max(late, start + plan.least))
        if end > len(at) or (end == len(at) and late >= len(at) and end - start < most):
            return
        yield start, end
        start = end
