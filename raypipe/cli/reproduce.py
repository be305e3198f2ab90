"""``raypipe reproduce``: make a model version again from its record, and say whether it is the same."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer
from rich.text import Text

from raypipe.cli.kept import VersionName, kept, split
from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import watch

if TYPE_CHECKING:
    from raypipe.contracts.reproduction import Compared, Reproduction

DIFFERENT = 1


def reproduce(version: VersionName, json: AsJson = False) -> None:
    """Make a version again from its record alone, and say `identical`, or what differs first.

    The training set is rebuilt from the snapshots that the record names, the model is fitted with the same parameters
    and seed, and digests, scores and metrics are compared to the last bit. Nothing is kept, no service is needed. The
    exit code is not 0 when anything differs.
    """
    out = Output(json)
    name, number = split(version)
    with kept() as found:
        record = found.registry.get(name, number)
    progress = watch(out.console)
    # Seconds of imports: a version that is not there is told before them.
    with progress.step("Load the libraries"):
        from raypipe.flows.reproduce import reproduce as make_again
        from raypipe.wiring import connect

        platform = connect()
    try:
        with progress.stage("reproduce"):
            made = make_again(platform, record, Path.cwd(), progress)
    finally:
        platform.ledger.close()
    if not json:
        out.say(*_lines(made))
    out.result(msgspec.to_builtins(made) | {"identical": made.identical})
    if not made.identical:
        raise typer.Exit(DIFFERENT)


def _lines(made: "Reproduction") -> list[Text]:
    changed = [around for around in made.surroundings if not around.same]
    lines = [_line(result) for result in made.results]
    lines += [Text(f"  {around.what} then: {around.recorded}; now: {around.found}", "dim") for around in changed]
    if made.identical:
        return [*lines, Text.assemble(("identical", "bold green"), f": {made.version}")]
    first = next(result for result in made.results if not result.same)
    where = Text.assemble(("different", "bold red"), f": {made.version}, first in its {first.what}")
    return [*lines, where.append(_reason(made))]


def _reason(made: "Reproduction") -> str:
    if made.because == "unknown":
        return ". Code, dependencies and hardware are those of the record, as far as it tells."
    return f". It comes from the {made.because}, as far as the record tells."


def _line(result: "Compared") -> Text:
    if result.same:
        return Text.assemble(("✓", "green"), f" {result.what:<26}", (_short(result.found), "dim"))
    return Text.assemble(
        ("✗", "red"), f" {result.what:<26}", f"was {_short(result.recorded)}, is {_short(result.found)}"
    )


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:12]}…"
