"""``raypipe effect``: what a release has brought about."""

from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from raypipe.cli.kept import VersionName, kept, split
from raypipe.cli.output import AsJson, Output
from raypipe.clock import to_second
from raypipe.errors import RegistryError

Hours = Annotated[
    float, typer.Option("--period", metavar="HOURS", min=0.01, help="Taken together, where there are no units.")
]
_HOUR = 3_600_000_000
#: What the columns are.
MEANING = (
    "effect: with the release minus without it. p: how often chance alone would show as much. rests on: so many units, "
    "or dates on which nothing happened, by which it is judged."
)


def effect(version: VersionName, period: Hours = 24.0, json: AsJson = False) -> None:
    """Tell what a release has brought about: on the error, and on each business figure that the pipeline declares.

    A version that answered for a share of the units is compared with the champion, unit by unit, with what each did
    before (CUPED). One that was released for a segment is compared with all others, before and after; one that took
    over everything with the time before. These are judged by placebo dates, on which nothing happened.
    """
    from pathlib import Path

    from raypipe.cli.logs import read_log
    from raypipe.contracts import bundle
    from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
    from raypipe.flows.effect import effects, released
    from raypipe.flows.measure import Measure

    out = Output(json)
    name, number = split(version)
    with kept() as found:
        chosen = found.registry.get(name, number)
        release = released(found.ledger, chosen)
    where = f"{name}/{chosen.version}"
    if release is None:
        raise RegistryError("has never answered callers", where=where, cure=f"`raypipe release {where} 10%` lets it")
    pipeline = bundle.pipeline(Path(chosen.folder))
    logs = read_log(PREDICTIONS, name), read_log(FEEDBACK, name)
    measured = list(effects(*logs, pipeline, release, round(period * _HOUR), Measure.of(chosen)))
    segment = "".join(f", where {field} is {value}" for field, value in release.where)
    out.say(Text(f"{where} since {to_second(release.at)}: {release.share:.0%} of the units{segment}", "bold"))
    if not measured:
        least = f"or four periods of {period:g} hours before the release"
        out.say(f"Too little is known yet: it takes feedback, and units that either version has answered, {least}.")
    else:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for heading in ("figure", "effect", "likely range (95 %)", "p", "rests on", "how"):
            table.add_column(heading, justify="left" if heading in ("figure", "how") else "right")
        for one in measured:
            interval = f"{one.low:+.4g} to {one.high:+.4g}"
            table.add_row(one.figure, f"{one.estimate:+.4g}", interval, f"{one.p:.2g}", f"{one.rows:,}", one.method)
        out.say(table)
        out.say(Text(MEANING, "dim"))
    out.result({"release": release, "effects": measured})
