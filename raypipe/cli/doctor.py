"""``raypipe doctor``: is the deployment well, and what to fix."""

import typer
from rich.table import Table
from rich.text import Text

from raypipe.cli.output import AsJson, Output
from raypipe.contracts.findings import Finding

STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def doctor(json: AsJson = False) -> None:
    """Look at every part that the settings name, and say what to fix; changes nothing.

    Exit code 1 when something does not work. Warnings are about what works, but should not be so.
    """
    from raypipe.flows.doctor import examine
    from raypipe.wiring import parts

    out = Output(json)
    found = examine(parts())
    faults = sum(finding.state == "fault" for finding in found)
    if not json:
        out.say(_table(found), _summary(found, faults))
    out.result(found)
    if faults:
        raise typer.Exit(1)


def _table(found: list[Finding]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for finding in found:
        table.add_row(finding.part, finding.check, Text(finding.state, STYLES[finding.state]), Text(finding.detail))
        if finding.cure:
            table.add_row("", "", "", Text(f"→ {finding.cure}", "cyan"))
    return table


def _summary(found: list[Finding], faults: int) -> Text:
    warnings = sum(finding.state == "warning" for finding in found)
    if not faults and not warnings:
        return Text(f"\nAll {len(found)} checks are well.", "green")
    return Text(f"\n{len(found)} checks: {faults} to fix, {warnings} to look at.", "bold")
