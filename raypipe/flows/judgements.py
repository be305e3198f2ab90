"""What gates said, read back from the ledger: what fails now, and since when."""

from dataclasses import dataclass
from typing import TypeAlias

from raypipe.contracts.records import CheckResult, GateReport
from raypipe.errors import RaypipeError, did_you_mean, nearest
from raypipe.ledger import Ledger

#: Kinds of rows that hold a report.
KINDS = frozenset(("stage.gate", "gate.passed", "gate.stopped", "gate.bypassed"))
#: The gates of a run, in its order.
STAGES = ("ingest", "training", "promotion")
#: Of how many reports the shares are told.
REPORTS = 30
#: When a report was written, microseconds UTC, and the report.
Told: TypeAlias = tuple[int, GateReport]


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
        RaypipeError: no gate of this pipeline has reported yet, or there is none of this name.
    """
    told = _told(ledger, pipeline)
    if not told:
        raise _nothing(ledger, pipeline)
    by_stage = {stage: [one for one in told if one[1].stage == stage] for stage in STAGES}
    return [_judgement(reports) for reports in by_stage.values() if reports]


def _nothing(ledger: Ledger, pipeline: str) -> RaypipeError:
    judged = {name for kind in KINDS for name in ledger.subjects(kind)}
    what, near = "no gate of this pipeline has reported yet", nearest(pipeline, judged)
    # One that has done something, such as taking rows in, is no wrong name.
    if near is None and judged and not ledger.entries(subject=pipeline):
        what = "no gate has judged a pipeline of this name"
        return RaypipeError(what, where=pipeline, cure=did_you_mean(pipeline, judged))
    cure = f"Did you mean `{near}`?" if near else "Run `raypipe run FILE --until gate`"
    return RaypipeError(what, where=pipeline, cure=cure)


def judgement(ledger: Ledger, report: GateReport, now: int) -> Judgement:
    """A report that has just been made, with the history of its gate; ``now`` in microseconds UTC."""
    text = report.to_json()
    told = [one for one in _told(ledger, report.pipeline) if one[1].stage == report.stage and one[1].to_json() != text]
    return _judgement([*told, (now, report)])


def _told(ledger: Ledger, pipeline: str) -> list[Told]:
    entries = [entry for entry in ledger.entries(subject=pipeline) if entry.kind in KINDS]
    return [(entry.at, GateReport.from_json(entry.body)) for entry in entries]


def _judgement(told: list[Told]) -> Judgement:
    at, report = told[-1]
    return Judgement(
        report=report,
        at=at,
        outcome="bypassed" if report.bypassed else "passed" if report.passed else "stopped",
        findings=tuple(_finding(result, told) for result in report.results if _found(result)),
        tolerated=tuple(_finding(result, told) for result in report.results if _tolerated(result)),
    )


def _finding(result: CheckResult, told: list[Told]) -> Finding:
    since, history, ended = told[-1][0], [], False
    shown = _tolerated if _tolerated(result) else _found
    for at, report in reversed(told):
        same = [one for one in report.results if (one.table, one.check) == (result.table, result.check)]
        ended = ended or not any(shown(one) for one in same)
        since = since if ended else at
        history += [(one.share, at) for one in same]
    shares, times = zip(*reversed(history[:REPORTS]), strict=True)
    return Finding(result, since, shares, times)


def _found(result: CheckResult) -> bool:
    return not result.passed or (result.action == "quarantine" and result.failed > 0)


def _tolerated(result: CheckResult) -> bool:
    return result.failed > 0 and not _found(result)
