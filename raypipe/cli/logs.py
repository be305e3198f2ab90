"""``raypipe log``: what was answered lately, out of the lake."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from raypipe.cli.kept import Name, kept, require_known
from raypipe.cli.life import moment_of
from raypipe.cli.output import AsJson, Output
from raypipe.cli.rows import Rows
from raypipe.clock import iso
from raypipe.errors import WorkspaceError

if TYPE_CHECKING:
    import polars as pl

    from raypipe.contracts.logs import LogKind

Last = Annotated[int, typer.Option("--last", metavar="N", min=1, help="How many, at most.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="DATE", show_default=False, help="Only from this moment on (UTC unless it says)."),
]
Feedback = Annotated[bool, typer.Option("--feedback", help="What was told about predictions instead.")]

#: What stands on a row's own line in a narrow terminal; and what is cut there, being in JSON as a whole.
_FIRST = ("request_id", "row", "at", "score", "label", "number", "category", "version", "arm", "latency")
_CUT = frozenset({"request", "outcomes"})


def log(name: Name, last: Last = 20, since: Since = None, feedback: Feedback = False, json: AsJson = False) -> None:
    """Show the last predictions of a pipeline, with what was asked, what the model saw, and which version answered.

    What replicas have written down so far is taken into the lake first.
    """
    from raypipe.contracts.logs import FEEDBACK, PREDICTIONS

    out = Output(json)
    rows = read_log(FEEDBACK if feedback else PREDICTIONS, name, moment_of(since, "--since")).tail(last)
    if not rows.height:
        with kept() as found:
            require_known(found.registry, name)
    if not json:
        out.say(_table(rows) if rows.height else f"Nothing is in the log of {name}.")
    out.result([_shown(row) for row in rows.iter_rows(named=True)])


def read_log(kind: "LogKind", name: str, since: int | None = None) -> "pl.DataFrame":
    """A log of the workspace that the settings name.

    Raises:
        WorkspaceError: there is no such workspace yet.
    """
    from raypipe import telemetry
    from raypipe.clock import SystemClock
    from raypipe.flows.collect import logged
    from raypipe.lake import Lake
    from raypipe.settings import load_settings

    telemetry.turn_off()
    home = load_settings().home
    if not home.is_dir():
        cure = "Make a model with `raypipe run FILE`"
        raise WorkspaceError("no workspace is there yet", where=str(home), cure=cure)
    return logged(Lake(home / "lake"), home, SystemClock(), kind, name, since=since, until=None).collect()


def _shown(row: dict[str, object]) -> dict[str, object]:
    import msgspec
    import polars as pl

    shown: dict[str, object] = {}
    for column, content in row.items():
        if column in {"at", "watermark"}:
            shown[column] = iso(int(pl.Series([content], dtype=pl.Datetime("us", "UTC")).cast(pl.Int64)[0]))
        elif column in {"request", "features", "outcomes"} and content:
            shown[column] = msgspec.json.decode(str(content))
        else:
            shown[column] = content
    return shown


def _table(rows: "pl.DataFrame") -> Rows:
    # What is left is for people; JSON has all.
    hidden = {"unit", "answered", "digest", "watermark", "generation", "features"}
    if "place" in rows.columns and not rows["place"].any():
        hidden.add("place")
    # What was decided or told is in one of these, by what the model predicts.
    hidden.update(one for one in ("label", "number", "category") if one in rows.columns and rows[one].is_null().all())
    columns = [name for name in rows.columns if name not in hidden]
    # An id is copied: what was asked takes the room that is left.
    table = Rows(columns, first=_FIRST, folds=tuple(_CUT))
    for row in rows.select(columns).iter_rows(named=True):
        cells = ((name, _cell(name, content)) for name, content in row.items())
        table.add(*(Text(cell, no_wrap=True, overflow="ellipsis") if name in _CUT else cell for name, cell in cells))
    return table


def _cell(name: str, content: object) -> str:
    if content is None:
        return ""
    if name == "at":
        return str(content)[:19]
    if name == "latency":
        return f"{float(str(content)) / 1e3:.1f} ms"
    return f"{content:.4f}" if isinstance(content, float) else str(content)
