"""``raypipe audit parity``: did serving see what training would have seen?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from raypipe.cli.definition import read
from raypipe.cli.kept import kept, require_known
from raypipe.cli.output import Output
from raypipe.cli.progress import watch
from raypipe.clock import iso
from raypipe.errors import SettingsError

if TYPE_CHECKING:
    from raypipe.contracts.parity import FeatureParity, Mismatch, Parity
    from raypipe.flows import Platform
    from raypipe.flows.parity import Logged
    from raypipe.spec import Pipeline

DIFFERENT = 1
#: So many mismatches of a feature are shown; `--json` has all.
SHOWN = 5

Log = Annotated[
    Path | None,
    typer.Option(
        "--log",
        metavar="FILE",
        show_default=False,
        help="A Parquet file of requests instead of the prediction log: request fields, `at`, the features as used.",
    ),
]
Last = Annotated[int, typer.Option("--last", metavar="N", min=1, help="How many of the last predictions, at most.")]


def parity(pipeline: str | None, log: Path | None, last: int, *, json: bool) -> None:
    """What ``raypipe audit parity`` does.

    Raises:
        SettingsError: no pipeline is named, or a file is to be replayed without a definition.
        RegistryError: there is no model of this name.
    """
    if pipeline is None:
        raise SettingsError("no pipeline is named", where="audit parity", cure="Add a pipeline file, or its name")
    definition = read(Path(pipeline)) if pipeline.endswith(".py") else None
    name = pipeline if definition is None else definition.name
    if log is not None and definition is None:
        cure = "Give the pipeline's file instead of its name"
        raise SettingsError("needs a definition to replay by", where="--log", cure=cure)
    if log is None:
        with kept() as found:
            require_known(found.registry, name)
    from raypipe.flows.parity import parity as replay
    from raypipe.wiring import connect

    out = Output(json)
    platform = connect()
    try:
        logs = logs_of(platform, name, definition, log, last)
        compared = replay(platform, watch(out.console), name=name, logs=logs, at_most=None if json else SHOWN)
    finally:
        platform.ledger.close()
    if not json:
        _show(compared, out)
    out.result({"equal": compared.equal, "parity": compared})
    if not compared.equal:
        raise typer.Exit(DIFFERENT)


def logs_of(
    platform: "Platform", name: str, definition: "Pipeline | None", log: Path | None, last: int
) -> list["Logged"]:
    """The last rows of a file, or of the prediction log."""
    from raypipe.contracts.logs import PREDICTIONS
    from raypipe.flows.collect import logged
    from raypipe.flows.parity import from_file, from_lake

    if log is not None and definition is not None:
        return [from_file(log, definition, last)]
    rows = logged(platform.lake, platform.workspace, platform.clock, PREDICTIONS, name, since=None, until=None)
    return list(from_lake(rows.collect().tail(last), platform.registry.versions(name)))


def _show(found: "Parity", out: Output) -> None:
    for reason, rows in found.left_out.items():
        out.say(f"{rows:,} requests left out: {reason}.")
    if found.not_logged:
        out.say(f"Not in the log: {', '.join(found.not_logged)}.")
    if found.features:
        out.say(_table(found))
    for one in found.features:
        _show_mismatches(one, [case for case in found.mismatches if case.feature == one.feature], out)
    wrong = [one.feature for one in found.features if one.differ_then]
    if not any(one.compared for one in found.features):
        why = "no value that serving used is in the log" if found.rows else "no request could be replayed"
        out.say(Text.assemble(("nothing compared", "bold red"), f": {why}"))
    elif wrong:
        say = f": {found.rows:,} requests replayed; serving used other values of {', '.join(wrong)}"
        out.say(Text.assemble(("different", "bold red"), say))
    else:
        out.say(Text.assemble(("equal", "bold green"), f": {found.rows:,} requests, as known then"))


def _show_mismatches(found: "FeatureParity", cases: "list[Mismatch]", out: Output) -> None:
    for one in cases[:SHOWN]:
        key = ", ".join(f"{field}={value}" for field, value in one.key.items())
        where = f"{one.feature} of {key or 'a request'} at {iso(one.at)}"
        out.say(Text.assemble(("✗ ", "red"), f"{where}: serving used {one.online}, history gives {one.offline}"))
    if (more := found.differ_then - len(cases[:SHOWN])) > 0:
        out.say(f"  … and {more:,} more of {found.feature}: `--json` has all.")


def _table(found: "Parity") -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("feature", "compared", "differ as known then", "differ as known now"):
        table.add_column(heading, justify="left" if heading == "feature" else "right", no_wrap=True)
    for one in found.features:
        counts = (f"{number:,}" for number in (one.compared, one.differ_then, one.differ_now))
        table.add_row(one.feature, *counts, style="bold red" if one.differ_then else "")
    return table
