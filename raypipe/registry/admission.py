"""Whether a version may be promoted: the gate that its definition declares has passed it, or somebody gave a reason."""

from hashlib import sha256
from pathlib import Path

from msgspec import structs

from raypipe.contracts import bundle
from raypipe.contracts.records import CheckResult, GateReport, ModelVersion
from raypipe.errors import GateError
from raypipe.ledger import Ledger

PROMOTION = "promotion"
PASSED, STOPPED, BYPASSED = "gate.passed", "gate.stopped", "gate.bypassed"


def admit(ledger: Ledger, version: ModelVersion, bypass: str = "") -> None:
    """Do nothing when a version may be promoted.

    Args:
        ledger: tells what the gate said of it.
        version: to be promoted.
        bypass: why to promote it although its gate is closed; the ledger keeps it.

    Raises:
        GateError: its gate is closed, or has not judged it though its definition asks for that.
    """
    report = last_report(ledger, version)
    if report is None and not bundle.pipeline(Path(version.folder)).before_promotion:
        return
    if report is not None and (report.passed or report.bypassed):
        return
    if bypass:
        _write_down(ledger, version, report, bypass)
        return
    where = f"{version.name}/{version.version}"
    if report is None:
        cure = "Run its pipeline again, or promote it with `--bypass-gate REASON`"
        raise GateError("its gate before promotion has not judged it", where=where, cure=cure)
    failed = "; ".join(f"{result.check}: {result.detail}" for result in report.stopping)
    cure = "Train a better one, or promote it with `--bypass-gate REASON`"
    raise GateError(f"its gate before promotion is closed: {failed}", where=where, cure=cure, checks=report.stopping)


def last_report(ledger: Ledger, version: ModelVersion) -> GateReport | None:
    """What the gate before promotion said last of exactly these files; None: nothing."""
    for entry in reversed(ledger.entries(subject=version.name)):
        if entry.kind in (PASSED, STOPPED, BYPASSED):
            report = GateReport.from_json(entry.body)
            if (report.stage, report.about) == (PROMOTION, version.digest):
                return report
    return None


def _write_down(ledger: Ledger, version: ModelVersion, report: GateReport | None, reason: str) -> None:
    unjudged = CheckResult(
        table="answers", check="judged", columns=(), passed=False, rows=0, failed=0, detail="was not judged", where=""
    )
    report = report or GateReport(
        pipeline=version.name,
        as_of=version.lineage.as_of,
        snapshots=(),
        results=(unjudged,),
        stage=PROMOTION,
        about=version.digest,
    )
    text = structs.replace(report, bypassed=reason).to_json()
    ledger.append(f"{BYPASSED}:{sha256(text.encode()).hexdigest()[:32]}", BYPASSED, version.name, text)
