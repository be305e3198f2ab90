"""Tables that other systems keep: which version is there now, and its rows, through Ray Data's readers.

A version is taken in like a file: once, whole, and named by what it holds. Rows that an earlier version had are there
already, so only new ones land. Where a system keeps no versions, a hash over all rows, made in it, stands for one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from raypipe.errors import RaypipeError, SourceError
from raypipe.lake.files import FoundFile
from raypipe.references import reveal
from raypipe.spec import Files

if TYPE_CHECKING:
    import ray.data

#: By kind of system, how it is reached, in the words of its own client.
Connections = Mapping[str, Mapping[str, str]]
#: What must be installed, and what must be said of the connection.
_NEEDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "iceberg": ("pyiceberg", ("uri",)),
    "delta": ("deltalake", ()),
    "snowflake": ("snowflake.connector", ("account", "user")),
    "bigquery": ("google.cloud.bigquery_storage", ("project_id",)),
    "databricks": ("requests", ("host", "token", "warehouse_id")),
    "clickhouse": ("clickhouse_connect", ("dsn",)),
}


@dataclass(frozen=True)
class FoundTable(FoundFile):
    """One version of a table, in the place of a file."""

    where: str
    version: str
    schema: pa.Schema | None
    rows: Callable[[Sequence[str]], "ray.data.Dataset"]

    @property
    def digest(self) -> str:
        """Names the version."""
        return sha256(f"{self.name}\0{self.version}".encode()).hexdigest()

    def require_unchanged(self) -> None:
        """A version stays as it is; of systems without any, the next ingestion sees the next one."""

    def blocks(self, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """Its rows, so many at a time.

        Raises:
            SourceError: it cannot be read.
        """
        try:
            yield from self.rows(columns).iter_batches(batch_size=rows, batch_format="pyarrow")
        except RaypipeError:
            raise
        except Exception as error:  # noqa: BLE001  # six clients, each with complaints of its own
            raise _unreadable(self.name, self.where, error) from None


def is_elsewhere(files: Files) -> bool:
    """True for a table of another system."""
    return files.format in _NEEDS


def find_table(files: Files, connections: Connections) -> FoundTable:
    """The version of a table that is there now.

    Raises:
        SourceError: its reader is not installed, nobody said how to reach it, or it cannot be read.
    """
    kind, name = files.format, f"{files.format} {files.path}"
    module, needed = _NEEDS[kind]
    if not _installed(module):
        cure = f"Run `pip install 'raypipe[{kind}]'`"
        raise SourceError(f"{module} is not installed", where=f"{name} ({files.where})", cure=cure)
    connection = {key: reveal(value) for key, value in connections.get(kind, {}).items()}
    if missing := [key for key in needed if not connection.get(key)]:
        cure = f"Write `[{kind}]` and `{missing[0]} = …` into raypipe.toml, or set RAYPIPE_{kind.upper()}"
        raise SourceError(f"nobody said its `{missing[0]}`", where=f"{name} ({files.where})", cure=cure)
    try:
        found = _OPENERS[kind](files.path, connection)
    except Exception as error:  # noqa: BLE001  # six clients, each with complaints of its own
        raise _unreadable(name, files.where, error) from None
    return FoundTable(name, Path(), 0, 0, files.where, found.version, found.schema, found.rows)


@dataclass(frozen=True)
class _Opened:
    """A table that answers: its version, its columns if it tells them before it is read, and how to read some."""

    version: str
    schema: pa.Schema | None
    rows: Callable[[Sequence[str]], "ray.data.Dataset"]


def _iceberg(table: str, connection: Mapping[str, str]) -> _Opened:
    import ray.data
    from pyiceberg.catalog import load_catalog
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    found = load_catalog("elsewhere", **connection).load_table(table)
    snapshot = found.metadata.current_snapshot_id
    return _Opened(
        f"{found.metadata.table_uuid}@{snapshot}",
        schema_to_pyarrow(found.schema(), include_field_ids=False),
        lambda columns: ray.data.read_iceberg(
            table_identifier=table,
            snapshot_id=snapshot,
            catalog_kwargs={"name": "elsewhere", **connection},
        ).select_columns(list(columns)),
    )


def _delta(path: str, connection: Mapping[str, str]) -> _Opened:
    import ray.data
    from deltalake import DeltaTable

    options = dict(connection) or None
    found = DeltaTable(path, storage_options=options)
    version = found.version()
    return _Opened(
        f"{found.metadata().id}@{version}",
        pa.schema(found.schema().to_arrow()),
        lambda columns: ray.data.read_delta(path, version=version, storage_options=options, columns=list(columns)),
    )


def _snowflake(table: str, connection: Mapping[str, str]) -> _Opened:
    from ray.data import read_api

    def ask(what: str) -> "ray.data.Dataset":
        return read_api.read_snowflake(f"SELECT {what} FROM {table}", dict(connection))  # noqa: S608  # plain names

    # Names as they are declared, where Snowflake would make them upper case.
    version = _hash(ask("COUNT(*) AS n, HASH_AGG(*) AS h"))
    return _Opened(version, None, lambda columns: ask(", ".join(f'{name} AS "{name}"' for name in columns)))


def _bigquery(table: str, connection: Mapping[str, str]) -> _Opened:
    from ray.data import read_api

    def ask(what: str) -> "ray.data.Dataset":
        query = f"SELECT {what} FROM `{table}` AS t"  # noqa: S608  # plain names
        return read_api.read_bigquery(connection["project_id"], query=query)

    # A sum, which two rows that are alike change as well: they cancel each other out in XOR.
    hashed = "COUNT(*) AS n, SUM(CAST(FARM_FINGERPRINT(TO_JSON_STRING(t)) AS NUMERIC)) AS h"
    return _Opened(_hash(ask(hashed)), None, lambda columns: ask(", ".join(f"`{name}`" for name in columns)))


def _databricks(table: str, connection: Mapping[str, str]) -> _Opened:
    from ray.data import read_api
    from ray.data._internal.datasource.databricks_credentials import StaticCredentialProvider

    way = StaticCredentialProvider(token=connection["token"], host=connection["host"])

    def ask(what: str) -> "ray.data.Dataset":
        return read_api.read_databricks_tables(
            warehouse_id=connection["warehouse_id"],
            query=f"SELECT {what} FROM {table}",  # noqa: S608  # plain names
            catalog=connection.get("catalog"),
            schema=connection.get("schema"),
            credential_provider=way,
        )

    hashed = "COUNT(*) AS n, SUM(CAST(XXHASH64(*) AS DECIMAL(38, 0))) AS h"
    return _Opened(_hash(ask(hashed)), None, lambda columns: ask(", ".join(f"`{name}`" for name in columns)))


def _clickhouse(table: str, connection: Mapping[str, str]) -> _Opened:
    from ray.data import read_api

    def ask(*columns: str) -> "ray.data.Dataset":
        return read_api.read_clickhouse(table=table, dsn=connection["dsn"], columns=list(columns))

    version = _hash(ask("count() AS n", "sum(cityHash64(*)) AS h"))
    return _Opened(version, None, lambda columns: ask(*(f"`{name}`" for name in columns)))


_OPENERS: dict[str, Callable[[str, Mapping[str, str]], _Opened]] = {
    "iceberg": _iceberg,
    "delta": _delta,
    "snowflake": _snowflake,
    "bigquery": _bigquery,
    "databricks": _databricks,
    "clickhouse": _clickhouse,
}


def _hash(answer: "ray.data.Dataset") -> str:
    return " ".join(str(value) for row in answer.take_all() for value in row.values())


def _unreadable(name: str, where: str, error: Exception) -> SourceError:
    """One sentence for a complaint of a client, which Ray may have wrapped."""
    cause = getattr(error, "cause", None) or error
    why = (str(cause).strip() or type(cause).__name__).splitlines()[-1]
    cure = "Check its name, your rights, and how it is reached"
    return SourceError(f"cannot be read: {why}", where=f"{name} ({where})", cure=cure)


def _installed(module: str) -> bool:
    parts = module.split(".")
    # Parents first: to look for a child imports its parent.
    return all(find_spec(".".join(parts[: place + 1])) for place in range(len(parts)))
