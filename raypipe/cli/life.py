"""``raypipe run``, ``ingest`` and ``deploy``: a pipeline's life, as far as it is asked for."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from raypipe.cli.definition import PipelineFile, read
from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import Watcher, watch
from raypipe.cli.tables import stage_line, stage_row
from raypipe.errors import RegistryError, SettingsError

if TYPE_CHECKING:  # Ray, MLflow and the rest come with them, and take seconds
    from raypipe.flows import Run, StageResult

StageName = Literal["ingest", "gate", "features", "train", "register", "deploy"]

AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="DATE",
        show_default=False,
        help="Pretend it is this moment (UTC unless it names an offset): nothing known later is used. "
        "Default: what the pipeline says, else now.",
    ),
]
Until = Annotated[
    StageName,
    typer.Option(
        "--until", metavar="STAGE", help="The last stage to run: ingest, gate, features, train, register or deploy."
    ),
]

Bypass = Annotated[
    str | None,
    typer.Option(
        "--bypass-gate",
        metavar="REASON",
        show_default=False,
        help="Go on although checks of a gate fail. The ledger keeps the reason and the report for ever.",
    ),
]


def run(
    file: PipelineFile, as_of: AsOf = None, until: Until = "deploy", bypass_gate: Bypass = None, json: AsJson = False
) -> None:
    """Take a pipeline through its life: ingest, gate, features, train, register, deploy.

    What was done before on the same inputs is not done again, so after an interruption the same command goes on from
    where it stopped. The services that are needed are started.
    """
    _go(file, as_of, Output(json), until=until, bypass=reason_of(bypass_gate))


def ingest(
    file: PipelineFile,
    follow: Annotated[
        bool, typer.Option("--follow", metavar="", help="Keep going: take live rows in as they come, gate and publish.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="With --follow: the time between two commits.")
    ] = 10.0,
    gate_every: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="With --follow: the time between two gates, at least.")
    ] = 60.0,
    stop_after: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="SECONDS", show_default=False, help="With --follow: when to end. Default: never."
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, show_default=False, help="With --follow: where Prometheus asks for metrics."),
    ] = None,
    anew: Annotated[
        bool,
        typer.Option(
            "--anew", metavar="", help="Read tables again, without rows of files that are gone or were changed."
        ),
    ] = False,
    bypass_gate: Bypass = None,
    as_of: AsOf = None,
    json: AsJson = False,
) -> None:
    """Bring new rows of every source into the lake, and no row twice.

    Of a live log, what is there when the command begins. With --follow it keeps going until it is interrupted: rows
    come in batch by batch, and those that the gate passes are published. After an interruption or a kill the same
    command goes on exactly where it stopped. With --bypass-gate it publishes what fails, too, as long as it runs.

    Rows of a file that has been taken in stay when it is gone. --anew takes them out: tables that have such rows are
    read again from the files that there are, and from their logs. Readers see it when the gate of the next run passes.
    """
    bypass = reason_of(bypass_gate)
    if not follow:
        if bypass:
            cure = "Add `--follow`, or give it to `raypipe run FILE --until gate`, which asks it"
            raise SettingsError("no gate is asked before the next run", where="--bypass-gate", cure=cure)
        _go(file, None, Output(json), until="ingest", anew=anew)
        return
    if anew:
        raise SettingsError("does not go with `--follow`", where="--anew", cure="Give `--anew` first, then `--follow`")
    pipeline, moment, out = read(file), moment_of(as_of), Output(json)
    from raypipe.cli.opened import opened
    from raypipe.flows.follow import Pace, follow_line
    from raypipe.flows.follow import follow as keep_going
    from raypipe.flows.remote import on_cluster

    progress = watch(out.console)
    with opened(progress, f"raypipe: follow {pipeline.name}") as platform:
        fixed = None if pipeline.as_of is None else int(pipeline.as_of.timestamp()) * 1_000_000
        pace = Pace(every, gate_every, stop_after, metrics_port, fixed if moment is None else moment)
        work = partial(keep_going, pipeline=pipeline, pace=pace, bypass=bypass)
        record = on_cluster(f"{pipeline.name}: follow", work, platform, progress)
    out.say(Text(follow_line(record)))
    out.result(record)


def deploy(
    file: PipelineFile,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to", metavar="REGION", show_default=False, help="Send the champion there instead; may be repeated."
        ),
    ] = None,
    as_of: AsOf = None,
    json: AsJson = False,
) -> None:
    """Serve the champion that there is, with fresh features; nothing is trained.

    With --to, the same signed files go to other clusters, which `regions` of `raypipe.toml` names: each checks them,
    lets them answer with its own features, and is asked how it is. All of them do, or all go back.
    """
    if to:
        from raypipe.cli.regions import deploy_to

        deploy_to(read(file).name, to, Output(json))
        return
    _go(file, as_of, Output(json), fit=False)


def _go(
    file: Path,
    as_of: str | None,
    out: Output,
    *,
    until: StageName = "deploy",
    fit: bool = True,
    bypass: str = "",
    anew: bool = False,
) -> None:
    from raypipe.cli.absent import require_here

    pipeline, moment = read(file), moment_of(as_of)
    require_here(pipeline)
    if not fit:
        _require_champion(pipeline.name, file)
    progress = watch(out.console)
    # Seconds of imports: a faulty definition is told before them.
    with progress.step("Load the libraries"):
        from raypipe.cli.opened import opened
        from raypipe.cli.report import report
        from raypipe.flows import Run
        from raypipe.flows import as_of as decide

    with opened(progress, f"raypipe: {pipeline.name}") as platform:
        now = decide(pipeline, moment, platform.clock.now())
        work = Run(pipeline, file, platform, progress, now, until, fit, bypass, anew)
        results = list(_told(work, progress, out))
        report(work, results, out)


def _require_champion(name: str, file: Path) -> None:
    """Do nothing when somebody can answer: else a cluster would be started, and rows taken in, for nothing.

    Raises:
        RegistryError: the pipeline has no champion.
    """
    from raypipe.cli.kept import is_there, kept

    if is_there():
        with kept() as found:
            if found.registry.holder(name) is not None:
                return
    raise RegistryError("has no champion to serve", where=name, cure=f"Make one with `raypipe run {file}`")


def _told(work: "Run", progress: Watcher, out: Output) -> Iterator["StageResult"]:
    """Go through the stages, each shown while it is under way and told in one line when it is done."""
    results = iter(work)
    for name in work.stages:
        with progress.stage(name):
            result = next(results)
        show = stage_row if out.console.is_terminal else stage_line
        out.say(show(result.stage, result.line, result.seconds, result.reused))
        yield result


def reason_of(text: str | None) -> str:
    """The reason to go past a closed gate; empty when nobody asked to.

    >>> reason_of(" the supplier confirmed it ")
    'the supplier confirmed it'

    Raises:
        SettingsError: the reason says nothing.
    """
    if text is not None and not text.strip():
        raise SettingsError("the reason is empty", where="--bypass-gate", cure="Say why, for whoever asks later")
    return (text or "").strip()


def moment_of(text: str | None, where: str = "--as-of") -> int | None:
    """Microseconds UTC of a date or a time; a date is its first moment.

    >>> moment_of("2013-07-03")
    1372809600000000

    Raises:
        SettingsError: the text is neither.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        cure = "Write it as 2013-07-03 or 2013-07-03T06:00Z"
        raise SettingsError(f"`{text}` is not a date or time", where=where, cure=cure) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
