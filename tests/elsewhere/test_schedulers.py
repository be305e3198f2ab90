"""Prefect and Airflow submit a job of ours, wait for it, and have what it came to: examples/schedulers as they are."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.scale.command import free_ports
from raypipe.clock import SystemClock
from raypipe.contracts.records import TrainingSet
from raypipe.ledger import Ledger
from raypipe.services import ServicesConfig
from tests.chaos import trips
from tests.chaos.nodes import ROOT, Nodes, nodes
from tests.elsewhere.venvs import done, python_with

PREFECT, AIRFLOW = ("prefect==3.9.1",), ("apache-airflow==3.3.2",)
FILE = str(ROOT / "tests" / "chaos" / "trips.py")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with tempfile.TemporaryDirectory(prefix="sched-", dir="/tmp") as name:
        folder = Path(name)
        trips.ship(folder / "data")
        serve, dashboard, mlflow = free_ports(3)
        config = ServicesConfig(folder / "w", serve_port=serve, dashboard_port=dashboard, mlflow_port=mlflow)
        own = {"RAYPIPE_RAY_ADDRESS": "auto", "RAYPIPE_MLFLOW_URL": config.mlflow_url}
        with nodes(config, workers=0, CHAOS_DATA=str(folder / "data"), **own) as found:
            yield found


def environment(cluster: Nodes, home: Path) -> dict[str, str]:
    return {
        "PATH": os.pathsep.join([str(ROOT / ".venv" / "bin"), "/usr/bin", "/bin"]),
        "HOME": str(home),
        "RAY": str(ROOT / ".venv" / "bin" / "ray"),
        "RAY_API_SERVER_ADDRESS": cluster.config.dashboard_url,
    }


def made(cluster: Nodes) -> TrainingSet:
    """What the job has come to, by the ledger."""
    ledger = Ledger.in_folder(cluster.config.workspace, SystemClock())
    [entry] = ledger.entries("stage.features", "trips")
    ledger.close()
    return TrainingSet.from_json(entry.body)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_prefect(cluster: Nodes, tmp_path: Path) -> None:
    python = python_with(*PREFECT)
    quiet = {
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "DO_NOT_TRACK": "1",
    }
    command = [python, ROOT / "examples" / "schedulers" / "prefect_flow.py", FILE, "--until", "features"]
    said = done(command, env=environment(cluster, tmp_path) | quiet, cwd=tmp_path)
    told = json.loads(said.splitlines()[-1])
    assert [stage["stage"] for stage in told["stages"]] == ["ingest", "gate", "features"]
    assert made(cluster).rows["train"] > 0


@pytest.mark.long
@pytest.mark.timeout(900)
def test_airflow(cluster: Nodes, tmp_path: Path) -> None:
    python = python_with(*AIRFLOW)
    own = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "examples" / "schedulers"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PIPELINE": FILE,
        "OPTIONS": "--until features",
    }
    settings = environment(cluster, tmp_path) | own
    airflow = python.with_name("airflow")
    done([airflow, "db", "migrate"], env=settings, cwd=tmp_path)
    assert "raypipe_train" in done([airflow, "dags", "list", "--local"], env=settings, cwd=tmp_path)
    done([airflow, "dags", "test", "raypipe_train", "2024-04-01"], env=settings, cwd=tmp_path)
    jobs = httpx.get(f"{cluster.config.dashboard_url}/api/jobs/", timeout=30).json()
    [ours] = [job for job in jobs if "--as-of 2024-04-01" in job["entrypoint"]]
    assert ours["status"] == "SUCCEEDED"
    assert made(cluster).rows["train"] > 0
