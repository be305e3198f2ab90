"""What a user declares: frozen values. No Ray, no reading or writing."""

from raypipe.spec.codec import fingerprint, from_json, to_json
from raypipe.spec.computed import computed, of_clock
from raypipe.spec.elsewhere import bigquery, clickhouse, databricks, delta, iceberg, snowflake
from raypipe.spec.expressions import Expression, to_utc
from raypipe.spec.features import Derived, Request, derived, request
from raypipe.spec.files import POLARS_TYPES, ColumnType, Files, avro, csv, json_lines, orc, parquet
from raypipe.spec.finish import Finish
from raypipe.spec.functions import RowFunction, python, row_function
from raypipe.spec.lint import lint
from raypipe.spec.live import Live, kafka, kinesis, pubsub, sql
from raypipe.spec.load import load
from raypipe.spec.log import Log
from raypipe.spec.pipeline import AtLeast, Inputs, Pipeline
from raypipe.spec.retrain import Retrain
from raypipe.spec.search import HIGHER_IS_BETTER, TASK_METRICS, Choice, Model, Parameter, Range, Search, more_is_better
from raypipe.spec.sources import (
    Ask,
    FeatureGroup,
    Keyed,
    Label,
    Lookup,
    Moment,
    Source,
    Stream,
    Table,
    TableFeatures,
)
from raypipe.spec.split import PARTS, Periods, Shares, Split, periods, shares
from raypipe.spec.values import FrozenMap, changed, days, hours, in_words, micros, minutes, seconds

__all__ = [
    "HIGHER_IS_BETTER",
    "PARTS",
    "POLARS_TYPES",
    "TASK_METRICS",
    "Ask",
    "AtLeast",
    "Choice",
    "ColumnType",
    "Derived",
    "Expression",
    "FeatureGroup",
    "Files",
    "Finish",
    "FrozenMap",
    "Inputs",
    "Keyed",
    "Label",
    "Live",
    "Log",
    "Lookup",
    "Model",
    "Moment",
    "Parameter",
    "Periods",
    "Pipeline",
    "Range",
    "Request",
    "Retrain",
    "RowFunction",
    "Search",
    "Shares",
    "Source",
    "Split",
    "Stream",
    "Table",
    "TableFeatures",
    "avro",
    "bigquery",
    "changed",
    "clickhouse",
    "computed",
    "csv",
    "databricks",
    "days",
    "delta",
    "derived",
    "fingerprint",
    "from_json",
    "hours",
    "iceberg",
    "in_words",
    "json_lines",
    "kafka",
    "kinesis",
    "lint",
    "load",
    "micros",
    "minutes",
    "more_is_better",
    "of_clock",
    "orc",
    "parquet",
    "periods",
    "pubsub",
    "python",
    "request",
    "row_function",
    "seconds",
    "shares",
    "snowflake",
    "sql",
    "to_json",
    "to_utc",
]
