"""One workspace with everything started, from raw files to a served model, as a user would get it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
EXAMPLE = ROOT / "examples/flights/pipeline.py"
#: Fewer trials than the example has: one of each algorithm, and one that the search proposes. Half of the rows do.
TRIALS = 4
SHORTER = {"trials=12": f"trials={TRIALS}", 'train="2013-01..2013-04"': 'train="2013-03..2013-04"'}


@dataclass(frozen=True)
class Installation:
    """A workspace of its own on ports of its own, driven by the commands that a user types."""

    workspace: Path
    pipeline: str
    env: dict[str, str]
    serve_url: str
    dashboard_url: str
    mlflow_url: str

    def raypipe(self, *args: str, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one `raypipe` command."""
        return self.command(str(BIN / "raypipe"), *args, timeout=timeout, **env)

    def command(self, *args: str, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        """Run any command in the project's folder."""
        return subprocess.run(
            args, cwd=ROOT, env=self.env | env, capture_output=True, text=True, timeout=timeout, check=False
        )

    def json(self, *args: str) -> object:
        """What a command prints with `--json`."""
        done = self.raypipe(*args, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def ask(self, **changes: object) -> httpx.Response:
        """Ask the flights service about one flight, with some fields changed; None leaves a field out."""
        row: dict[str, object] = {
            "carrier": "UA", "flight": 1545, "tailnum": "N14228", "origin": "EWR", "dest": "IAH",
            "scheduled_at": "2013-07-02T21:05:00-04:00",
        }  # fmt: skip
        row = {name: value for name, value in (row | changes).items() if value is not None}
        return httpx.post(f"{self.serve_url}/flights/predict", json=row, timeout=10)


@pytest.fixture(scope="module")
def installation(free_port: Callable[[], int]) -> Iterator[Installation]:
    """Nothing is up yet; whatever a test brings up is down at the end."""
    workspace = Path(tempfile.mkdtemp(prefix="rpe-", dir="/tmp"))
    serve, dashboard, mlflow = free_port(), free_port(), free_port()
    env = dict(os.environ) | {
        "RAYPIPE_WORKSPACE": str(workspace),
        "RAYPIPE_SERVE_PORT": str(serve),
        "RAYPIPE_DASHBOARD_PORT": str(dashboard),
        "RAYPIPE_MLFLOW_PORT": str(mlflow),
    }
    urls = [f"http://127.0.0.1:{port}" for port in (serve, dashboard, mlflow)]
    text = EXAMPLE.read_text()
    for whole, part in SHORTER.items():
        assert text.count(whole) == 1
        text = text.replace(whole, part)
    # Within the repository: a model's lineage names its commit.
    (ROOT / ".pytest_cache").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="flights-", dir=ROOT / ".pytest_cache"))
    pipeline = folder / "pipeline.py"
    pipeline.write_text(text)
    made = Installation(workspace, str(pipeline), env, *urls)
    yield made
    done = made.raypipe("down")
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(workspace, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def flights(installation: Installation) -> Installation:
    """The flights pipeline after a run that was killed in the middle, and the same command again.

    The rows are in the tables then, and nobody has written down that they are.
    """
    killed = installation.raypipe("run", installation.pipeline, RAYPIPE_FAILPOINT="stage.before_ledger=kill@1")
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    again = installation.raypipe("run", installation.pipeline, timeout=400)
    assert again.returncode == 0, again.stdout + again.stderr
    (installation.workspace / "run.txt").write_text(again.stdout)
    return installation
