"""A Prefect flow that submits a pipeline as a Ray job, waits for it, and hands on what came of it.

It runs where Prefect is; raypipe is on the cluster. ``RAY`` names the `ray` program, which another Python may have,
``RAY_API_SERVER_ADDRESS`` the dashboard:

    RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265 python prefect_flow.py /srv/flights/pipeline.py
"""

import json
import os
import subprocess
import sys
from typing import Any

from prefect import flow, get_run_logger, task


@task(retries=2, retry_delay_seconds=60)
def run(file: str, *options: str) -> dict[str, Any]:
    """Tried again, it goes on where it stopped: stages that were done are not done again."""
    command = [os.environ.get("RAY", "ray"), "job", "submit", "--", "raypipe", "run", file, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the job failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    documents = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return dict(json.loads(documents[-1]))


@flow
def train(file: str, *options: str) -> dict[str, Any]:
    """One run of a pipeline; what it came to, as ``raypipe run --json`` prints it."""
    found = run(file, *options)
    get_run_logger().info("%s came to %s", file, ", ".join(found))
    return found


if __name__ == "__main__":
    print(json.dumps(train(*sys.argv[1:])))
