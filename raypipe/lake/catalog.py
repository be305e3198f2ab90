"""The catalog of a lake, in SQLite or PostgreSQL: one Iceberg table a source."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import IcebergType, NestedField
from sqlalchemy import URL, NullPool, create_engine, text

from raypipe.contracts.databases import database_url
from raypipe.failpoints import failpoint
from raypipe.lake import storage

NAMESPACE = "lake"
#: How long one process waits for another that is writing to the catalog.
WAIT_SECONDS = 30
PROPERTIES = {
    # A conflict is looked at, never retried blindly: the other writer may have taken in the very same files.
    "commit.retry.num-retries": "0",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


def open_catalog(folder: Path, database: str = "", warehouse: str = "") -> SqlCatalog:
    """The catalog of a lake; made when it is not there.

    Args:
        folder: the lake's.
        database: a PostgreSQL URL, or a reference to one; empty: a SQLite file in the folder.
        warehouse: where files are, a folder or ``s3://bucket/prefix``; empty: in the folder.

    Raises:
        SettingsError: the database cannot be named.
    """
    if database:
        uri = database_url(database)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        uri = URL.create("sqlite", database=str(folder / "catalog.db"), query={"timeout": str(WAIT_SECONDS)})
    properties = {"warehouse": warehouse or str(folder / "warehouse"), **storage.io_properties(warehouse)}
    with _alone(folder, uri):  # all look first and make then: two at once would both make
        catalog = SqlCatalog("raypipe", uri=uri.render_as_string(hide_password=False), **properties)
        catalog.engine.dispose()
        catalog.engine = create_engine(uri, poolclass=NullPool)  # no connection stays open, or is forked
        catalog.properties["uri"] = uri.render_as_string()  # every table carries these: without the password
        catalog.create_namespace_if_not_exists(NAMESPACE)
    return catalog


@contextmanager
def _alone(folder: Path, uri: URL) -> Iterator[None]:
    if uri.drivername == "sqlite":
        with FileLock(folder / "catalog.lock"):
            yield
        return
    engine = create_engine(uri, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('raypipe catalog'))"))
        yield


def load_table(catalog: SqlCatalog, name: str) -> Table | None:
    """The table as it is now; None when there is none."""
    try:
        return catalog.load_table(f"{NAMESPACE}.{name}")
    except NoSuchTableError:
        return None


def open_table(catalog: SqlCatalog, name: str, columns: Mapping[str, IcebergType]) -> Table:
    """The table as it is now; made, empty, when there is none."""
    if (table := load_table(catalog, name)) is not None:
        return table
    fields = [NestedField(place, name, kind) for place, (name, kind) in enumerate(columns.items(), 1)]
    made = catalog.create_table_transaction(f"{NAMESPACE}.{name}", Schema(*fields), properties=PROPERTIES)
    # A branch other than main needs a snapshot to start from: the empty one.
    made.update_snapshot(snapshot_properties={"raypipe.from": "nothing", "raypipe.files": "[]"}).fast_append().commit()
    with suppress(TableAlreadyExistsError, CommitFailedException):  # somebody else made it just now
        made.commit_transaction()
    failpoint("ingest.table_made")
    return catalog.load_table(f"{NAMESPACE}.{name}")
