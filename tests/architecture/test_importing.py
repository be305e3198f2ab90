"""`import raypipe` is quick and touches nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"lightgbm", "mlflow", "onnxruntime", "pandas", "pyiceberg", "ray", "sklearn", "torch"}

# Audit events see what any module does while it is imported, however it does it.
PROBE = """
import json, sys, time
touched = []
def watch(event, args):
    if event == "open" and isinstance(args[0], str) and not str(args[1] or "r").startswith("r"):
        touched.append(["write", args[0]])
    elif event in ("os.mkdir", "os.remove", "os.rename", "socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        touched.append([event, str(args[0])])
sys.addaudithook(watch)
before = time.process_time()
import raypipe
spent = time.process_time() - before
print(json.dumps({"spent": spent, "touched": touched, "modules": sorted(sys.modules)}))
"""


def import_raypipe(folder: Path) -> dict[str, object]:
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", PROBE]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


@pytest.mark.alone
def test_importing_is_quick(tmp_path: Path) -> None:
    # CPU time, best of five: what is asked is the cost of our imports, not how busy the machine is.
    assert min(import_raypipe(tmp_path)["spent"] for _ in range(5)) < 0.3


def test_importing_touches_nothing(tmp_path: Path) -> None:
    report = import_raypipe(tmp_path)
    assert report["touched"] == []
    assert list(tmp_path.iterdir()) == []


def test_importing_loads_nothing_heavy(tmp_path: Path) -> None:
    assert HEAVY.isdisjoint(import_raypipe(tmp_path)["modules"])
