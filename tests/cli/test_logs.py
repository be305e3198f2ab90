"""``raypipe log`` shows feedback that holds a label and no outcomes, as most feedback does."""

import json
from datetime import UTC, datetime

import polars as pl
import pytest

from raypipe.cli import logs

ROWS = pl.DataFrame(
    {
        "request_id": ["a", "b"],
        "at": [datetime(2013, 7, 1, tzinfo=UTC)] * 2,
        "label": [True, False],
        "outcomes": [None, '{"paid":3.5}'],
    },
    schema_overrides={"at": pl.Datetime("us", "UTC")},
)


def test_feedback_without_outcomes_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "read_log", lambda *_: ROWS)
    logs.log("rides", feedback=True, json=True)
    told = json.loads(capsys.readouterr().out)
    assert [row["outcomes"] for row in told] == [None, {"paid": 3.5}]
    logs.log("rides", feedback=True)
    assert "paid" in capsys.readouterr().out


def test_a_row_is_a_line_of_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = '{"carrier":"UA","note":"' + "much " * 40 + 'to say"}'
    monkeypatch.setattr(logs, "read_log", lambda *_: ROWS.with_columns(outcomes=pl.lit(asked)))
    logs.log("rides", feedback=True)
    assert sum(asked in line for line in capsys.readouterr().out.splitlines()) == 2
