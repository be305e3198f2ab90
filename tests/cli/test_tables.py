"""Records as people read them, in a narrow terminal too."""

import io

import pytest
from msgspec import structs
from rich.console import Console, RenderableType

from raypipe.cli.tables import (
    duration,
    models_note,
    models_table,
    stage_line,
    stage_row,
    trials_table,
    winner_sentences,
)
from tests.cli.records import CANDIDATE, version


def shown(what: RenderableType, width: int = 80) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(what)
    return [line.rstrip() for line in file.getvalue().splitlines()]


WORDS = "5 tables, 365,033 rows (0 new)"


def test_a_stage_in_a_log() -> None:
    assert stage_line("ingest", WORDS, 3.14, False).plain == f"✓ ingest    {WORDS}   3.1 s"
    assert stage_line("ingest", WORDS, 0.01, True).plain == f"✓ ingest    {WORDS}   done before"
    assert stage_line("ingest", f"{WORDS}\n  more", 3.14, False).plain == f"✓ ingest    {WORDS}   3.1 s\n  more"


def test_a_stage_in_a_terminal() -> None:
    assert shown(stage_row("ingest", WORDS, 3.14, False)) == [f"✓ ingest    {WORDS}".ljust(75) + "3.1 s"]
    lines = shown(stage_row("features", "26 features; " + "rows [train] " * 6, 3.14, True))
    assert len(lines) == 2
    assert lines[0].endswith(" done before")
    assert lines[1].startswith(" " * 12 + "[train] rows")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (119.6, "2 min 0 s"),
        (3_599.9, "1 h 0 min"),
        (7_260, "2 h 1 min"),
    ],
)
def test_durations_round_over(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_trials_best_first_failed_last() -> None:
    lines = shown(trials_table(CANDIDATE))
    assert lines[0] == "Trials of flights on the tuning period"
    above, below = lines[2].split(), lines[3].split()
    assert above == ["p50", "p99", "1,000", "size", "cost"]
    assert below == ["trial", "algorithm", "AUC", "ms", "ms", "ms", "kB", "of", "1M", "fit"]
    rows = [line.split() for line in lines[5:] if line]
    assert rows == [
        ["→", "2", "lightgbm", "0.771", "0.25", "2.50", "12.3", "1,235", "0.0012", "6.4", "s"],
        ["4", "lightgbm", "0.760", "0.25", "4.50", "12.3", "1,235", "0.0012", "12.8", "s"],
        ["1", "linear", "0.701", "0.25", "1.50", "12.3", "1,235", "0.0012", "3.2", "s"],
        ["3", "network,", "failed", "–", "–", "–", "–", "–", "–", "9.6", "s"],
    ]
    assert max(map(len, lines)) <= 80


def test_a_metric_of_ones_own_comes_first() -> None:
    own = {"shop.gains:profit": 12.5}
    trials = tuple(structs.replace(trial, metrics=trial.metrics | own) for trial in CANDIDATE.trials)
    candidate = structs.replace(CANDIDATE, trials=trials, metrics=CANDIDATE.metrics | own, metric="shop.gains:profit")
    lines = shown(trials_table(candidate))
    assert lines[3].split()[:4] == ["trial", "algorithm", "profit", "ms"]
    assert max(map(len, lines)) <= 80
    assert winner_sentences(candidate)[1].plain == "Holdout: profit 12.500, AUC 0.769, log loss 0.4321."
    made = structs.replace(version(1), metrics={"shop.gains:profit": 12.5, "tune_shop.gains:profit": 13.0})
    assert shown(models_table([made]))[1].split()[3:5] == ["profit", "created"]


def test_a_model_of_a_quantile_has_its_figure() -> None:
    made = structs.replace(version(1), metrics={"rmse": 2.0, "mae": 1.5, "pinball": 0.25, "below": 0.9})
    lines = shown(models_table([made]))
    assert lines[1].split()[3:5] == ["pinball", "RMSE"]
    assert lines[3].split()[2:4] == ["0.2500", "2.0000"]


def test_the_winner_and_why_and_the_failures() -> None:
    assert [sentence.plain for sentence in winner_sentences(CANDIDATE)] == [
        f"Winner: {CANDIDATE.reason}.",
        "Holdout: AUC 0.769, log loss 0.4321.",
        "Trial 3 failed: network: TrainingError: the loss is not a number after 3 epochs",
    ]


def test_versions_newest_first() -> None:
    lines = shown(models_table([version(1), version(2, "champion")]))
    assert lines[1].split() == ["version", "aliases", "algorithm", "AUC", "log", "loss", "created", "(UTC)", "commit"]
    assert lines[3].split() == ["2", "champion", "lightgbm", "0.762", "0.4300", "2013-07-03", "00:00", "a1076aa+"]
    assert lines[4].split()[0] == "1"
    assert max(map(len, lines)) <= 80


def test_versions_of_different_moments_are_not_compared_by_their_metrics() -> None:
    first, second = version(1), version(2, "champion")
    assert models_note([first, second]) == []
    later = structs.replace(second, lineage=structs.replace(second.lineage, as_of=1_373_600_000_000_000))
    [note] = models_note([first, later])
    assert "as of 2013-07-12" in note.plain
