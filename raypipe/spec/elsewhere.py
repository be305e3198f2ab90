"""Tables that other systems keep, read through Ray Data's readers. How they are reached is a setting each."""

from raypipe.spec.files import Files

#: Formats whose path is the name of a table, and no path.
NAMED = frozenset(("iceberg", "snowflake", "bigquery", "databricks", "clickhouse"))


def iceberg(table: str) -> Files:
    """An Iceberg table, as ``NAMESPACE.TABLE``. The setting ``iceberg`` names its catalog, in pyiceberg's words."""
    return Files("iceberg", table)


def delta(path: str) -> Files:
    """A Delta Lake table: a folder, or a URL of one. The setting ``delta`` holds its storage options."""
    return Files("delta", path)


def snowflake(table: str) -> Files:
    """A table or view of Snowflake. The setting ``snowflake`` says how to log in, in its connector's words."""
    return Files("snowflake", table)


def bigquery(table: str) -> Files:
    """A table of BigQuery, as ``DATASET.TABLE``. The setting ``bigquery`` names the ``project_id``."""
    return Files("bigquery", table)


def databricks(table: str) -> Files:
    """A table of Unity Catalog. The setting ``databricks`` has ``host``, ``token`` and ``warehouse_id``."""
    return Files("databricks", table)


def clickhouse(table: str) -> Files:
    """A table or view of ClickHouse. The setting ``clickhouse`` has its ``dsn``."""
    return Files("clickhouse", table)
