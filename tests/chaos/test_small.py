"""The short form of `make chaos` on a cluster of several nodes: workers are lost, and nothing is lost or doubled."""

import json
import subprocess
import sys

import pytest

from tests.architecture.source import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.timeout(300)  # on a busy machine
def test_a_worker_is_lost_in_the_middle_of_its_work_and_no_row_is() -> None:
    command = [sys.executable, "-m", "tests.chaos.small"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "ingest": [2_000, 2_000, "clean"],
        "batch": [2_000, 2_000, "clean"],
    }
