"""How tables keep column types: Iceberg knows fewer than Polars, so some are kept wider and given back as they were."""

from collections.abc import Mapping

import polars as pl
import pyarrow as pa
from pyiceberg.types import (
    BooleanType,
    DateType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
)

from raypipe.errors import DefinitionError, Fault
from raypipe.spec import Source

_SAME: dict[pl.DataType, IcebergType] = {
    pl.String(): StringType(),
    pl.Int64(): LongType(),
    pl.Int32(): IntegerType(),
    pl.Float64(): DoubleType(),
    pl.Float32(): FloatType(),
    pl.Boolean(): BooleanType(),
    pl.Date(): DateType(),
    pl.Datetime("us", "UTC"): TimestamptzType(),
    pl.Datetime("us"): TimestampType(),
}
_WIDER: dict[pl.DataType, IcebergType] = {
    pl.Int8(): IntegerType(),
    pl.Int16(): IntegerType(),
    pl.UInt8(): IntegerType(),
    pl.UInt16(): IntegerType(),
    pl.UInt32(): LongType(),
}
_BY_NAME = {str(kind): kind for kind in _WIDER}


def stored(source: Source, columns: Mapping[str, pl.DataType]) -> dict[str, IcebergType]:
    """The columns as a table keeps them.

    Raises:
        DefinitionError: a derived column has a type that a table cannot hold.
    """
    known = _SAME | _WIDER
    cure = "Derive a number, a text, a truth, a date or a time in UTC"
    if faults := [
        Fault(source.derive[name].where, f"`{source.name}.{name}` is {kind}, which a table cannot hold", cure)
        for name, kind in columns.items()
        if kind not in known
    ]:
        raise DefinitionError(faults)
    return {name: known[kind] for name, kind in columns.items()}


def iceberg_types(columns: Mapping[str, pl.DataType]) -> dict[str, IcebergType]:
    """The columns as a table keeps them, all of them of types that a table can hold."""
    known = _SAME | _WIDER
    return {name: known[kind] for name, kind in columns.items()}


def widened(columns: Mapping[str, pl.DataType]) -> dict[str, str]:
    """The columns that are kept wider than they are, with the type to give back."""
    return {name: str(kind) for name, kind in columns.items() if kind in _WIDER}


def arrow_type(kept: str) -> pa.DataType:
    """The Arrow type to give back for a column that is kept wider."""
    return pl.Series([], dtype=_BY_NAME[kept]).to_arrow().type


def given_back(kept: Mapping[str, str]) -> dict[str, pl.DataType]:
    """The opposite of ``widened``."""
    return {name: _BY_NAME[kind] for name, kind in kept.items()}
