"""``raypipe release`` and ``experiment``: let a version answer for some, beside the champion, and see how it does."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from raypipe.cli.champions import Why, swapped
from raypipe.cli.kept import Kept, Name, VersionName, because, kept, person, require_known, split
from raypipe.cli.output import AsJson, Output
from raypipe.errors import RegistryError, ServingError, SettingsError

if TYPE_CHECKING:
    from raypipe.contracts.arms import Arm
    from raypipe.flows.experiment import Experiment

#: Microseconds after which a change of who answers is everywhere.
SETTLED = 10_000_000


def release(
    version: VersionName,
    share: Annotated[
        str, typer.Argument(metavar="SHARE", help="Of the units, such as 10%; 0% ends it.", show_default=False)
    ],
    why: Why,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Compute and log only; the answers stay the champion's.")
    ] = False,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", metavar="FIELD=VALUE", show_default=False, help="Only rows with this value; may be repeated."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Let a version answer for a share of the units, beside the champion: a challenger, or only in its shadow.

    A unit is what the pipeline names as `unit`, else each request. It stays with its version: to widen a share moves
    nobody between challengers, and nothing is lost by a restart. If a challenger cannot answer, the champion does.
    """
    wanted, reason = share_of(share), because(why)
    name, number = split(version)
    segment = segment_of(where or [])
    role = "shadow" if shadow else "challenger"
    with kept(writes=True) as found:
        if found.registry.champion(name) is None:
            raise RegistryError("has no champion to stand beside", where=name, cure="Promote a version first")
        chosen = found.registry.get(name, number)
        before = found.registry.arms(name).arms
        arms = _give(found, name, chosen.version, role, wanted, segment, reason)
        url = _serve(found, name, before, chosen.version, Output(json))
    out = Output(json)
    for line in ([Text(line_of(arm)) for arm in arms] or [Text("Only the champion answers now.")]) if not json else []:
        out.say(line)
    if url is None:
        out.say("It is not in service: only the registry says so; `raypipe deploy FILE` serves it.")
    out.result({"model": name, "url": url, "arms": [shown(arm) for arm in arms]})


def experiment(
    name: Name,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="FIELD",
            show_default=False,
            help="Judge each value of a request field, too; else of those that the pipeline is judged by.",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Show how the versions beside the champion do: units, errors by feedback, latency, failures.

    All figures hold however often one looks. They count from the last change of who answers.
    """
    from raypipe.cli.logs import read_log
    from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
    from raypipe.flows.experiment import experiment as compare
    from raypipe.flows.experiment import judged_by
    from raypipe.flows.measure import Measure

    out = Output(json)
    with kept() as found:
        require_known(found.registry, name)
        arms, champion = found.registry.arms(name), found.registry.champion(name)
    if not arms.arms:
        cure = f"Begin with `raypipe release {name}/VERSION 10%`"
        raise RegistryError("only the champion answers", where=name, cure=cure)
    # Replicas hear of a change a moment later.
    since = arms.changed + SETTLED
    found_rows = read_log(PREDICTIONS, name, since), read_log(FEEDBACK, name, since)
    told = compare(*found_rows, arms.arms, arms.salt, by or judged_by(champion), Measure.of(champion))
    if told.uneven:
        chance = f"by chance that is rarer than {told.spread_p:.2g} (p)"
        out.say(
            Text(f"The arms did not get the share of units that they should have; {chance}: trust no figure.", "red")
        )
    if not json:
        out.say(_table(told))
        out.say(Text(MEANING, "dim"))
        for one in told.arms:
            for fault in one.faults:
                out.say(Text(f"{one.arm}: {fault}", "red"))
    out.result(told)


#: What the columns are.
MEANING = (
    "against the champion: its error minus the champion's, below 0 is better; in brackets where the difference lies, "
    "19 times of 20 however often one looks; p: how often chance alone would show as much."
)


def _table(told: "Experiment") -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("arm", no_wrap=True)
    for heading in ("share", "units", "predictions", "labels", "error", "against the champion", "p99", "failed"):
        table.add_column(heading, justify="right")
    for one in told.arms:
        d = one.against
        against = "" if d is None else f"{d.estimate:+.4f} ({d.low:+.4f} to {d.high:+.4f}), p {d.p:.2g}"
        loss = "" if one.loss is None else f"{one.loss:.4f}"
        cells = (f"{one.share:.1%}", str(one.units), str(one.predictions), str(one.labelled), loss, against)
        answered = (f"{one.p99_ms:.1f} ms", f"{one.failed:.1%}") if one.predictions else ("", "")
        table.add_row(one.arm, *cells, *answered)
    return table


def share_of(text: str) -> float:
    """A share out of text.

    >>> share_of("10%"), share_of("0.5%")
    (0.1, 0.005)

    Raises:
        SettingsError: it is none.
    """
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not text.endswith("%") or not 0 <= share <= 1:
        raise SettingsError(f"`{text}` is not a share", where="SHARE", cure="Write it as 10%")
    return share


def segment_of(pairs: list[str]) -> dict[str, str]:
    """Fields and their values.

    >>> segment_of(["origin=JFK"])
    {'origin': 'JFK'}

    Raises:
        SettingsError: a pair is none.
    """
    for pair in pairs:
        if "=" not in pair:
            raise SettingsError(f"`{pair}` is not a field and its value", where="--where", cure="Write origin=JFK")
    return dict(pair.split("=", 1) for pair in pairs)


def line_of(arm: "Arm") -> str:
    """An arm in one line."""
    segment = "".join(f" where {name} is {text}" for name, text in arm.where)
    does = "computes" if arm.role == "shadow" else "answers"
    return f"{arm.name} {does} for {arm.share * 100:g}%{segment}"


def shown(arm: "Arm") -> dict[str, object]:
    """An arm for programs."""
    return {"name": arm.name, "version": arm.version, "role": arm.role, "share": arm.share, "where": dict(arm.where)}


def _give(
    found: Kept, name: str, version: int, role: str, share: float, where: dict[str, str], why: str
) -> "tuple[Arm, ...]":
    return found.registry.release(name, version, role=role, share=share, where=where, why=why, who=person()).arms


def _serve(found: Kept, name: str, before: "tuple[Arm, ...]", version: int, out: Output) -> str | None:
    """Tell the replicas; if they refuse, the ledger goes back to what is in service."""
    champion = found.registry.get(name, "champion")
    try:
        deployment = swapped(found, champion, out)
    except ServingError as error:
        was = next((arm for arm in before if arm.version == version), None)
        now = next((arm for arm in found.registry.arms(name).arms if arm.version == version), None)
        back = was or now
        if back is not None:
            share = was.share if was else 0.0
            _give(found, name, version, back.role, share, dict(back.where), f"refused: {error.what}")
        raise
    return None if deployment is None else deployment.url
