"""``raypipe run``, ``ingest`` and ``deploy``: stages told as they are done, then what it all came to."""

import json
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from raypipe import flows
from raypipe.cli import opened
from raypipe.cli.life import moment_of
from raypipe.cli.main import main
from raypipe.clock import ManualClock
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Followed
from raypipe.errors import GateError
from raypipe.flows import Run, StageResult
from raypipe.services import ServicesConfig
from tests.cli.records import CANDIDATE, DEPLOYMENT, INGESTED, REPORT, version

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/flights/pipeline.py"
RESULTS = (
    StageResult("ingest", "2 tables, 338,234 rows (0 new)", INGESTED, 3.14, reused=False),
    StageResult("gate", "30 checks passed on 2 tables", REPORT, 0.001, reused=True),
    StageResult("features", "26 features", REPORT, 9.0, reused=False),
    StageResult("train", "lightgbm wins", CANDIDATE, 61.0, reused=False),
    StageResult("register", "flights/2 (champion)", version(2, "champion"), 1.0, reused=False),
    StageResult("deploy", "flights/2 answers", DEPLOYMENT, 2.0, reused=False),
)
QUESTIONS = pl.LazyFrame(
    {
        "carrier": ["AA", "UA", "B6"],
        "flight": [1, 1545, 3],
        "tailnum": ["N1", "N14228", "N'3"],
        "origin": ["EWR", "EWR", "JFK"],
        "dest": ["IAH", "IAH", "BOS"],
        "scheduled_at": [datetime(2013, 7, day, 9, 15, tzinfo=UTC) for day in (1, 3, 4)],
    }
)


class Played(Run):
    """A run whose stages were worked on before; remembers how it was asked."""

    asked: list[Run]
    fails_at: str = ""

    def _stages(self) -> Iterator[StageResult]:
        self.asked.append(self)
        for result in RESULTS:
            if result.stage not in self.stages:
                continue
            with self.progress.step(f"{result.stage} step", 2) as step:
                step.advance()
                if result.stage == self.fails_at:
                    raise GateError("check `unique` failed", where="table flights", cure="Look at the sample")
            yield result


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Iterator[type[Played]]:
    platform = SimpleNamespace(
        lake=SimpleNamespace(frame=lambda snapshot, columns: QUESTIONS.select(columns)),
        services=ServicesConfig(workspace),
        clock=ManualClock(1_400_000_000_000_000),
    )

    @contextmanager
    def open_it(progress: Progress, name: str) -> Iterator[SimpleNamespace]:
        assert name == "raypipe: flights"
        yield platform

    monkeypatch.setattr(opened, "opened", open_it)
    monkeypatch.setattr(flows, "Run", Played)
    monkeypatch.setattr("raypipe.registry.Registry.holder", lambda *_: 2)
    monkeypatch.setattr(Played, "asked", [], raising=False)
    monkeypatch.setattr(Played, "fails_at", "")
    return Played


def test_a_whole_run(played: type[Played], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(EXAMPLE)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[:6] == [
        "✓ ingest    2 tables, 338,234 rows (0 new)   3.1 s",
        "✓ gate      30 checks passed on 2 tables   done before",
        "✓ features  26 features   9.0 s",
        "✓ train     lightgbm wins   1 min 1 s",
        "✓ register  flights/2 (champion)   1.0 s",
        "✓ deploy    flights/2 answers   2.0 s",
    ]
    assert "Trials of flights on the tuning period" in out
    assert f"Winner: {CANDIDATE.reason}." in lines
    for url in ("http://127.0.0.1:8000/flights/predict", "http://127.0.0.1:8265", "http://127.0.0.1:5000"):
        assert any(line.endswith(f"  {url}") for line in lines)
    assert lines[-1].endswith(" down")
    assert "\x1b" not in out


def test_the_question_shown_can_be_asked_as_it_stands(
    played: type[Played], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["run", str(EXAMPLE)])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("curl"))
    command = shlex.split(line)
    assert command[1] == "http://127.0.0.1:8000/flights/predict"
    # The first flight after the as-of time, 2013-07-03, with every field of the request.
    assert json.loads(command[-1]) == {
        "carrier": "UA",
        "flight": 1545,
        "tailnum": "N14228",
        "origin": "EWR",
        "dest": "IAH",
        "scheduled_at": "2013-07-03T09:15:00Z",
    }


def test_a_run_as_json(played: type[Played], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(EXAMPLE), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [stage["stage"] for stage in found["stages"]] == list(flows.STAGES)
    assert found["stages"][1]["reused"] is True
    assert (found["model"]["version"], found["model"]["created"]) == (2, "2013-07-03T00:00:00Z")
    assert len(found["trials"]) == 4
    assert found["url"] == DEPLOYMENT.url
    assert "✓ ingest" in err
    assert out.count("\n") == 1


def test_only_so_far(played: type[Played], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(EXAMPLE), "--until", "gate", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [stage["stage"] for stage in found["stages"]] == ["ingest", "gate"]
    assert (found["model"], found["trials"], found["url"]) == (None, None, None)


def test_ingest_alone(played: type[Played], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", str(EXAMPLE)]) == 0
    assert capsys.readouterr().out == "✓ ingest    2 tables, 338,234 rows (0 new)   3.1 s\n"


def test_files_are_taken_out_when_that_is_asked_for(played: type[Played], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", str(EXAMPLE), "--anew"]) == main(["run", str(EXAMPLE)]) == 0
    assert [run.anew for run in played.asked] == [True, False]
    assert main(["ingest", str(EXAMPLE), "--anew", "--follow", "--json"]) == 2
    assert '"where":"--anew"' in capsys.readouterr().out.replace('": "', '":"')


def test_deploy_fits_nothing(played: type[Played], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", str(EXAMPLE), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [stage["stage"] for stage in found["stages"]] == ["ingest", "gate", "deploy"]


def test_the_moment(played: type[Played]) -> None:
    main(["run", str(EXAMPLE), "--as-of", "2013-08-01T12:00+02:00"])
    main(["run", str(EXAMPLE)])
    assert [run.as_of for run in played.asked] == [moment_of("2013-08-01T10:00Z"), moment_of("2013-07-03")]


def test_moments() -> None:
    assert moment_of(None) is None
    assert moment_of("1970-01-01T00:00:00.000007Z") == 7
    assert moment_of("2013-07-03") == moment_of("2013-07-02T20:00-04:00") == 1_372_809_600_000_000


def test_a_closed_gate_ends_it(
    played: type[Played], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(played, "fails_at", "gate")
    assert main(["run", str(EXAMPLE)]) == 4
    out, err = capsys.readouterr()
    assert out.splitlines() == ["✓ ingest    2 tables, 338,234 rows (0 new)   3.1 s"]
    assert err == "error: table flights: check `unique` failed. Look at the sample.\n"


def test_a_faulty_definition_opens_nothing(played: type[Played], tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("pipeline = None\n")
    assert main(["run", str(tmp_path / "pipeline.py")]) == 2
    assert played.asked == []


@pytest.mark.parametrize(("job", "stages"), [("train", 6), ("ingest", 1), ("deploy", 3)])
def test_jobs_are_the_commands(
    played: type[Played], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], job: str, stages: int
) -> None:
    monkeypatch.setattr(sys, "argv", [f"jobs/{job}.py", str(EXAMPLE)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / f"jobs/{job}.py"), run_name="__main__")
    assert ended.value.code == 0
    assert sum(line.startswith("✓") for line in capsys.readouterr().out.splitlines()) == stages


@pytest.mark.parametrize("job", ["train", "ingest", "deploy", "materialize"])
def test_jobs_need_to_know_where_everything_is_kept(job: str, tmp_path: Path) -> None:
    """A job's own folder is a copy that Ray throws away: tables in it would be lost."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [sys.executable, str(ROOT / f"jobs/{job}.py"), str(EXAMPLE)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: RAYPIPE_WORKSPACE: is not an absolute path.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job", ["train", "ingest", "deploy", "materialize"])
def test_jobs_say_how_they_are_submitted(job: str) -> None:
    text = (ROOT / f"jobs/{job}.py").read_text()
    submit = "ray job submit --address http://127.0.0.1:8265 --working-dir ."
    assert f"{submit} -- python jobs/{job}.py examples/flights/pipeline.py" in text
    command = [sys.executable, str(ROOT / f"jobs/{job}.py"), "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "FILE" in done.stdout


def test_a_closed_gate_is_passed_for_a_reason(played: type[Played]) -> None:
    assert main(["run", str(EXAMPLE), "--bypass-gate", " the supplier knows "]) == 0
    assert main(["run", str(EXAMPLE)]) == 0
    assert [run.bypass for run in played.asked] == ["the supplier knows", ""]


def test_no_reason_passes_no_gate(played: type[Played], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(EXAMPLE), "--bypass-gate", "  "]) == 2
    assert "--bypass-gate: the reason is empty. Say why" in capsys.readouterr().err
    assert played.asked == []


@pytest.mark.parametrize("is_job", [False, True], ids=["command", "job"])
def test_a_follower_passes_a_closed_gate_for_a_reason(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_job: bool
) -> None:
    asked: list[str] = []

    def here(name: str, work: Callable[..., Followed], platform: object, progress: Progress) -> Followed:
        return work(platform, progress)

    def keep_going(platform: object, progress: Progress, *, bypass: str, **_: object) -> Followed:
        asked.append(bypass)
        return Followed(batches=0, read=0, rows=0, bad=0, late=0, gates=0, stopped=(), snapshots=())

    monkeypatch.setattr(opened, "opened", lambda *_: nullcontext())
    monkeypatch.setattr("raypipe.flows.remote.on_cluster", here)
    monkeypatch.setattr("raypipe.flows.follow.follow", keep_going)

    def call(*options: str) -> int:
        if not is_job:
            return main(["ingest", str(EXAMPLE), *options])
        monkeypatch.setattr(sys, "argv", ["jobs/ingest.py", str(EXAMPLE), *options])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "jobs/ingest.py"), run_name="__main__")
        return int(ended.value.code or 0)

    assert call("--follow", "--bypass-gate", " the supplier knows ") == call("--follow") == 0
    assert asked == ["the supplier knows", ""]
    assert call("--follow", "--bypass-gate", "") == 2
    assert "--bypass-gate: the reason is empty. Say why" in capsys.readouterr().err
    assert call("--bypass-gate", "the supplier knows") == 2, "it lands rows, and no gate is asked"
    assert "--bypass-gate: no gate is asked before the next run. Add `--follow`" in capsys.readouterr().err
    assert len(asked) == 2


def test_without_a_champion_nothing_is_started_to_deploy_it(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(opened, "opened", lambda *_: pytest.fail("a cluster was started"))
    assert main(["deploy", str(EXAMPLE)]) == 1
    assert f"flights: has no champion to serve. Make one with `raypipe run {EXAMPLE}`." in capsys.readouterr().err
