"""``raypipe gates``: what the last gate found, since when, with examples; also as a page."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from raypipe.cli.definition import read
from raypipe.cli.output import AsJson, Output
from raypipe.clock import iso
from raypipe.errors import WorkspaceError

if TYPE_CHECKING:
    from raypipe.flows.judgements import Finding, Judgement

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
section{border-top:1px solid #ccc;margin-top:1.5em}pre{background:#f4f4f4;padding:.6em;overflow-x:auto}
svg{background:#f4f4f4}rect{fill:#b3261e}small{color:#666}"""


def gates(
    pipeline: Annotated[
        str, typer.Argument(metavar="FILE|NAME", help="A pipeline file, or the pipeline's name.", show_default=False)
    ],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", show_default=False, help="Write it as a page too.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Show what the last gate of a pipeline found: which checks, since when, with examples."""
    name = read(Path(pipeline)).name if pipeline.endswith(".py") else pipeline
    from raypipe.flows.judgements import last_judgement
    from raypipe.settings import load_settings
    from raypipe.wiring import open_ledger, require_workspace

    out, settings = Output(json), load_settings()
    require_workspace(settings)
    ledger = open_ledger(settings)
    try:
        found = last_judgement(ledger, name)
    finally:
        ledger.close()
    out.say(Text(headline(found), "bold"), *(Text(line) for finding in found.findings for line in sentences(finding)))
    if html is not None:
        write_page(found, html)
        out.say(Text(f"Written to {html}", "dim"))
    out.result(document(found))


def headline(found: "Judgement") -> str:
    """One line on the whole report."""
    why = f" ({found.report.bypassed})" if found.report.bypassed else ""
    checks = f"{len(found.findings)} of {len(found.report.results)} checks found something"
    return (
        f"{found.report.pipeline}: {found.outcome}{why} at {iso(found.at)}, as of {iso(found.report.as_of)}; {checks}"
    )


def sentences(finding: "Finding") -> list[str]:
    """A finding for people, with its examples."""
    result = finding.result
    head = f"  {result.table}: {result.check} [{result.action}]: {result.detail} ({result.where})"
    return [head, f"    since {iso(finding.since)}", *(f"    {row}" for row in result.sample)]


def document(found: "Judgement") -> dict[str, object]:
    """A report as ``raypipe gates --json`` prints it."""
    return {
        "pipeline": found.report.pipeline,
        "outcome": found.outcome,
        "reason": found.report.bypassed,
        "at": iso(found.at),
        "as_of": iso(found.report.as_of),
        "checks": len(found.report.results),
        "findings": [{"since": iso(one.since), "shares": one.shares, "result": one.result} for one in found.findings],
    }


def write_page(found: "Judgement", file: Path) -> None:
    """The report as one HTML file that needs no other.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    title = escape(headline(found))
    body = "".join(_section(finding) for finding in found.findings) or "<p>Every check passed.</p>"
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
    try:
        file.write_text(f"{head}<h1>{title}</h1>{body}</html>\n", encoding="utf-8")
    except OSError as error:
        raise WorkspaceError(f"cannot be written: {error.strerror}", where=str(file)) from None


def _section(finding: "Finding") -> str:
    result = finding.result
    bars = "".join(
        f'<rect x="{8 * place}" y="{40 - 40 * share:.1f}" width="6" height="{40 * share:.1f}"/>'
        for place, share in enumerate(finding.shares)
    )
    plot = f'<svg width="{8 * len(finding.shares)}" height="40">{bars}</svg>'
    rows = "\n".join(result.sample)
    return (
        f"<section><h2>{escape(result.table)}: {escape(result.check)}</h2>"
        f"<p>{escape(result.detail)}<br><small>{result.action}, {escape(result.where)}, since {iso(finding.since)}"
        f"</small></p>{plot}<br><small>share of rows that failed in the last {len(finding.shares)} reports</small>"
        + (f"<pre>{escape(rows)}</pre>" if rows else "")
        + "</section>"
    )
