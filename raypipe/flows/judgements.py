"""What gates said, read back from the ledger: what fails now, and since when."""

from dataclasses import dataclass

from raypipe.contracts.records import CheckResult, GateReport
from raypipe.errors import GateError
from raypipe.ledger import Entry, Ledger

#: Kinds of rows that hold a report, with what became of the run.
OUTCOMES = {"stage.gate": "passed", "gate.stopped": "stopped", "gate.bypassed": "bypassed"}


@dataclass(frozen=True)
class Finding:
    """A check that found something in the last report.

    Attributes:
        result: what it found.
        since: when it was first told, of those reports without a gap that tell of it; microseconds UTC.
        shares: the share of rows that failed in the last reports, oldest first.
    """

    result: CheckResult
    since: int
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Judgement:
    """The last report of a pipeline's gate: when it was written, what became of the run, and what it found."""

    report: GateReport
    at: int
    outcome: str
    findings: tuple[Finding, ...]


def last_judgement(ledger: Ledger, pipeline: str) -> Judgement:
    """The last report of a pipeline's gate, with its history.

    Raises:
        GateError: no gate of this pipeline has reported yet.
    """
    entries = [entry for entry in ledger.entries(subject=pipeline) if entry.kind in OUTCOMES]
    if not entries:
        raise GateError("no gate has reported yet", where=pipeline, cure="Run `raypipe run FILE --until gate`")
    told = [(entry, GateReport.from_json(entry.body)) for entry in entries]
    last, report = told[-1]
    outcome = "bypassed" if report.bypassed else OUTCOMES[last.kind]
    findings = tuple(_finding(result, told) for result in report.results if _found(result))
    return Judgement(report, last.at, outcome, findings)


def _finding(result: CheckResult, told: list[tuple[Entry, GateReport]]) -> Finding:
    since, shares, ended = told[-1][0].at, [], False
    for entry, report in reversed(told):
        same = [one for one in report.results if (one.table, one.check) == (result.table, result.check)]
        ended = ended or not any(_found(one) for one in same)
        since = since if ended else entry.at
        shares += [one.failed / one.rows if one.rows else float(not one.passed) for one in same]
    return Finding(result, since, tuple(reversed(shares[:30])))


def _found(result: CheckResult) -> bool:
    return not result.passed or (result.action == "quarantine" and result.failed > 0)
