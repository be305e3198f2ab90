"""``raypipe policy``: what a retraining policy would do now, and why; a person's yes or no to what it asks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from raypipe.cli.definition import read
from raypipe.cli.kept import because, kept, person, require_known
from raypipe.cli.life import moment_of
from raypipe.cli.output import AsJson, Output
from raypipe.clock import to_second
from raypipe.errors import RegistryError, SettingsError

if TYPE_CHECKING:
    from raypipe.flows.explain import Explained
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

#: Ticks without a look after which nobody looks any more.
_MISSED = 3


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

    It rests on what the watcher saw last, and says when that was; where nobody watches, it says that. Nothing is done.
    `approve` and `refuse` answer a policy with `approval`, which asks a person before it trains.
    """
    if what == "explain":
        _ignored(what, {"--why": why}, "It is the reason of `approve` and `refuse`: leave it out")
        _explain(subject, policy, at, Output(json))
        return
    _ignored(what, {"--policy": policy, "--at": at}, "What is answered is what was asked: `explain` takes them")
    name, reason = str(subject), because(why or "")
    from raypipe.retraining.standing import answer, standing

    with kept(writes=True) as found:
        require_known(found.registry, name)
        answer(found.ledger, name, yes=what == "approve", who=person(), why=reason)
        now = standing(found.ledger, name)
    out = Output(json)
    goes = "the next look of its watcher, or `raypipe retrain`, goes on" if what == "approve" else "nothing is trained"
    out.say(f"{name}: {what}d; {goes}.")
    out.result(now)


def _ignored(what: str, options: dict[str, str | None], cure: str) -> None:
    """Refuse options that would make no difference."""
    for name, value in options.items():
        if value is not None:
            raise SettingsError(f"means nothing to `policy {what}`", where=name, cure=cure)


def _explain(subject: Path, policy: str | None, at: str | None, out: Output) -> None:
    moment = moment_of(at, "--at")
    pipeline = read(subject) if subject.suffix == ".py" else _in_service(str(subject))
    from raypipe.clock import SystemClock
    from raypipe.retraining.files import read_policy

    chosen = read_policy(policy) if policy else pipeline.retrain
    if chosen is None:
        what_is_wrong = f"{subject.name} has no `retrain`"
        raise SettingsError(what_is_wrong, where="--policy", cure="Give a policy, such as `--policy hybrid`")
    from msgspec import structs

    from raypipe.flows.explain import explain
    from raypipe.retraining.standing import standing
    from raypipe.settings import load_settings
    from raypipe.wiring import open_ledger, open_registry

    settings, clock = load_settings(), SystemClock()
    ledger = open_ledger(settings, clock)
    try:
        registry = open_registry(settings, ledger, mirror=False)
        now = clock.now() if moment is None else moment
        decision = explain(ledger, registry, settings.home, pipeline, chosen, now)
        decision = decision if moment is None else structs.replace(decision, watched=False)
        under_way = standing(ledger, pipeline.name) if moment is None else None
    finally:
        ledger.close()
    facts = decision.situation
    out.say(Text.assemble((decision.action, "bold"), f"  {pipeline.name}/{facts.version}: {decision.why}"))
    for line in (*decision.triggers, *(f"holds back: {guard}" for guard in decision.guards)):
        out.say(f"  {line}")
    out.say(Text(f"  {_seen(decision, settings.tick_seconds)}", "dim"))
    if under_way is not None and under_way.state != "ended":
        out.say(Text(f"  Training {under_way.number}: {under_way.note}.", "dim"))
    out.result(decision)


def _seen(decision: "Explained", tick_seconds: int) -> str:
    """How old the facts are that only a watcher has."""
    facts = decision.situation
    watch = f"`raypipe watch {facts.pipeline}` lets somebody"
    if decision.seen is None and decision.watched:
        when = f"`raypipe watch {facts.pipeline}` says when one is"
        return (
            f"Watched, but no tick of version {facts.version} is over yet: only time and trainings are known; {when}."
        )
    if decision.seen is None:
        return f"Nobody watches version {facts.version}, so only time and trainings are known: {watch}."
    seen = f"Labels, drift and latency as seen at {to_second(decision.seen)}"
    # A policy is asked once a tick, and after two of them without traffic.
    late = facts.at - decision.seen > _MISSED * tick_seconds * 1_000_000
    return f"{seen}; nobody has looked since: {watch}." if late else f"{seen}."


def _in_service(name: str) -> "Pipeline":
    """The definition that the champion was made from."""
    from raypipe.contracts import bundle

    with kept() as found:
        require_known(found.registry, name)
        version = found.registry.champion(name)
    if version is None:
        raise RegistryError("has no champion", where=name, cure="Give the pipeline's file, or run `raypipe run FILE`")
    return bundle.pipeline(Path(version.folder))
