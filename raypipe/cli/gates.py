"""``raypipe gates``: what the last gates found, since when, with examples and the likely cause; also as a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from raypipe.cli.definition import read
from raypipe.cli.output import AsJson, Output, save
from raypipe.clock import iso, to_second
from raypipe.words import amount

if TYPE_CHECKING:
    from raypipe.flows.judgements import Finding, Judgement


def gates(
    pipeline: Annotated[
        str, typer.Argument(metavar="FILE|NAME", help="A pipeline file, or the pipeline's name.", show_default=False)
    ],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", show_default=False, help="Write it as a page too.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Show what the last gates of a pipeline found: which checks, since when, with examples and the likely cause.

    There are three: before new rows are published, before training, and before promotion.
    """
    name = read(Path(pipeline)).name if pipeline.endswith(".py") else pipeline
    from raypipe.flows.judgements import last_judgements
    from raypipe.settings import load_settings
    from raypipe.wiring import open_ledger, require_workspace

    out, settings = Output(json), load_settings()
    require_workspace(settings)
    ledger = open_ledger(settings)
    try:
        found = last_judgements(ledger, name)
    finally:
        ledger.close()
    for one in found:
        told = [line for finding in one.findings for line in sentences(finding)]
        passed = [f"  {tolerated(finding)}" for finding in one.tolerated]
        out.say(Text(headline(one), "bold"), *map(Text, told), *(Text(line, "dim") for line in passed))
    if html is not None:
        from raypipe.flows.gate_page import page

        save(html, page(found))
        out.say(Text(f"Written to {html}", "dim"))
    out.result({"pipeline": name, "gates": [document(one) for one in found]})


def headline(found: "Judgement") -> str:
    """One line on the whole report."""
    report = found.report
    why = f" ({report.bypassed})" if report.bypassed else ""
    checks = f"{len(found.findings)} of {len(report.results)} checks found something"
    checks = checks if found.findings else f"all {amount(len(report.results), 'check')} passed"
    where = {"ingest": "before publishing", "training": "before training", "promotion": "before promotion"}.get(
        report.stage
    )
    when = f"at {to_second(found.at)}, as of {to_second(report.as_of)}"
    return f"{report.pipeline}, {where}: {found.outcome}{why} {when}; {checks}"


def sentences(finding: "Finding") -> list[str]:
    """A finding for people, with its examples."""
    result = finding.result
    head = f"  {result.table}: {result.check} [{result.action}]: {result.detail} ({result.where})"
    cause = [f"    likely cause: {result.cause}"] if result.cause else []
    return [head, f"    since {to_second(finding.since)}", *cause, *(f"    {row}" for row in result.sample)]


def tolerated(finding: "Finding") -> str:
    """A check that passed with failing rows, for people."""
    return f"{finding.result.table}: {finding.result.check} passed: {finding.result.detail}"


def document(found: "Judgement") -> dict[str, object]:
    """A report as ``raypipe gates --json`` prints it."""
    return {
        "gate": found.report.stage,
        "about": found.report.about,
        "outcome": found.outcome,
        "reason": found.report.bypassed,
        "at": iso(found.at),
        "as_of": iso(found.report.as_of),
        "checks": len(found.report.results),
        "findings": [_told(one) for one in found.findings],
        "tolerated": [_told(one) for one in found.tolerated],
    }


def _told(finding: "Finding") -> dict[str, object]:
    return {"since": iso(finding.since), "shares": finding.shares, "result": finding.result}
