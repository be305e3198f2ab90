"""What gates said, read back from the ledger: what fails now, and since when."""

from dataclasses import dataclass

from raypipe.contracts.records import CheckResult, GateReport
from raypipe.errors import GateError
from raypipe.ledger import Entry, Ledger

#: Kinds of rows that hold a report, with what became of the run.
OUTCOMES = {"stage.gate": "passed", "gate.passed": "passed", "gate.stopped": "stopped", "gate.bypassed": "bypassed"}
#: The gates of a run, in its order.
STAGES = ("ingest", "training", "promotion")
#: Of how many reports the shares are told.
REPORTS = 30


@dataclass(frozen=True)
class Finding:
    """A check that found something in the last report.

    Attributes:
        result: what it found.
        since: when it was first told, of those reports without a gap that tell of it; microseconds UTC.
        shares: the share of rows that failed in the last reports, oldest first.
        times: when those were written, microseconds UTC.
    """

    result: CheckResult
    since: int
    shares: tuple[float, ...]
    times: tuple[int, ...]


@dataclass(frozen=True)
class Judgement:
    """The last report of one gate of a pipeline.

    Attributes:
        report: what all checks found.
        at: when it was written, microseconds UTC.
        outcome: what became of the run: passed, stopped or bypassed.
        findings: checks that failed, or set rows aside.
        tolerated: checks that passed with failing rows, of which they allow some.
    """

    report: GateReport
    at: int
    outcome: str
    findings: tuple[Finding, ...]
    tolerated: tuple[Finding, ...]


def last_judgements(ledger: Ledger, pipeline: str) -> list[Judgement]:
    """The last report of each gate of a pipeline, in the order of a run, with its history.

    Raises:
        GateError: no gate of this pipeline has reported yet.
    """
    told = [
        (entry, GateReport.from_json(entry.body))
        for entry in ledger.entries(subject=pipeline)
        if entry.kind in OUTCOMES
    ]
    by_stage = {stage: [one for one in told if one[1].stage == stage] for stage in STAGES}
    if not told:
        raise GateError("no gate has reported yet", where=pipeline, cure="Run `raypipe run FILE --until gate`")
    return [_judgement(reports) for reports in by_stage.values() if reports]


def _judgement(told: list[tuple[Entry, GateReport]]) -> Judgement:
    last, report = told[-1]
    return Judgement(
        report=report,
        at=last.at,
        outcome="bypassed" if report.bypassed else OUTCOMES[last.kind],
        findings=tuple(_finding(result, told) for result in report.results if _found(result)),
        tolerated=tuple(_finding(result, told) for result in report.results if _tolerated(result)),
    )


def _finding(result: CheckResult, told: list[tuple[Entry, GateReport]]) -> Finding:
    since, history, ended = told[-1][0].at, [], False
    shown = _tolerated if _tolerated(result) else _found
    for entry, report in reversed(told):
        same = [one for one in report.results if (one.table, one.check) == (result.table, result.check)]
        ended = ended or not any(shown(one) for one in same)
        since = since if ended else entry.at
        history += [(one.share, entry.at) for one in same]
    shares, times = zip(*reversed(history[:REPORTS]), strict=True)
    return Finding(result, since, shares, times)


def _found(result: CheckResult) -> bool:
    return not result.passed or (result.action == "quarantine" and result.failed > 0)


def _tolerated(result: CheckResult) -> bool:
    return result.failed > 0 and not _found(result)
