"""A table of ours, as the gate has let it through."""

import os

from pyiceberg.catalog import load_catalog


def model(dbt: object, session: object) -> object:  # noqa: ARG001  # what dbt hands to every model
    """``RAYPIPE_CATALOG``: ``sqlite:////srv/flights/.raypipe/lake/catalog.db``, or the PostgreSQL database."""
    catalog = load_catalog("raypipe", type="sql", uri=os.environ["RAYPIPE_CATALOG"])
    return catalog.load_table("lake.flights").scan().to_arrow()
