"""``raypipe watch``: let a pipeline be watched from now on, and show what the watcher sees."""

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from raypipe.cli.kept import Name
from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import watch as progress_of
from raypipe.clock import SystemClock, to_second
from raypipe.errors import ServingError

if TYPE_CHECKING:
    from raypipe.contracts.watching import DriftReport
    from raypipe.flows.watching.start import FirstTick, Seen

Once = Annotated[bool, typer.Option("--once", help="Look once, here, and end: for a cron line, without a cluster.")]
Stop = Annotated[bool, typer.Option("--stop", help="Watch no more. What it knows is kept.")]
_ANSWER_SECONDS = 60.0


def watch(name: Name, once: Once = False, stop: Stop = False, json: AsJson = False) -> None:
    """Let an actor of the cluster watch a pipeline: drift, labels, latency, failures and cost, alarms, and its policy.

    It comes back by itself when it dies, and nothing is lost or counted twice. Run again, it says what is seen now.
    Settings: `tick_seconds`, `tick_rows`, `false_alarm_days`, `alerts`, `cpu_price`.
    """
    from raypipe.cli.kept import kept

    with kept() as found:
        found.registry.get(name, "champion")  # told before a cluster is started for it
    out = Output(json)
    seen = _once(name) if once else _on_cluster(name, out, stop=stop)
    _show(seen, out)
    out.result(seen)


def _once(name: str) -> "Seen":
    from raypipe.flows.collect import collect
    from raypipe.flows.watching.actor import Round
    from raypipe.wiring import connect

    platform = connect()
    try:
        # A watcher commits nothing; where there is no cluster nobody else does.
        collect(platform.lake, platform.workspace, platform.clock, name)
        round_ = Round(platform, name)
        round_.go()
        round_.close()
        return round_.seen(watching=False)
    finally:
        platform.ledger.close()


def _on_cluster(name: str, out: Output, *, stop: bool) -> "Seen":
    from raypipe.cli.opened import opened
    from raypipe.flows.swap import served
    from raypipe.flows.watching.start import Seen, seen_by, start_watch, stop_watch

    with opened(progress_of(out.console), f"raypipe: watch {name}") as platform:
        if stop:
            stop_watch(name)
            return Seen(pipeline=name, watching=False, versions=(), untold=0)
        with suppress(ServingError):
            if not served(platform, name):
                out.say(Text(f"{name} is not in service now: `raypipe up` brings back what was.", "yellow"))
        return seen_by(start_watch(platform, name), _ANSWER_SECONDS)


def _show(seen: "Seen", out: Output) -> None:
    state = "is watched" if seen.watching else "is not being watched now"
    out.say(Text(f"{seen.pipeline} {state}.", "bold"))
    for report in seen.versions:
        out.say(f"  {_line(report)}")
    if seen.watching and seen.first is not None:
        out.say(f"  {_first(seen.first, SystemClock().now())}")
    if seen.trouble:
        out.say(Text(f"  Its last look failed: {seen.trouble}. It goes on; `ray logs` has the whole of it.", "red"))
    if seen.untold:
        out.say(Text(f"  {seen.untold} alarms could not be told yet; they are tried again every minute.", "red"))
    for why in seen.unreached:
        out.say(Text(f"    {why}", "red"))


def _first(tick: "FirstTick", now: int) -> str:
    """How far the first tick is: after `tick_seconds`, with `tick_rows`."""
    if tick.at is None:
        from raypipe.spec import in_words

        span = in_words(timedelta(microseconds=tick.span))
        return (
            f"No tick is over yet: the first is {span} after the first question, with {tick.least:,} questions or more."
        )
    when = f"at {to_second(tick.at)} or later, " if tick.at > now else ""
    return f"No tick is over yet: the first is {when}with {tick.least:,} questions; {tick.rows:,} were asked."


def _line(report: "DriftReport") -> str:
    names = ", ".join(column.column for column in report.alarms[:4])
    alarms = f"open alarms: {names}" if names else "no open alarm"
    broken = f"; looks broken: {report.breaks[0]}" if report.breaks else ""
    where = f"{report.pipeline}/{report.version}"
    return f"{where}: tick {report.tick} to {to_second(report.at)}, {report.rows:,} predictions, {alarms}{broken}"
