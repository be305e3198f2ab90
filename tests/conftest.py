"""Fixtures that every room's tests share, and the environment they run in."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

# Libraries read these when they are imported, so they stand before any other import can happen. Ray hands them on
# to its worker processes.
os.environ.update(
    # Nothing phones home. ONNX Runtime and MLflow do by default; MLflow takes no other value than "true".
    DO_NOT_TRACK="true",
    MLFLOW_DISABLE_TELEMETRY="true",
    ORT_DISABLE_TELEMETRY="1",
    # Five more processes beside each server, for evaluation jobs that nobody asks for.
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    RAY_USAGE_STATS_ENABLED="0",
    # A cluster for two cores: no token, one reader of Parquet footers instead of 32, few shuffle partitions.
    RAY_AUTH_MODE="disabled",
    RAY_DATA_DEFAULT_MIN_PARALLELISM="4",
    RAY_DATA_DISABLE_PROGRESS_BARS="1",
    RAY_DATA_PARQUET_FOOTER_NUM_ACTORS="1",
    RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.5",
    # What is counted can be asked for after a second, not after ten.
    RAY_metrics_report_interval_ms="1000",
    # Ray's workers would be served last of all, and the tests that run beside them would let them starve.
    RAY_worker_niceness="0",
    # Ray announces a change of this default with a warning at every start; this is the new default.
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    # Each worker process would otherwise start a thread per core.
    OMP_NUM_THREADS="1",
    MPLBACKEND="Agg",
)
# A test must never join a cluster, or read settings, that it did not make.
for name in [name for name in os.environ if name == "RAY_ADDRESS" or name.startswith("RAYPIPE_")]:
    del os.environ[name]
# Processes that tests start are not to compile the sources again, each for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The machine may be busy, so a slow example is no fault; in CI the same commit draws the same examples.
hypothesis_settings.register_profile("raypipe", deadline=None, derandomize="CI" in os.environ, print_blob=True)
hypothesis_settings.load_profile("raypipe")

from benchmarks.two_cores import two_cores  # noqa: E402  # after the environment is set
from raypipe.clock import ManualClock  # noqa: E402

#: What `make test` looks for in files before it asks pytest for the tests that have a mark.
SIGNS = {"ray": r"ray_local|mark\.ray", "alone": r"mark\.alone"}


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use the cluster carry the mark; `make test` finds the files with a mark by their text."""
    for item in items:
        if "ray_local" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)
        for mark, sign in SIGNS.items():
            if item.get_closest_marker(mark) and not re.search(sign, _text(item.path)):
                raise pytest.UsageError(f"{item.nodeid}: `make test` would not find it, its file has no `{sign}`")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Doctests are looked for in every file; a pipeline that tests read as input is not a test."""
    is_input = collection_path.suffix == ".py" and not collection_path.name.startswith(("test_", "conftest"))
    return True if is_input else None


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """A Ray cluster of two CPUs in this session's own folder; shared by all tests, so leave no actor behind."""
    with two_cores():
        yield


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace folder, which the settings name too."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    monkeypatch.setenv("RAYPIPE_WORKSPACE", str(folder))
    return folder


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a port of 127.0.0.1 that was free a moment ago, never the same one twice."""
    given: set[int] = set()

    def find() -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port not in given:
                given.add(port)
                return port

    return find


@pytest.fixture
def clock() -> ManualClock:
    """A clock at 2013-07-01 00:00 UTC that moves when told to."""
    return ManualClock(1_372_636_800_000_000)


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without content: making its tables takes seconds, copying them none."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}", f"sqlite:///{file}").search_experiments()
    return file
