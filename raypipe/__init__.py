"""raypipe: the whole life of a machine-learning model on one Ray cluster. The names a pipeline file needs.

A name is imported when it is first asked for: a command that defines no pipeline does not pay for Polars.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raypipe.client import Client
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
        scalars,
        search,
        seconds,
        shares,
        snowflake,
        sql,
        to_utc,
    )
    from raypipe.spec.search import Search
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
    "scalars",
    "search",
    "seconds",
    "shares",
    "snowflake",
    "sql",
    "to_utc",
]
__version__ = "0.1.0"

_ELSEWHERE = {"Client": "raypipe.client", "load": "raypipe.wiring"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module `raypipe` has no attribute `{name}`")
    # As `from … import …` does it: some of the names are modules of their own.
    return getattr(__import__(_ELSEWHERE.get(name, "raypipe.spec"), fromlist=[name]), name)


def __dir__() -> list[str]:
    return __all__
