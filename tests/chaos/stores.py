"""What a production profile keeps things in, on loopback: each can be killed, and comes back with what it had kept."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep

from pyiceberg.catalog import Catalog, load_catalog

from tests.chaos.proxy import Proxy
from tests.cluster import servers

#: How long a server is away.
AWAY_SECONDS = 3.0


@dataclass
class Stores:
    """PostgreSQL, Redis that writes down every command, and an S3 API behind a network that can be cut."""

    folder: Path
    postgres: servers.Postgres
    s3: servers.S3
    network: Proxy
    redis_port: int
    _redis: "servers.subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def environment(self) -> dict[str, str]:
        """By which the S3 API is found, in every process."""
        return self.s3.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.network.port}"}

    def settings(self, name: str) -> dict[str, str]:
        """raypipe's own, for a database, a prefix and a Redis that hold nothing else; secrets by reference."""
        self.postgres.run(f"CREATE DATABASE {name} OWNER raypipe")
        urls = {"database": self.postgres.url(database=name), "redis": servers.redis_url(self.redis_port)}
        for what, url in urls.items():
            (self.folder / f"{name}.{what}").write_text(url)
        database = f"file:{self.folder / f'{name}.database'}"
        return {
            "ledger_url": database,
            "catalog_url": database,
            "warehouse_url": f"s3://{self.s3.bucket}/{name}",
            "online_url": f"file:{self.folder / f'{name}.redis'}",
        }

    def catalog(self, name: str) -> Catalog:
        """The tables as anybody reads them, past raypipe."""
        uri = self.postgres.url(database=name).replace("postgresql://", "postgresql+psycopg://")
        known = self.environment
        return load_catalog(
            "raypipe",
            type="sql",
            uri=uri,
            **{
                "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
                "s3.endpoint": known["AWS_ENDPOINT_URL"],
                "s3.access-key-id": known["AWS_ACCESS_KEY_ID"],
                "s3.secret-access-key": known["AWS_SECRET_ACCESS_KEY"],
                "s3.region": known["AWS_REGION"],
            },
        )

    def lose_postgres(self) -> None:
        """Killed, and back."""
        self.postgres.kill()
        sleep(AWAY_SECONDS)
        self.postgres.start()

    def lose_s3(self) -> None:
        """Connections end in the middle of what they carry, and new ones are refused; then it is there again."""
        self.network.cut()
        sleep(AWAY_SECONDS)
        self.network.heal()

    def lose_redis(self) -> None:
        """Killed, and back."""
        self.stop_redis()
        sleep(AWAY_SECONDS)
        self.start_redis()

    def start_redis(self) -> None:
        """With what it had written down."""
        kept = ("--appendonly", "yes", "--appendfsync", "always")
        self._redis = servers.start_redis(self.redis_port, self.folder, *kept)

    def stop_redis(self) -> None:
        """Kill it."""
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait(10)


@contextmanager
def stores(folder: Path, redis_port: int) -> Iterator[Stores]:
    """All of them until the end of the block."""
    folder.mkdir()
    with servers.postgres(folder / "pg") as postgres, servers.s3() as s3:
        host, _, port = s3.environment["AWS_ENDPOINT_URL"].removeprefix("http://").partition(":")
        with Proxy((host, int(port))) as network:
            found = Stores(folder, postgres, s3, network, redis_port)
            try:
                found.start_redis()
                yield found
            finally:
                with suppress(OSError):
                    found.stop_redis()
