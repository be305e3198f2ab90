"""``raypipe policy``: what a retraining policy would do now, and why; a person's yes or no to what it asks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from raypipe.cli.definition import read
from raypipe.cli.kept import because, kept, person
from raypipe.cli.life import moment_of
from raypipe.cli.output import AsJson, Output
from raypipe.errors import RegistryError, SettingsError

if TYPE_CHECKING:
    from raypipe.spec import Pipeline

What = Annotated[
    Literal["explain", "approve", "refuse"],
    typer.Argument(metavar="WHAT", help="Say what it would do now; or say yes or no to what it asks."),
]
Subject = Annotated[
    Path,
    typer.Argument(metavar="FILE|NAME", show_default=False, help="The pipeline's name; `explain` takes its file too."),
]
Policy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="FILE|NAME",
        show_default=False,
        help="A policy as a TOML file, or a preset's name. Default: the pipeline's own.",
    ),
]
At = Annotated[
    str | None, typer.Option("--at", metavar="DATE", show_default=False, help="As if it were then. Default: now.")
]


def policy(
    what: What,
    subject: Subject,
    policy: Policy = None,
    at: At = None,
    why: Annotated[
        str | None, typer.Option("--why", metavar="TEXT", show_default=False, help="The reason of a yes or a no.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Say what a retraining policy would do now, and why: every trigger and guard with what it looked at.

    Reads the registry alone: triggers that need somebody to watch the model say that nobody does. Nothing is done.
    `approve` and `refuse` answer a policy with `approval`, which asks a person before it trains.
    """
    if what == "explain":
        _explain(subject, policy, at, Output(json))
        return
    name, reason = str(subject), because(why or "")
    from raypipe.retraining.standing import answer, standing

    with kept(writes=True) as found:
        answer(found.ledger, name, yes=what == "approve", who=person(), why=reason)
        now = standing(found.ledger, name)
    out = Output(json)
    goes = "the next look of its watcher, or `raypipe retrain`, goes on" if what == "approve" else "nothing is trained"
    out.say(f"{name}: {what}d; {goes}.")
    out.result(now)


def _explain(subject: Path, policy: str | None, at: str | None, out: Output) -> None:
    moment = moment_of(at)
    pipeline = read(subject) if subject.suffix == ".py" else _in_service(str(subject))
    from raypipe.clock import SystemClock
    from raypipe.retraining.files import read_policy

    chosen = read_policy(policy) if policy else pipeline.retrain
    if chosen is None:
        what_is_wrong = f"{subject.name} has no `retrain`"
        raise SettingsError(what_is_wrong, where="--policy", cure="Give a policy, such as `--policy hybrid`")
    from raypipe.flows.explain import explain
    from raypipe.ledger import Ledger
    from raypipe.settings import load_settings
    from raypipe.wiring import open_registry

    settings, clock = load_settings(), SystemClock()
    ledger = Ledger.in_folder(settings.home, clock)
    try:
        registry = open_registry(settings, ledger, mirror=False)
        decision = explain(registry, pipeline, chosen, clock.now() if moment is None else moment)
    finally:
        ledger.close()
    facts = decision.situation
    out.say(Text.assemble((decision.action, "bold"), f"  {pipeline.name}/{facts.version}: {decision.why}"))
    for line in (*decision.triggers, *(f"holds back: {guard}" for guard in decision.guards)):
        out.say(f"  {line}")
    out.result(decision)


def _in_service(name: str) -> "Pipeline":
    """The definition that the champion was made from."""
    from raypipe.contracts import bundle

    with kept() as found:
        version = found.registry.champion(name)
    if version is None:
        raise RegistryError("has no champion", where=name, cure="Give the pipeline's file, or run `raypipe run FILE`")
    return bundle.pipeline(Path(version.folder))
