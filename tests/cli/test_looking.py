"""Commands that only look import what they need to look, whatever the workspace holds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raypipe.clock import ManualClock
from raypipe.ledger import Ledger
from raypipe.registry.rows import REGISTERED, Registered
from tests.cli.records import LINEAGE, MADE

HEAVY = ("lightgbm", "mlflow", "numpy", "onnxruntime", "polars", "pyarrow", "pyiceberg", "ray", "scipy", "torch")
PROBE = "import sys; from raypipe.cli.main import main; code = main(sys.argv[1:]); print(*sys.modules); sys.exit(code)"


@pytest.mark.parametrize("words", ["models", "models flights --json", "lineage flights/1", "history flights", "status"])
def test_looking_loads_nothing_heavy(workspace: Path, words: str) -> None:
    ledger = Ledger.in_folder(workspace, ManualClock(MADE))
    row = Registered(version=1, algorithm="linear", metrics={"auc": 0.7}, digest="d1", lineage=LINEAGE)
    ledger.append(f"{REGISTERED}/flights/1", REGISTERED, "flights", row.to_json())
    ledger.close()
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words.split()], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(HEAVY).isdisjoint(done.stdout.splitlines()[-1].split())
