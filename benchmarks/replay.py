"""`make replay`: half a year of flights under several retraining policies, each from the same first of July.

It starts what `raypipe replay` starts. ``QUICK=1`` lives through two weeks, which shows that it works and nothing else.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import QUICK, Aim, Row, versions, write

PIPELINE = "examples/flights/pipeline.py"
WEEKLY = 'name = "weekly"\nany = [{schedule = "0 0 * * MON"}]\ncooldown_days = 0\nnew_rows = 0\n'
#: The preset with other limits, to show how much depends on its own.
HYBRID = 'name = "hybrid, {0}"\nany = [{{regret = {0}}}, {{age_days = 90}}]\ncooldown_days = 3\ndaily_cap = 1\n'
LIMITS = (60, 120)
#: How long one schedule over half a year may take.
MINUTES = 10


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        weekly = written(Path(folder) / "weekly.toml", WEEKLY)
        others = [written(Path(folder) / f"{limit}.toml", HYBRID.format(limit)) for limit in LIMITS]
        began = time.perf_counter()
        results = replayed(weekly)
        minutes = (time.perf_counter() - began) / 60
        results = replayed("hybrid", *others) | results
    shown = ("rows", "loss", "trainings", "won", "seconds", "alarms", "recovery_days")
    rows = [Row(name, "flights from July", {key: result[key] for key in shown}) for name, result in results.items()]
    frozen, weeks, mixed = (results[name] for name in ("never", "weekly", "hybrid"))
    gain = frozen["loss"] - weeks["loss"]
    kept = (frozen["loss"] - mixed["loss"]) / gain if gain > 0 else float("nan")
    share = mixed["trainings"] / max(weeks["trainings"], 1)
    aims = [
        Aim("weekly retraining's gain that hybrid keeps, share", kept, "at least 0.8", kept >= 0.8),
        Aim("of its trainings, share", share, "at most 0.25", share <= 0.25),
        Aim("minutes for one schedule, and no retraining beside it", minutes, f"at most {MINUTES}", minutes <= MINUTES),
    ]
    write("replay", rows, aims, versions("lightgbm", "polars"))
    return 0


def written(file: Path, text: str) -> str:
    file.write_text(text)
    return str(file)


def replayed(*policies: str) -> dict[str, dict[str, float]]:
    """What each policy came to, and none at all, by name."""
    command = [sys.executable, "-m", "raypipe.cli", "replay", PIPELINE, "--from", "2013-07-01", "--json"]
    command += ["--to", "2013-07-14" if QUICK else "2013-12-31"]
    command += [word for policy in policies for word in ("--policy", policy)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stdout or done.returncode)
    found: list[dict[str, float]] = json.loads(done.stdout)["policies"]
    return {str(result["policy"]): result for result in found}


if __name__ == "__main__":
    sys.exit(main())
