"""``raypipe policy explain``: what a retraining policy would do now, and why."""

from typing import Annotated, Literal

import typer
from rich.text import Text

from raypipe.cli.definition import PipelineFile, read
from raypipe.cli.life import moment_of
from raypipe.cli.output import AsJson, Output
from raypipe.errors import SettingsError

What = Annotated[Literal["explain"], typer.Argument(metavar="explain", help="Say what it would do now, and why.")]
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


def policy(_: What, file: PipelineFile, policy: Policy = None, at: At = None, json: AsJson = False) -> None:
    """Say what a retraining policy would do now, and why: every trigger and guard with what it looked at.

    Reads the registry alone: triggers that need somebody to watch the model say that nobody does. Nothing is done.
    """
    pipeline, moment = read(file), moment_of(at)
    from raypipe.clock import SystemClock
    from raypipe.retraining import read_policy

    chosen = read_policy(policy) if policy else pipeline.retrain
    if chosen is None:
        what_is_wrong = f"{file.name} has no `retrain`"
        raise SettingsError(what_is_wrong, where="--policy", cure="Give a policy, such as `--policy hybrid`")
    from raypipe.flows.explain import explain
    from raypipe.ledger import Ledger
    from raypipe.settings import load_settings
    from raypipe.wiring import open_registry

    settings, clock = load_settings(), SystemClock()
    ledger = Ledger.in_folder(settings.home, clock)
    try:
        registry = open_registry(settings, ledger, mirror=False)
        decision = explain(registry, pipeline.name, chosen, clock.now() if moment is None else moment)
    finally:
        ledger.close()
    out = Output(json)
    facts = decision.situation
    out.say(Text.assemble((decision.action, "bold"), f"  {pipeline.name}/{facts.version}: {decision.why}"))
    for line in (*decision.triggers, *(f"holds back: {guard}" for guard in decision.guards)):
        out.say(f"  {line}")
    out.result(decision)
