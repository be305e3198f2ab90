"""Nothing phones home, in no process that raypipe starts or is."""

import os
import subprocess
import sys

import pytest

SWITCHES = {"MLFLOW_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED", "DO_NOT_TRACK"}


@pytest.mark.parametrize("way_in", ["from raypipe.cli.main import main; main(['--version'])", "connect(Settings())"])
def test_every_way_in_turns_it_off(way_in: str, tmp_path: object) -> None:
    code = f"""
import os, sys
from raypipe.settings import Settings
from raypipe.wiring import connect
assert "onnxruntime" not in sys.modules and "mlflow" not in sys.modules
{way_in}
print(sorted(name for name in {SWITCHES!r} if name in os.environ))
"""
    env = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=str(tmp_path), capture_output=True, text=True)  # noqa: PLW1510
    assert done.stdout.splitlines()[-1] == str(sorted(SWITCHES)), done.stdout + done.stderr
