"""Records as tables and sentences for people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from raypipe.clock import iso, to_minute
from raypipe.contracts.holdout import holdout
from raypipe.contracts.records import Candidate, ModelVersion, Trial

Measure: TypeAlias = tuple[str, str, int]

#: Heading, name of the metric, decimals. A column that no row fills is left out.
QUALITY: tuple[Measure, ...] = (
    ("AUC", "auc", 3),
    ("log loss", "log_loss", 4),
    ("calibration", "ece", 4),
    ("pinball", "pinball", 4),
    ("deviance", "poisson_deviance", 4),
    ("accuracy", "accuracy", 3),
    ("RMSE", "rmse", 4),
    ("MAE", "mae", 4),
    ("R2", "r2", 3),
)
#: What a trial costs in service: milliseconds of one row and of 1,000, kilobytes, and a million predictions one by one.
SPEED: tuple[Measure, ...] = (
    ("p50 ms", "p50_ms_1", 2),
    ("p99 ms", "p99_ms_1", 2),
    ("1,000 ms", "p50_ms_1000", 1),
    ("size kB", "bytes", 0),
    ("cost of 1M", "money_per_million", 4),
)
#: So many measures of quality leave room for the rest in a narrow terminal; `--json` has all.
MOST = 2


def stage_line(stage: str, line: str, seconds: float, reused: bool) -> Text:
    """One stage's result for a log: ``✓ ingest    5 tables, 365,033 rows (0 new)   3.1 s``."""
    first, *more = line.split("\n")
    return Text.assemble("✓ ", (f"{stage:<9}", "bold"), f" {first}   ", "\n".join((_took(seconds, reused), *more)))


def stage_row(stage: str, line: str, seconds: float, reused: bool) -> Table:
    """The same for a terminal: as wide as it is, long words below each other, the time at the right edge."""
    row = Table.grid(expand=True, padding=(0, 1, 0, 0))
    row.add_column(width=1)
    row.add_column(width=9)
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    row.add_row(Text("✓", "green"), Text(stage, "bold"), Text(line), Text(_took(seconds, reused), "dim"))
    return row


def _took(seconds: float, reused: bool) -> str:
    return "done before" if reused else duration(seconds)


def duration(seconds: float) -> str:
    """A length of time in few characters.

    >>> duration(3.14159), duration(75.4), duration(4000)
    ('3.1 s', '1 min 15 s', '1 h 6 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes} min {left} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def trials_table(candidate: Candidate) -> Table:
    """All trials of a search, best first, the winner marked; those of one segment come after the others.

    ``p50 ms`` and ``p99 ms`` are the time to answer one row, ``1,000 ms`` that of a thousand.
    """
    trials = sorted(candidate.trials, key=lambda trial: _rank(trial, candidate.metric))
    found = [trial.metrics for trial in trials]
    speeds = _filled(SPEED, found)
    shown = [*_qualities(found, candidate.metric)[: MOST if len(speeds) < len(SPEED) else 1], *speeds]
    title = f"Trials of {candidate.pipeline} on the tuning period"
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left", title_style="bold"
    )
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("algorithm", no_wrap=True)
    for heading, _, _ in shown:
        table.add_column(heading.replace(" ", "\n", 1), justify="right", no_wrap=True)
    table.add_column("fit", justify="right", no_wrap=True)
    for trial in trials:
        won = is_winner(trial, candidate)
        name = trial.algorithm if trial.status == "finished" else f"{trial.algorithm}, {trial.status}"
        numbers = [_number(trial.metrics, metric, decimals) for _, metric, decimals in shown]
        style = "bold green" if won else "" if trial.status == "finished" else "dim"
        table.add_row(
            f"→ {trial.number}" if won else str(trial.number), name, *numbers, duration(trial.seconds), style=style
        )
    return table


def _rank(trial: Trial, metric: str) -> float:
    from raypipe.spec import more_is_better

    value = trial.metrics.get(metric)
    if value is None or trial.status == "part":
        return float("inf")
    return -value if more_is_better(metric) else value


def is_winner(trial: Trial, candidate: Candidate) -> bool:
    """True for the trial that the candidate was made from."""
    return trial.status == "finished" and (trial.algorithm, trial.params) == (candidate.algorithm, candidate.params)


def winner_sentences(candidate: Candidate) -> list[Text]:
    """Who won and why, how good it is on the holdout, and what went wrong with trials that failed."""
    measured = _qualities([candidate.metrics], candidate.metric)
    found = ", ".join(f"{heading} {_number(candidate.metrics, name, decimals)}" for heading, name, decimals in measured)
    return [
        Text.assemble(("Winner", "bold"), f": {candidate.reason.strip().rstrip('.')}."),
        Text.assemble(("Holdout", "bold"), f": {found}."),
        *(
            Text.assemble((f"Trial {trial.number} failed", "bold red"), f": {trial.algorithm}: {trial.error}")
            for trial in candidate.trials
            if trial.error
        ),
    ]


def models_table(versions: Sequence[ModelVersion]) -> Table:
    """The versions of a model, newest first."""
    shown = _qualities([version.metrics for version in versions])[:MOST]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("version", justify="right", no_wrap=True)
    table.add_column("aliases")
    table.add_column("algorithm", no_wrap=True)
    for heading, _, _ in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("created (UTC)", "commit"):
        table.add_column(heading, no_wrap=True)
    for version in sorted(versions, key=lambda version: -version.version):
        commit = version.lineage.commit[:7] + ("+" if version.lineage.dirty else "")
        table.add_row(
            str(version.version),
            ", ".join(version.aliases),
            version.algorithm,
            *(_number(version.metrics, name, decimals) for _, name, decimals in shown),
            to_minute(version.created),
            commit or "–",
            style="bold green" if "champion" in version.aliases else "",
        )
    return table


def models_note(versions: Sequence[ModelVersion]) -> list[Text]:
    """What is to be known before versions that were made at different moments are compared."""
    moments = {version.lineage.as_of for version in versions}
    if len(moments) < 2:
        return []
    last = iso(max(moments))[:10]
    what = f"Each is judged on its own holdout, the newest is as of {last}: their metrics do not tell which is better."
    return [Text(what, "dim")]


def model_document(version: ModelVersion) -> dict[str, object]:
    """A model version as ``raypipe models --json`` prints it."""
    return {
        "version": version.version,
        "aliases": version.aliases,
        "algorithm": version.algorithm,
        "metrics": version.metrics,
        "created": iso(version.created),
        "lineage": msgspec.structs.asdict(version.lineage) | {"holdout": holdout(Path(version.folder))},
    }


def _qualities(rows: Sequence[Mapping[str, float]], first: str = "") -> list[Measure]:
    """The measures of quality that some row has, the one that is searched by ``first``, then users' own."""
    own = {name: (name.rpartition(":")[2], name, 3) for row in rows for name in row if ":" in name}
    own = {name: measure for name, measure in own.items() if not name.startswith("tune_")}
    return sorted(_filled((*own.values(), *QUALITY), rows), key=lambda measure: measure[1] != first)


def _filled(measures: Sequence[Measure], rows: Sequence[Mapping[str, float]]) -> list[Measure]:
    return [measure for measure in measures if any(measure[1] in row for row in rows)]


def _number(metrics: Mapping[str, float], name: str, decimals: int) -> str:
    if name not in metrics:
        return "–"
    return f"{metrics[name] / (1_000 if name == 'bytes' else 1):,.{decimals}f}"
