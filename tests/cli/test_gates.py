"""``raypipe gates``: what the last gate found, since when, with examples."""

import json
from pathlib import Path

import pytest
from msgspec import structs

from raypipe.cli.main import main
from raypipe.clock import ManualClock
from raypipe.contracts.records import CheckResult, GateReport
from raypipe.ledger import Ledger

DAY = 86_400_000_000


def result(failed: int, table: str = "trips") -> CheckResult:
    return CheckResult(
        table=table, check="between(fare, 0..9)", columns=("fare",), passed=not failed, rows=10, failed=failed,
        detail=f"{failed} of 10 rows fail", where="pipeline.py:7", sample=('{"town":"<b>"}',) if failed else (),
    )  # fmt: skip


def told(folder: Path, *reports: tuple[int, str]) -> None:
    """A report a day: how many rows failed, and what became of it."""
    clock = ManualClock(0)
    ledger = Ledger.in_folder(folder, clock)
    for day, (failed, kind) in enumerate(reports):
        report = GateReport(
            pipeline="trips", as_of=day, snapshots=(), results=(result(failed), result(0, "towns")),
            bypassed="a holiday" if kind == "gate.bypassed" else "",
        )  # fmt: skip
        ledger.append(f"{kind}:{day}", kind, "trips", report.to_json())
        clock.advance(DAY)
    ledger.close()


def test_what_failed_since_when_with_examples(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(workspace, (5, "gate.stopped"), (0, "stage.gate"), (1, "gate.stopped"), (2, "gate.stopped"))
    assert main(["gates", "trips", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["gates"]
    (finding,) = found["findings"]
    assert (found["outcome"], found["checks"], found["at"]) == ("stopped", 2, "1970-01-04T00:00:00Z")
    assert (finding["since"], finding["shares"]) == ("1970-01-03T00:00:00Z", [0.5, 0.0, 0.1, 0.2])
    assert finding["result"]["sample"] == ['{"town":"<b>"}']
    assert main(["gates", "trips"]) == 0
    out = capsys.readouterr().out
    assert "trips: between(fare, 0..9) [stop]: 2 of 10 rows fail (pipeline.py:7)" in out
    assert "since 1970-01-03T00:00:00Z" in out


def test_a_tolerated_share_and_the_gates_of_a_model_are_told(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orphans = structs.replace(
        result(3), passed=True, detail="3 of 10 rows fail (30.00%), at most 40.00% may", allowed=0.4
    )
    ledger = Ledger.in_folder(workspace, ManualClock(0))
    for kind, stage, found in (
        ("gate.passed", "promotion", orphans),
        ("gate.stopped", "training", result(1)),
        ("stage.gate", "ingest", orphans),
    ):
        report = GateReport(pipeline="trips", as_of=0, snapshots=(), results=(found,), stage=stage)
        ledger.append(stage, kind, "trips", report.to_json())
    ledger.close()
    assert main(["gates", "trips"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(" at ")[0] for line in told if line.startswith("trips")] == [
        "trips, before publishing: passed", "trips, before training: stopped", "trips, before promotion: passed",
    ]  # fmt: skip
    passed = "  trips: between(fare, 0..9) passed: 3 of 10 rows fail (30.00%), at most 40.00% may"
    assert told.count(passed) == 2
    assert main(["gates", "trips", "--json"]) == 0
    gates = json.loads(capsys.readouterr().out)["gates"]
    assert [one["gate"] for one in gates] == ["ingest", "training", "promotion"]
    assert gates[0]["tolerated"][0]["shares"] == [0.3]
    assert gates[0]["findings"] == []


def test_the_page_stands_alone_and_runs_nothing(workspace: Path, tmp_path: Path) -> None:
    told(workspace, (1, "gate.bypassed"))
    assert main(["gates", "trips", "--html", str(tmp_path / "gates.html")]) == 0
    page = (tmp_path / "gates.html").read_text()
    assert "bypassed (a holiday)" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("<rect class=bad x=") == 1
    assert "http" not in page
    assert "<script" not in page


def test_all_is_well(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(workspace, (3, "gate.stopped"), (0, "stage.gate"))
    assert main(["gates", "trips"]) == 0
    assert "trips, before publishing: passed at 1970-01-02T00:00:00Z" in capsys.readouterr().out


def test_nothing_was_judged_yet(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gates", "trips"]) == 1  # not 4: no gate was closed
    said = "trips: no gate of this pipeline has reported yet. Run `raypipe run FILE --until gate`."
    assert said in capsys.readouterr().err


def test_a_name_that_no_gate_knows_is_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(workspace, (0, "stage.gate"))
    assert main(["gates", "tripps"]) == 1
    assert "tripps: no gate of this pipeline has reported yet. Did you mean `trips`?" in capsys.readouterr().err


def test_a_name_like_none_that_is_known_is_told_with_those_that_are(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(workspace, (0, "stage.gate"))
    assert main(["gates", "nothere"]) == 1
    assert "nothere: no gate has judged a pipeline of this name. Known: `trips`." in capsys.readouterr().err
    ledger = Ledger.in_folder(workspace, ManualClock(0))
    ledger.append("i", "stage.ingest", "nothere", "{}")
    ledger.close()
    assert main(["gates", "nothere"]) == 1
    assert "no gate of this pipeline has reported yet. Run `raypipe run" in capsys.readouterr().err


def test_a_page_that_cannot_be_written(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(workspace, (1, "gate.stopped"))
    assert main(["gates", "trips", "--html", str(workspace / "none" / "x.html")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_closed_gate_is_told_check_by_check(capsys: pytest.CaptureFixture[str]) -> None:
    """What a program reads of it holds every check as a record, and what to do; also after crossing processes."""
    import pickle

    from raypipe.cli.output import tell_error
    from raypipe.contracts.records import CheckResult, GateReport
    from raypipe.errors import GateError
    from raypipe.validation import require

    result = CheckResult(
        table="trips",
        check="between(fare, 0..100)",
        columns=("fare",),
        passed=False,
        rows=40,
        failed=2,
        detail="2 of 40 rows fail",
        where="pipeline.py:7",
        sample=('{"fare":900.0}',),
    )
    with pytest.raises(GateError) as raised:
        require(GateReport(pipeline="trips", as_of=0, snapshots=(), results=(result,)))
    tell_error(pickle.loads(pickle.dumps(raised.value)), json=True)  # our own bytes
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["what"] == "1 of 1 checks failed as of 1970-01-01T00:00:00Z; nothing was moved on"
    assert "--bypass-gate" in error["cure"]
    (check,) = error["checks"]
    assert {"table", "check", "columns", "rows", "failed", "sample", "where"} <= check.keys()
    assert (check["failed"], check["sample"]) == (2, ['{"fare":900.0}'])
    tell_error(raised.value, json=False)
    assert '2 of 40 rows fail (pipeline.py:7)\n    {"fare":900.0}\n  Correct the data' in capsys.readouterr().err
