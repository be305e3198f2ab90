"""Tables in terminals of every width: nothing is cut that is copied, no column is a stack of syllables."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from raypipe.cli import champions, features, logs
from raypipe.cli.champions import Span
from raypipe.cli.definition import read
from raypipe.cli.rows import Rows
from raypipe.contracts.logs import PREDICTIONS
from raypipe.flows.catalogue import catalogue

ID = "a3338c394227420a9a4f46febe3d1c22"
FLIGHTS = Path(__file__).parents[2] / "examples/flights/pipeline.py"
WIDTHS = pytest.mark.parametrize("width", [40, 80, 120, 160, 400])
HOUR = 3_600_000_000


def shown(what: RenderableType, width: int) -> list[str]:
    """What a terminal of so many columns shows."""
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(what)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    return lines


class Terminal(io.StringIO):
    """Where a person looks."""

    def isatty(self) -> bool:
        return True


@WIDTHS
def test_the_log_has_whole_ids_and_what_was_asked(width: int) -> None:
    asked = json.dumps({"carrier": "UA", "flight": 1545, "tailnum": "N14228", "origin": "EWR", "dest": "IAH"})
    row = {
        "request_id": ID, "row": 0, "at": datetime(2013, 7, 2, 21, 5, tzinfo=UTC), "arm": "challenger/4",
        "answered": True, "version": 1, "latency": 1_234, "score": 0.7982, "label": False, "request": asked,
    }  # fmt: skip
    frame = pl.DataFrame([row], schema={name: kind for name, kind in PREDICTIONS.columns.items() if name in row})
    lines = shown(logs._table(frame), width)
    text = " ".join(line.strip() for line in lines)
    for whole in (ID, "2013-07-02 21:05:00", "challenger/4", "0.7982", "1.2 ms", '{"carrier": "UA"'):
        assert whole in text
    if width == 80:
        assert lines[1].split() == [ID, "0", "2013-07-02", "21:05:00", "0.7982", "False"]
    if width in (120, 80):
        assert any(line.startswith("  request: {") for line in lines)


@WIDTHS
def test_features_have_whole_names_and_meanings_that_can_be_read(width: int) -> None:
    entries = catalogue(read(FLIGHTS))
    lines = shown(features._table(entries, entries[0].owner), width)
    begins = [line.split()[0] for line in lines if line.strip() and not line.startswith("  ")]
    assert [name for name in begins if name in {one.name for one in entries}] == [one.name for one in entries]
    if width <= 120:
        assert "\n".join(lines).count("meaning:") == len(entries)
        assert len(lines) <= 6 * len(entries) + 1 or width == 40
    if width == 400:
        assert sum(map(bool, lines)) == len(entries) + 2, "a line each, below the headings and a rule"


@WIDTHS
def test_history_tells_why_in_sentences(width: int) -> None:
    why = "training 1, asked for because the summer has begun: the challenger lowers the mean loss by 0.0113 " * 2
    spans = [Span(1, 0, HOUR, "promoted", "the first", "ada"), Span(2, HOUR, None, "rolled back", why, "policy hybrid")]
    lines = shown(champions._table(spans), width)
    if width == 80:
        assert [line.split() for line in lines[:2]] == [
            ["version", "since", "(UTC)", "until", "how", "by"],
            ["2", "1970-01-01", "01:00", "now", "rolled", "back", "policy", "hybrid"],
        ]
        assert len(lines) == 7
    assert " ".join(why.split()[:4]) in "\n".join(lines)


def test_columns_says_how_wide_a_terminal_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPIPE_WORKSPACE", str(tmp_path / "none yet"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    features.features(str(FLIGHTS))
    assert "meaning: " in terminal.getvalue()


def test_a_table_that_just_fits_is_one_and_nothing_of_it_is_cut() -> None:
    rows = Rows(("id", "words", "n"), first=("id",), folds=("words",), right=("n",))
    rows.add("a" * 10, "some words " * 9, "7")
    rows.add("b" * 10, "", "1,000", style="bold")
    room = 10 + 24 + 5 + 2 * 2 + 2
    assert len(shown(rows, room - 1)) == 1 + 5 + 2, "a heading; two rows, each with what is below it"
    table = shown(rows, room)
    assert table[1].split() == ["id", "words", "n"]
    assert table[3].split()[0] == "a" * 10
    assert table[3].endswith("    7")
    assert "…" not in "".join(table)


def test_what_is_cut_is_cut_at_the_edge_only() -> None:
    rows = Rows(("id", "asked"), first=("id",), folds=("asked",))
    rows.add("a1", Text("x" * 100, no_wrap=True, overflow="ellipsis"))
    assert shown(rows, 20) == ["id", "a1", "  asked: " + "x" * 10 + "…"]
