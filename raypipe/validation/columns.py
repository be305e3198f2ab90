"""The columns of a table, checked by pandera on its lazy Polars frame: types and presence, without reading a row."""

from collections.abc import Mapping

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaError, SchemaErrorReason, SchemaErrors

from raypipe.contracts.records import CheckResult
from raypipe.errors import did_you_mean
from raypipe.validation.subject import Subject

#: The check that is always made first.
SCHEMA = "schema"


def check_columns(subject: Subject, rows: pl.LazyFrame) -> CheckResult:
    """All columns are there with their types, and no other is; ``failed`` counts columns."""
    declared = subject.columns
    wanted = pa.DataFrameSchema(
        {name: pa.Column(kind, nullable=True) for name, kind in declared.items()}, strict=True, name=subject.name
    )
    faults: dict[str, str] = {}
    try:
        wanted.validate(rows, lazy=True)
    except SchemaErrors as errors:
        found = rows.collect_schema()
        faults = dict(_in_words(error, declared, found) for error in errors.schema_errors)
    return CheckResult(
        table=subject.name,
        check=SCHEMA,
        columns=tuple(faults),
        passed=not faults,
        rows=len(declared),
        failed=len(faults),
        detail="; ".join(faults.values()) or f"{len(declared)} columns as declared",
        where=subject.where,
    )


def _in_words(error: SchemaError, declared: Mapping[str, pl.DataType | None], found: pl.Schema) -> tuple[str, str]:
    if error.reason_code is SchemaErrorReason.WRONG_DATATYPE:
        name = str(error.schema.name)
        return name, f"`{name}` is {found[name]}, expected {declared[name]}"
    name = str(error.failure_cases)
    if error.reason_code is SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME:
        return name, f"`{name}` is missing. {did_you_mean(name, found.names())}".strip()
    return name, f"`{name}` is not declared"
