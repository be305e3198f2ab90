"""raypipe: the whole life of a machine-learning model on one Ray cluster. The names a pipeline file needs."""

from typing import TYPE_CHECKING

from raypipe.spec import (
    AtLeast,
    Finish,
    Log,
    Pipeline,
    Retrain,
    Stream,
    Table,
    agg,
    avro,
    bigquery,
    calendar,
    checks,
    clickhouse,
    csv,
    databricks,
    days,
    delta,
    derived,
    hours,
    iceberg,
    json_lines,
    kafka,
    kinesis,
    minutes,
    models,
    orc,
    parquet,
    periods,
    pubsub,
    python,
    request,
    retrain,
    row_function,
    search,
    seconds,
    shares,
    snowflake,
    sql,
    to_utc,
)
from raypipe.spec.search import Search

if TYPE_CHECKING:
    from raypipe.client import Client
    from raypipe.wiring import load

__all__ = [
    "AtLeast",
    "Client",
    "Finish",
    "Log",
    "Pipeline",
    "Retrain",
    "Search",
    "Stream",
    "Table",
    "__version__",
    "agg",
    "avro",
    "bigquery",
    "calendar",
    "checks",
    "clickhouse",
    "csv",
    "databricks",
    "days",
    "delta",
    "derived",
    "hours",
    "iceberg",
    "json_lines",
    "kafka",
    "kinesis",
    "load",
    "minutes",
    "models",
    "orc",
    "parquet",
    "periods",
    "pubsub",
    "python",
    "request",
    "retrain",
    "row_function",
    "search",
    "seconds",
    "shares",
    "snowflake",
    "sql",
    "to_utc",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # The client needs httpx; a pipeline file does not pay for it.
    if name == "Client":
        from raypipe.client import Client

        return Client
    if name == "load":
        from raypipe.wiring import load

        return load
    raise AttributeError(f"module `raypipe` has no attribute `{name}`")
