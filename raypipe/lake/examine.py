"""How a lake's catalog and warehouse are: there, of the right shape, and writable."""

import uuid
from collections.abc import Iterator

from pyarrow.lib import ArrowException
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from raypipe.contracts.databases import database_url
from raypipe.contracts.findings import Finding
from raypipe.errors import SettingsError
from raypipe.lake import storage

TABLES = {"iceberg_tables", "iceberg_namespace_properties"}


def examine_catalog(url: str) -> Iterator[Finding]:
    """Look at the catalog's PostgreSQL database; nothing is changed."""
    cure = "Check host, port and network; the user and its password; and that the database exists"
    try:
        engine = create_engine(database_url(url))
    except SettingsError as error:
        yield Finding(part="catalog", check="reached", state="fault", detail=error.what, cure=error.cure)
        return
    try:
        with engine.connect() as connection:
            yield Finding(part="catalog", check="reached", state="ok", detail=f"database {engine.url.database}")
            there = inspect(connection)
            if not set(there.get_table_names()) >= TABLES:
                detail, cure = "has no tables yet", "The first run makes them"
                yield Finding(part="catalog", check="schema", state="warning", detail=detail, cure=cure)
                return
            if "iceberg_type" not in {column["name"] for column in there.get_columns("iceberg_tables")}:
                cure = "ALTER TABLE iceberg_tables ADD COLUMN iceberg_type VARCHAR(5)"
                detail = "is of Iceberg's first layout, which knows no views"
                yield Finding(part="catalog", check="schema", state="warning", detail=detail, cure=cure)
                return
            many = connection.execute(text("SELECT count(*) FROM iceberg_tables")).scalar_one()
            yield Finding(part="catalog", check="schema", state="ok", detail=f"names {many:,} tables")
    except DBAPIError as error:
        detail = " ".join(str(error.orig).split())
        yield Finding(part="catalog", check="reached", state="fault", detail=detail, cure=cure)
    finally:
        engine.dispose()


def examine_warehouse(url: str) -> Iterator[Finding]:
    """Write, read and remove one small object where the tables' files are."""
    path = f"{url.rstrip('/')}/raypipe-doctor-{uuid.uuid4().hex}"
    there, step = storage.filesystem(path), "written"
    try:
        with there.open_output_stream(storage.bare(path)) as stream:
            stream.write(b"well")
        step = "read"
        with there.open_input_stream(storage.bare(path)) as stream:
            stream.read()
        step = "removed"
        there.delete_file(storage.bare(path))
    except (OSError, ArrowException) as error:
        detail = f"an object cannot be {step}: {' '.join(str(error).split())}"
        cure = "Check the bucket's name, AWS_ENDPOINT_URL, AWS_REGION, and that the key or role may get, put and delete"
        yield Finding(part="warehouse", check="writable", state="fault", detail=detail, cure=cure)
        return
    yield Finding(part="warehouse", check="writable", state="ok", detail=f"{url}: an object was written and removed")
