"""MLflow as a cluster has it: a server elsewhere, its tables in PostgreSQL, files through the server.

The one real server of the tests beside that of `raypipe up`: to start one takes longer than to ask it all of this.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from mlflow import MlflowClient

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from tests.cluster import servers
from tests.contracts.bundles import ROWS, expected_scores
from tests.registry.making import lineage_of, loader, make_candidate

pytestmark = [
    pytest.mark.slow,
    # MLflow, of types of its own, when the module is imported that loads models.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture
def mlflow_url(postgres: servers.Postgres, free_port: Callable[[], int], tmp_path: Path) -> Iterator[str]:
    postgres.run("CREATE DATABASE mlflow OWNER raypipe")
    port = free_port()
    command = [
        str(Path(sys.executable).parent / "mlflow"),
        "server",
        f"--backend-store-uri={postgres.url(database='mlflow').replace('postgresql:', 'postgresql+psycopg:')}",
        f"--artifacts-destination={tmp_path / 'artifacts'}",
        "--host=127.0.0.1",
        f"--port={port}",
        "--workers=1",
    ]
    with (tmp_path / "mlflow.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/health").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=20)


def test_versions_reach_a_server_elsewhere(
    mlflow_url: str,
    database: str,
    tmp_path: Path,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ledger = Ledger.at(database, clock)
    try:
        registry = Registry(tmp_path / "registry", ledger, mlflow_url)
        candidate = make_candidate(tmp_path / "candidate", 1.0, 0.7, "set-1")
        pipeline = bundle.pipeline(Path(candidate.folder))
        version = registry.register(candidate, lineage_of(candidate, pipeline, 11))
        registry.promote(version.name, version.version, expect=None, why="the first", who="tests")
        there = MlflowClient(mlflow_url, mlflow_url).get_model_version_by_alias(version.name, "champion")
        assert there.tags["raypipe.digest"] == version.digest
        assert registry.mirror(version.name) == []
        assert capfd.readouterr().out == ""  # MLflow prints links; what is printed is for faces to decide
        with loader() as load:
            scores = load(mlflow_url, f"models:/{version.name}@champion").predict(ROWS.to_pandas())
        np.testing.assert_allclose(scores, expected_scores(1.0), atol=1e-6)
        away = Registry(tmp_path / "registry", ledger, mlflow_url.rpartition(":")[0] + ":1")
        better = make_candidate(tmp_path / "better", 2.0, 0.8, "set-2")
        second = away.register(better, lineage_of(better, pipeline, 12))
        assert "MLflow lags behind" in caplog.text
        registry.promote(version.name, second.version, expect=version.version, why="better", who="tests")
        champion = MlflowClient(mlflow_url, mlflow_url).get_model_version_by_alias(version.name, "champion")
        assert champion.tags["raypipe.digest"] == second.digest
    finally:
        ledger.close()
