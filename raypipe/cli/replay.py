"""``raypipe replay``: try retraining policies on history before production does."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from raypipe.cli.definition import PipelineFile, read
from raypipe.cli.life import moment_of
from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import Watcher, watch
from raypipe.errors import GateError, SettingsError

if TYPE_CHECKING:
    from raypipe.contracts.records import Snapshot
    from raypipe.flows import Platform
    from raypipe.flows.replay import Replayed
    from raypipe.spec import Pipeline

Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="FILE|NAME",
        show_default=False,
        help="A policy as a TOML file, or a preset: recommender, fraud, compliance, forecasting, hybrid, daily. "
        "Default: the pipeline's own. `never` is always beside it.",
    ),
]
Daily = Annotated[
    bool | None,
    typer.Option(
        "--daily/--no-daily",
        show_default=False,
        help="Compare with a training every day too. Default: when that is reckoned at 10 minutes or less.",
    ),
]
TickHours = Annotated[
    int,
    typer.Option(
        metavar="HOURS",
        min=1,
        max=24,
        help="How often drift is tested and the policy asked; 1 is production's default, and 24 times the work. A day "
        "is enough for policies, which act on what lasts for days.",
    ),
]
From = Annotated[str, typer.Option("--from", metavar="DATE", help="The first day that is lived through.")]
To = Annotated[str, typer.Option("--to", metavar="DATE", help="The last day, included.")]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="FILE", show_default=False, help="Draw loss, trainings, cost and alarms (.png, .svg, .pdf)."
    ),
]
Live = Annotated[
    bool,
    typer.Option(
        "--live",
        help="The champion in service lives through it, by the pipeline's own policy, and what is decided is done: its "
        "trainings are Ray jobs. It ends when a challenger has taken over.",
    ),
]
_DAY = 86_400_000_000


def replay(
    file: PipelineFile,
    start: From,
    end: To,
    policy: Policies = None,
    daily: Daily = None,
    tick_hours: TickHours = 24,
    plot: Plot = None,
    live: Live = False,
    json: AsJson = False,
) -> None:
    """Try retraining policies on history: what each would have done, gained and cost.

    Requests, late labels, drift, decisions, trainings and promotions, with the code that runs in production and a
    simulated clock. The same command gives the same figures. A challenger that wins takes over at once: shadows, shares
    and rollbacks are not replayed, and what a policy asks a person for is approved at once.
    """
    pipeline = read(file)
    first, last = moment_of(start, "--from"), moment_of(end, "--to")
    assert first is not None  # noqa: S101  # both are required
    assert last is not None  # noqa: S101
    if last + _DAY <= first:
        raise SettingsError("the last day is before the first", where="--to", cure="Give a later day")
    if live:
        if policy or plot or daily is not None or tick_hours != 24:
            what = "takes no `--policy`, `--daily`, `--tick-hours` and `--plot`"
            raise SettingsError(what, where="--live", cure="Leave them out")
        _live(file, pipeline, first, last + _DAY, Output(json))
        return
    if 24 % tick_hours:
        what = f"{tick_hours} hours do not divide a day"
        raise SettingsError(what, where="--tick-hours", cure="Give 1, 2, 3, 4, 6, 8, 12 or 24")
    from raypipe.retraining.files import read_policy

    if not policy and pipeline.retrain is None:
        what = f"{file.name} has no `retrain`"
        raise SettingsError(what, where="--policy", cure="Give a policy, such as `--policy hybrid`")
    asked = [read_policy(name) for name in policy] if policy else [pipeline.retrain]
    policies = [one for one in asked if one is not None]
    out = Output(json)
    progress = watch(out.console)
    # Seconds of imports: a fault in what was asked is told before them.
    with progress.step("Load the libraries"):
        from raypipe.cli.opened import opened
        from raypipe.flows.replay.run import replay_pipeline

    with opened(progress, f"raypipe: replay {pipeline.name}") as platform:
        snapshots = _snapshots(platform, file, pipeline, first, progress, out)
        found = replay_pipeline(
            platform,
            pipeline,
            snapshots,
            policies,
            first,
            last + _DAY,
            progress,
            daily=daily,
            tick=tick_hours * _DAY // 24,
        )
    shown(found.results, out)
    for note in found.notes:
        out.say(note)
    if plot is not None:
        from raypipe.cli.replay_plot import draw

        draw(found.results, plot, pipeline.name)
        out.say(f"{plot} shows loss, trainings, cost and alarms over time.")
    out.say(f"Every decision is in {found.folder / 'ledger.db'}.")
    out.result(
        {
            "pipeline": pipeline.name,
            "algorithm": found.recipe.algorithm,
            "params": found.recipe.params,
            "policies": found.results,
            "notes": found.notes,
        }
    )


def _live(file: Path, pipeline: "Pipeline", first: int, end: int, out: Output) -> None:
    from raypipe.cli.opened import opened
    from raypipe.flows.replay.live import live

    progress, happened = watch(out.console), []
    with opened(progress, f"raypipe: live through {pipeline.name}") as platform:
        snapshots = _snapshots(platform, file, pipeline, first, progress, out)
        for one in live(platform, pipeline, snapshots, first, end, progress):
            out.say(Text.assemble((one.day, "dim"), f"  {one.what}"))
            happened.append(one)
        champion = platform.registry.get(pipeline.name, "champion")
    out.say(
        f"{pipeline.name}/{champion.version} is champion. `raypipe history {pipeline.name}` says since when, and why."
    )
    out.result({"pipeline": pipeline.name, "champion": champion.version, "happened": happened})


def _snapshots(
    platform: "Platform", file: Path, pipeline: "Pipeline", first: int, progress: Watcher, out: Output
) -> "tuple[Snapshot, ...]":
    """The tables that history is in, judged as on the first day: on its last, history is no longer fresh.

    Raises:
        GateError: a check failed that stops; no reason that anybody gives opens the gate of a replay.
    """
    from raypipe.contracts.records import GateReport
    from raypipe.flows import Run

    try:
        for result in Run(pipeline, file, platform, progress, first, "gate"):
            out.say(f"{result.stage}: {result.line}")
            if isinstance(result.record, GateReport):
                return result.record.snapshots
    except GateError as error:
        cure = "Correct the data, set bad rows aside with `.quarantine()`, or let the check `.warn()`"
        raise GateError(error.what, where=error.where, cure=cure, checks=error.checks, shown=error.shown) from None
    return ()


def shown(results: "Sequence[Replayed]", out: Output) -> None:
    """A table of policies, and what each did."""
    table = Table(box=None, pad_edge=False)
    for name in ("policy", "loss", "gain", "trainings", "took over", "training s", "alarms", "recovery d"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    frozen = next(result.loss for result in results if result.policy == "never")
    for result in sorted(results, key=lambda result: result.loss):
        recovery = "" if result.recovery_days is None else f"{result.recovery_days:.1f}"
        table.add_row(
            result.policy,
            f"{result.loss:.4f}",
            f"{frozen - result.loss:.4f}",
            str(result.trainings),
            str(result.won),
            f"{result.seconds:.0f}",
            str(result.alarms),
            recovery,
        )
    out.say(table)
    for result in results:
        for line in result.decisions[:12]:
            out.say(Text(f"{result.policy}: {line}", "dim"))
        if result.diagnosis:
            out.say(f"{result.policy}: {result.diagnosis}")
