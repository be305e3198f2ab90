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
#: The issue's limit for one schedule over half a year.
MINUTES = 10


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        weekly = Path(folder) / "weekly.toml"
        weekly.write_text(WEEKLY)
        command = [sys.executable, "-m", "raypipe.cli", "replay", PIPELINE, "--from", "2013-07-01", "--json"]
        command += ["--to", "2013-07-14" if QUICK else "2013-12-31", "--policy", str(weekly), "--policy", "hybrid"]
        began = time.perf_counter()
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        minutes = (time.perf_counter() - began) / 60
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        return done.returncode
    results = {result["policy"]: result for result in json.loads(done.stdout)["policies"]}
    shown = ("rows", "loss", "trainings", "won", "seconds", "alarms", "recovery_days")
    rows = [Row(name, "flights from July", {key: result[key] for key in shown}) for name, result in results.items()]
    frozen, weeks, mixed = (results[name] for name in ("never", "weekly", "hybrid"))
    gain = frozen["loss"] - weeks["loss"]
    kept = (frozen["loss"] - mixed["loss"]) / gain if gain > 0 else float("nan")
    share = mixed["trainings"] / max(weeks["trainings"], 1)
    aims = [
        Aim("weekly retraining's gain that hybrid keeps, share", kept, "at least 0.8", kept >= 0.8),
        Aim("of its trainings, share", share, "at most 0.25", share <= 0.25),
        Aim("minutes for all three", minutes, f"at most {MINUTES} for one", minutes <= MINUTES),
    ]
    write("replay", rows, aims, versions("lightgbm", "polars"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
