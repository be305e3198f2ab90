"""The parts of a cluster, each a real server, shared by all tests here."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import servers


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A socket's path holds at most 107 bytes: pytest's own folders are too deep."""
    folder = Path(tempfile.mkdtemp(prefix="rpc-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(short_folder: Path) -> Iterator[servers.Postgres]:
    with servers.postgres(short_folder / "pg") as found:
        yield found


@pytest.fixture(scope="session")
def redis_url(free_port: Callable[[], int], short_folder: Path) -> Iterator[str]:
    with servers.redis_server(free_port(), short_folder) as found:
        yield found


@pytest.fixture(scope="session")
def s3() -> Iterator[servers.S3]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with servers.s3() as found:
        yield found


@pytest.fixture
def database(postgres: servers.Postgres) -> str:
    """The URL of an empty database."""
    postgres.run("DROP DATABASE IF EXISTS raypipe WITH (FORCE)")
    postgres.run("CREATE DATABASE raypipe OWNER raypipe")
    return postgres.url()


@pytest.fixture
def production(
    database: str,
    redis_url: str,
    s3: servers.S3,
    free_port: Callable[[], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A working folder whose `raypipe.toml` names all of them, secrets by reference; empty servers, no MLflow."""
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    (tmp_path / "redis_url").write_text(redis_url + "\n")
    (tmp_path / "raypipe.toml").write_text(
        'ledger_url = "env:LEDGER_URL"\ncatalog_url = "env:LEDGER_URL"\n'
        f'warehouse_url = "s3://{s3.bucket}/{tmp_path.name}"\nonline_url = "file:{tmp_path / "redis_url"}"\n'
        # Not the usual port: somebody's own MLflow may be there.
        f"mlflow_port = {free_port()}\n"
    )
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LEDGER_URL", database)
    monkeypatch.chdir(tmp_path)
    return tmp_path
