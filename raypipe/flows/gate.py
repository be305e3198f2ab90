"""Bad data stops here."""

from hashlib import sha256

from raypipe import validation
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import GateReport, Snapshot
from raypipe.flows.platform import Platform
from raypipe.spec import Pipeline


def gate(
    platform: Platform, progress: Progress, *, pipeline: Pipeline, snapshots: tuple[Snapshot, ...], as_of: int
) -> GateReport:
    """Check the tables as they came in; publish them when all is well.

    Raises:
        GateError: a check failed. The report is in the ledger, and nothing was published.
    """
    report = validation.check(pipeline, snapshots, platform.lake.frame, as_of, progress)
    if not report.passed:
        text = report.to_json()
        platform.ledger.append(f"gate.stopped:{_digest(text)}", "gate.stopped", pipeline.name, text)
        validation.require(report)
    platform.lake.publish(snapshots)
    return report


def gate_line(report: GateReport) -> str:
    """What came of it, in one line."""
    return f"{len(report.results)} checks passed on {len(report.snapshots)} tables"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
