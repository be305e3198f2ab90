"""One batch on 1, 2 and 4 nodes of a Ray cluster, each with one CPU: what is gained, and that the answers are the same.

The nodes share this machine, so more of them than it has cores can gain nothing.
"""

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from benchmarks.report import QUICK, Row
from benchmarks.scale import rides
from benchmarks.scale.command import SECONDS, free_ports, timed
from benchmarks.scale.past import Past
from raypipe.flows.predict import PART_ROWS
from raypipe.lake import Lake
from raypipe.services import ServicesConfig
from tests.chaos.nodes import Nodes, nodes

NODES = (1, 2) if QUICK else (1, 2, 4)
ROWS = (2 if QUICK else 8) * PART_ROWS
NAME = "rides"


def measure() -> Iterator[Row]:
    """A row for each number of nodes."""
    sums = set()
    with TemporaryDirectory(prefix="raypipe-scale-", dir="/tmp") as folder:
        questions = Path(folder) / "asked.parquet"
        _questions().write_parquet(questions, row_group_size=PART_ROWS)
        for many in NODES:
            workspace = Path(folder) / f"{many}"
            past = Past(workspace, workspace / "made")
            past.promoted(NAME, 1)
            past.close()
            serve, dashboard, mlflow = free_ports(3)
            config = ServicesConfig(workspace, serve_port=serve, dashboard_port=dashboard, mlflow_port=mlflow)
            with nodes(config, workers=many - 1) as cluster:
                file = str(rides.definition(workspace / "made", NAME))
                _call(cluster, workspace, many, "run", file, "--until", "gate")
                _call(cluster, workspace, many, "materialize", file)
                words = ("predict", NAME, "--batch", str(questions))
                said, seconds = timed(partial(_call, cluster, workspace, many, *words))
            batch = json.loads(said.splitlines()[-1])
            assert (batch["rows"], batch["refused"]) == (ROWS, 0), batch
            scores = Lake(workspace / "lake").batches(NAME).frame(batch["batch"])
            sums.add(round(scores.select(pl.col("probability").sum()).collect().item(), 3))
            assert len(sums) == 1, f"the answers differ with the nodes: {sums}"
            yield Row("raypipe", f"{many} node{'s' * (many > 1)}", {"batch_s": seconds, "rows_s": ROWS / seconds})


def _questions() -> pl.DataFrame:
    return pl.DataFrame({"n": range(ROWS)}).select(
        ride=pl.format("r{}", "n"),
        zone=pl.when(pl.col("n") % 2 == 0).then(pl.lit("a")).otherwise(pl.lit("b")),
        asked_at=pl.lit("2013-07-01T09:00:00Z").str.to_datetime(time_zone="UTC"),
    )


def _call(cluster: Nodes, workspace: Path, many: int, *words: str) -> str:
    running = cluster.command(workspace, *words, RAYPIPE_CPUS=str(many))
    said, _ = running.communicate(timeout=SECONDS)
    if running.returncode:
        raise RuntimeError(f"raypipe {' '.join(words)} on {many} nodes: {said[-2000:]}")
    return said


def cores() -> int:
    """How many of the nodes can work at once."""
    return len(os.sched_getaffinity(0))
