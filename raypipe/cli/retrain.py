"""``raypipe retrain``: a challenger now, because somebody says so; and what the job of a training does."""

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from raypipe.cli.kept import Name, because, person
from raypipe.cli.life import moment_of
from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import Watcher, watch
from raypipe.errors import RegistryError, SettingsError

if TYPE_CHECKING:
    from raypipe.flows import Platform
    from raypipe.retraining.standing import Standing
    from raypipe.spec import Pipeline

#: How often is looked how far it is, in seconds.
_LOOK = 1.0
FAILED = 1


def retrain(
    name: Name,
    why: Annotated[
        str | None,
        typer.Option(
            "--why",
            metavar="TEXT",
            show_default=False,
            help="Ask for a training, for this reason. Default: follow the one that is under way.",
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="DATE",
            show_default=False,
            help="With --why: learn from what was known then. Default: what the pipeline says, else now.",
        ),
    ] = None,
    attempt: Annotated[str | None, typer.Option("--attempt", metavar="N/A", hidden=True)] = None,
    json: AsJson = False,
) -> None:
    """Train a challenger in a Ray job, judge it against the champion on the newest rows, and let the better one answer.

    This is what a retraining policy does when it decides to. Interrupt it as you like: the training goes on, and the
    same command without --why follows it.
    """
    out, moment = Output(json), moment_of(as_of)
    if attempt is not None:
        _work(name, attempt, out)
        return
    reason = None if why is None else because(why)
    progress = watch(out.console)
    with progress.step("Load the libraries"):
        from raypipe.cli.opened import opened
        from raypipe.flows import as_of as until
        from raypipe.flows.decide import ask_for

    with opened(progress, f"raypipe: retrain {name}") as platform:
        pipeline = _definition(platform, name)
        if reason is not None:
            ask_for(platform, name, reason, person(), until(pipeline, moment, platform.clock.now()))
        found = _follow(platform, pipeline, progress)
    if found is None:
        cure = f'Ask for one: `raypipe retrain {name} --why "…"`'
        raise RegistryError("no training is under way", where=name, cure=cure)
    out.say(Text(f"{name}: training {found.number} {found.note}"))
    out.result(found)
    if found.outcome == "failed":
        raise typer.Exit(FAILED)


def _follow(platform: "Platform", pipeline: "Pipeline", progress: Watcher) -> "Standing | None":
    """Drive a training on until it is over, or waits for people or traffic."""
    from raypipe.flows.retrain import drive_on
    from raypipe.retraining.standing import standing

    found = drive_on(platform, pipeline)
    if found is None:
        return None
    with progress.step(f"training {found.number}") as step:
        while found.under_way:
            step.advance(0, f"{found.job}: {found.note}")
            time.sleep(_LOOK)
            found = drive_on(platform, pipeline) or standing(platform.ledger, pipeline.name)
            assert found is not None  # noqa: S101  # it has begun
    return found


def _definition(platform: "Platform", name: str) -> "Pipeline":
    from pathlib import Path

    from raypipe.contracts import bundle

    return bundle.pipeline(Path(platform.registry.get(name, "champion").folder))


def _work(name: str, text: str, out: Output) -> None:
    """One attempt of a training, behind its fence: what the Ray job does."""
    number, _, attempt = text.partition("/")
    if not (number.isdigit() and attempt.isdigit()):
        raise SettingsError(f"`{text}` names no attempt", where="--attempt", cure="Write training/attempt, such as 3/1")
    from raypipe.cli.opened import opened
    from raypipe.flows.beat import beating
    from raypipe.flows.challenge import challenge, fence
    from raypipe.flows.retrain import drive, job_name

    progress, key = watch(out.console), fence(name, int(number), int(attempt))
    with opened(progress, f"raypipe: retrain {name}", key) as platform:
        with beating(platform.workspace, job_name(name, int(number), int(attempt)), platform.clock):
            trained = challenge(platform, progress, name, int(number), int(attempt))
        out.say("Another process works on this attempt." if trained is None else trained.why)
        if trained is not None:
            # Nobody may be there to take it from here: whoever does it, it is done once.
            drive(platform, _definition(platform, name))
