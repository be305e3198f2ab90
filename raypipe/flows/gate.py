"""Bad data stops here, or is set aside."""

import json
from collections.abc import Mapping
from functools import partial
from hashlib import sha256

from msgspec import structs

from raypipe import validation
from raypipe.contracts.faulty import Faulty
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import GateReport, Snapshot
from raypipe.features.reading import SPREAD_ROWS
from raypipe.flows.erase import GATES
from raypipe.flows.gate_page import page
from raypipe.flows.judgements import judgement
from raypipe.flows.platform import Platform
from raypipe.registry.admission import BYPASSED, PASSED, STOPPED
from raypipe.registry.reports import copy_report
from raypipe.spec import Pipeline
from raypipe.words import amount

#: The stage of the gate that new rows pass before anybody reads them.
INGEST = "ingest"


def gate(
    platform: Platform,
    progress: Progress,
    *,
    pipeline: Pipeline,
    snapshots: tuple[Snapshot, ...],
    as_of: int,
    bypass: str = "",
    quiet: bool = False,
) -> GateReport:
    """Check the tables as they came in; publish them, without what is to be set aside, when all is well.

    Args:
        platform: the workspace.
        progress: is told which table is under way.
        pipeline: declares the gates.
        snapshots: what came in.
        as_of: the run's moment, in microseconds UTC.
        bypass: why to go on although checks fail; the ledger keeps it with the report. Empty: do not.
        quiet: MLflow gets no copy of a report that all is well; for gates that are asked every minute.

    Returns:
        The report, with the snapshots that were published.

    Raises:
        GateError: a check failed that stops. The report is in the ledger, nothing was published or set aside.
    """
    before = [found for source in pipeline.sources if (found := platform.lake.published(source)) is not None]
    examined = validation.examine(
        pipeline,
        snapshots,
        platform.lake.frame,
        as_of,
        progress,
        before,
        since=platform.lake.changes,
        kept=platform.workspace / GATES,
        blocks=lambda one: partial(platform.lake.blocks, one) if one.rows >= SPREAD_ROWS else None,
    )
    report = settle(platform, examined.report, bypass, quiet=quiet)
    left = {faulty.snapshot.table: _set_aside(platform, pipeline, faulty, as_of) for faulty in examined.faulty}
    published = tuple(left.get(snapshot.table, snapshot) for snapshot in snapshots)
    platform.lake.publish(published)
    return structs.replace(report, snapshots=published)


def gate_line(report: GateReport) -> str:
    """What came of it, in one line."""
    failed = len(report.stopping)
    warned = sum(not result.passed for result in report.results) - failed
    passed = amount(len(report.results) - warned - failed, "check")
    line = f"{passed} passed on {amount(len(report.snapshots), 'table')}"
    line += f", {warned} warned" if warned else ""
    line += f", {failed} failed and bypassed: {report.bypassed}" if failed else ""
    return line + (f", {report.quarantined:,} rows set aside" if report.quarantined else "")


def settle(platform: Platform, report: GateReport, bypass: str, *, quiet: bool = False) -> GateReport:
    """Write down what a gate found; it opens when all is well, or when somebody gives a reason to go on.

    Args:
        platform: its ledger has the report, MLflow a copy.
        report: what the gate found.
        bypass: why to go on although it is closed; empty: do not.
        quiet: do not copy a report that all is well.

    Returns:
        The report, with the reason if it was needed.

    Raises:
        GateError: a check failed that stops.
    """
    if not report.passed:
        report = structs.replace(report, bypassed=bypass)
    kind = BYPASSED if report.bypassed else PASSED if report.passed else STOPPED
    # What passes at ingest is a stage of the run, which writes it down itself.
    if not (report.passed and report.stage == INGEST):
        text = report.to_json()
        platform.ledger.append(f"{kind}:{_digest(text)}", kind, report.pipeline, text)
    if not (quiet and report.passed):
        judged = judgement(platform.ledger, report, platform.clock.now())
        copy_report(platform.tracking_uri, report, judged.outcome, page([judged]))
    if kind == STOPPED:
        validation.require(report)
    return report


def _set_aside(platform: Platform, pipeline: Pipeline, faulty: Faulty, as_of: int) -> Snapshot:
    """The intent is written down first: no row leaves a table without the ledger saying so."""
    body: dict[str, str | int] = {"table": faulty.snapshot.table, "snapshot": faulty.snapshot.snapshot_id}
    write_set(platform, pipeline, faulty.name, body, faulty.counts)
    return platform.lake.set_aside(faulty, as_of)


def write_set(
    platform: Platform, pipeline: Pipeline, name: str, of: Mapping[str, str | int], counts: Mapping[str, int]
) -> None:
    """Write down that rows are set aside: under which name, of what, and how many by which check."""
    text = json.dumps({**of, "set": name, "rows": sum(counts.values()), "checks": dict(counts)}, sort_keys=True)
    platform.ledger.append(f"quarantine:{name}", "data.quarantined", pipeline.name, text)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
