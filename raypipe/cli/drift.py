"""``raypipe drift``: has the world moved away from what a model was judged on, and what became of its answers?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from raypipe.cli.kept import Name, kept, require_known
from raypipe.cli.life import moment_of
from raypipe.cli.output import AsJson, Output
from raypipe.clock import to_second
from raypipe.errors import RaypipeError, RegistryError, SettingsError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raypipe.contracts.records import ModelVersion
    from raypipe.contracts.watching import ColumnDrift, DriftReport
    from raypipe.flows.figures import Outcome
    from raypipe.flows.watch import Watch

Since = Annotated[
    str | None, typer.Option("--since", metavar="DATE", show_default=False, help="Only predictions from then on (UTC).")
]
LEAST_ROWS = 50
Rows = Annotated[int, typer.Option("--rows", metavar="N", min=LEAST_ROWS, help="Predictions in a tick.")]
Budget = Annotated[float, typer.Option("--budget", metavar="TICKS", min=2, help="Ticks between two false alarms.")]
By = Annotated[str, typer.Option("--by", metavar="FIELD", help="Tell outcomes by this request field too.")]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", show_default=False, help="Write a page with pictures.")
]


def drift(
    name: Name,
    since: Since = None,
    rows: Rows = 1_000,
    budget: Budget = 2_160,
    by: By = "",
    html: Html = None,
    json: AsJson = False,
) -> None:
    """Compare what the champion answered with what it was judged on, column by column.

    One budget of false alarms covers all columns and windows. Below stands what became of its predictions, by version
    and arm, as far as feedback came.

    Works from the prediction log alone, so nothing needs to run.
    """
    moment = moment_of(since, "--since")
    out = Output(json)
    with kept() as history:
        require_known(history.registry, name)
        version = history.registry.champion(name)
        if version is None:
            raise RegistryError("has no champion", where=name, cure="Run `raypipe run` first")
        import polars as pl

        from raypipe.cli.logs import read_log
        from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
        from raypipe.flows.watch import watch
        from raypipe.monitoring import Plan
        from raypipe.settings import load_settings

        plan = Plan(budget, load_settings().drift_material, rows=rows, least=min(200, rows))
        _require_field(by, version)
        predictions, feedback = read_log(PREDICTIONS, name, moment), read_log(FEEDBACK, name)
        found = watch(version, predictions, feedback, plan, by, history.ledger)
    if not predictions.height:
        raise RaypipeError("nothing is in its prediction log", where=name, cure="Ask it something first")
    answered = predictions.filter((pl.col("version") == version.version) & pl.col("score").is_not_null()).height
    say(found, answered, rows, out)
    if html is not None:
        from raypipe.cli.drift_page import write

        write(found, html, f"{name}/{version.version}", waiting(answered, rows))
        out.say(f"{html} shows it.")
    out.result(found)


def _require_field(by: str, version: "ModelVersion") -> None:
    """Whatever no request can hold would be missing in all of them."""
    from raypipe.contracts import bundle

    fields = bundle.pipeline(Path(version.folder)).request.fields
    if by and by not in fields:
        raise SettingsError(
            f"`{by}` is no request field of {version.name}", where="--by", cure=did_you_mean(by, fields)
        )


def say(found: "Watch", predictions: int, rows: int, out: Output) -> None:
    """The newest tick, or how many of its ``rows`` are there, and the outcomes."""
    if found.ticks:
        newest = found.ticks[-1]
        out.say(_head(newest, len(found.ticks)))
        out.say(_columns(newest))
        out.say(Text(MEANING, "dim"))
    else:
        out.say(waiting(predictions, rows))
    if found.diagnosis:
        out.say(found.diagnosis)
    out.say(_outcomes(found))
    if found.unknown is not None:
        out.say(Text(found.unknown.words, "yellow"))
    if unlabelled(found.outcomes):
        out.say(Text(UNLABELLED, "dim"))


#: Why nothing is said of losses and errors.
UNLABELLED = "Nobody has told yet what came true of them (`POST /NAME/feedback`): loss and errors stay empty till then."


def unlabelled(outcomes: "Sequence[Outcome]") -> bool:
    """Whether there are answers, and no label of any."""
    return bool(outcomes) and not any(one.labelled for one in outcomes)


def waiting(predictions: int, rows: int) -> str:
    """What to say while there is no tick: how many of its ``rows`` are there, and what makes one of them."""
    least = f"{LEAST_ROWS} is the least that `--rows` takes"
    smaller = f"`--rows {predictions}` makes one of them" if predictions >= LEAST_ROWS else least
    return f"{predictions:,} of the {rows:,} predictions of a tick are in the log; {smaller}."


def _head(report: "DriftReport", ticks: int) -> Text:
    alarms, breaks = len(report.alarms), len(report.breaks)
    what = f"{alarms} of {len(report.columns)} columns have an open alarm" if alarms else "no alarm"
    told = f"{report.pipeline}/{report.version}, tick {ticks} to {to_second(report.at)}: {what}"
    told += f"; {breaks} look broken" if breaks else ""
    return Text.assemble((told, "bold"), f"  (one false alarm in {report.budget:,.0f} ticks)")


#: What they are.
MEANING = (
    "excess: how sure it is that the column has moved, 1 is an alarm. distance: the share of its values that moved. "
    "ticks: over how many. PSI, JS, W1/sd: the same as others measure it. median: before and now."
)
HEADS = ("column", "alarm", "excess", "distance", "ticks", "PSI", "JS", "W1/sd", "median")


def _columns(report: "DriftReport", shown: int = 12) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="left" if head in ("column", "alarm", "median") else "right")
    for one in report.columns[:shown]:
        table.add_row(*row_of(one))
    return table


def row_of(one: "ColumnDrift") -> tuple[str, ...]:
    """A column in words, below `HEADS`."""
    alarm = "" if one.open_for is None else "raised" if one.open_for == 0 else f"for {one.open_for} ticks"
    alarm = "the clock" if one.clock else alarm
    median = "" if one.median_before is None else f"{one.median_before:.4g}"
    median += "" if one.median_after is None else f" to {one.median_after:.4g}"
    what = one.column if one.stream == "values" else f"{one.column} ({one.stream})"
    figures = (f"{one.psi:.3f}", f"{one.jensen_shannon:.3f}", f"{one.wasserstein:.2f}")
    return what, alarm, f"{one.excess:.2f}", f"{one.distance:.3f}", str(one.ticks), *figures, median


def _outcomes(found: "Watch") -> Table:
    table = Table(box=None, pad_edge=False)
    heads, *rows = outcome_rows(found.outcomes)
    for head in heads:
        table.add_column(head, justify="left" if head == "who" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def outcome_rows(outcomes: "Sequence[Outcome]") -> list[tuple[str, ...]]:
    """What became of the answers, in words: the heads of the columns, then one row for each who."""
    figures = sorted({name for outcome in outcomes for name in (*outcome.outcomes, *outcome.value)})
    rows = [("who", "predictions", "labelled", "loss", "errors", "p50 ms", "p99 ms", *figures)]
    for one in outcomes:
        loss = "" if one.loss is None else f"{one.loss:.4f}"
        error = "" if one.error is None else f"{one.error[0]:.1%} ({one.error[1]:.1%} to {one.error[2]:.1%})"
        told = [_figure(one, name) for name in figures]
        speed = (f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}")
        rows.append((one.who, f"{one.predictions:,}", f"{one.labelled:,}", loss, error, *speed, *told))
    return rows


def _figure(one: "Outcome", name: str) -> str:
    """A declared figure with its interval, or one that was told."""
    if name in one.value:
        value, low, high = one.value[name]
        return f"{value:.4g} ({low:.4g} to {high:.4g})"
    return f"{one.outcomes[name]:.4g}" if name in one.outcomes else ""
