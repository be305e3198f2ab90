"""Programs whose pins are not ours, each with a Python of its own that is kept for the next time."""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".pytest_cache" / "venvs"


def python_with(*packages: str) -> Path:
    """A Python with some packages from the registry; made anew when they are others."""
    folder = KEPT / f"{packages[0].partition('=')[0]}-{hashlib.sha256(repr(packages).encode()).hexdigest()[:8]}"
    python, whole = folder / "bin" / "python", folder / "whole"
    if not whole.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True
        )
        whole.touch()
    return python


def done(command: list[str | Path], **how: object) -> str:
    """What a program says that succeeds; all that it said, when it does not."""
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900, **how)  # type: ignore[call-overload]  # as they are
    assert found.returncode == 0, f"{found.stdout[-3000:]}\n{found.stderr[-3000:]}"
    return str(found.stdout)
