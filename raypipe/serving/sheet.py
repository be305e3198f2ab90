"""Questions as a whole table: typed as strictly as single ones, with the fault of each row that has one."""

from collections.abc import Sequence
from datetime import date, datetime

import polars as pl

from raypipe.errors import SourceError
from raypipe.serving.fields import LONGEST_TEXT, Field

FAULT = "error"
#: RFC 3339: with a zone, or it is not known which moment is meant.
_TIME = "%+"


def typed(rows: pl.DataFrame, fields: Sequence[Field], where: str) -> pl.DataFrame:
    """The request fields of a table, in their types, and a column ``error``: what is wrong with a row, or null.

    Text stands for a value of any type, as in CSV. A row with an error has null in the field that is wrong.

    Args:
        rows: any columns; those that are no fields are left out.
        fields: what a request consists of.
        where: what errors call the table.

    Raises:
        SourceError: a required field is no column, or a column is of a type that cannot be this field.

    >>> fields = (Field("n", int, pl.Int64(), required=True),)
    >>> typed(pl.DataFrame({"n": ["1", "x", None]}), fields, "rows.csv")["error"].to_list()
    [None, 'n: must be a whole number', 'n: is missing']
    """
    absent = [field.name for field in fields if field.required and field.name not in rows.columns]
    if absent:
        cure = "Give one column for every field that is not optional"
        raise SourceError(f"lacks the columns {', '.join(absent)}", where=where, cure=cure)
    given, made, faults = [], [], []
    for field in fields:
        if field.name not in rows.columns:
            made.append(pl.lit(None, field.dtype).alias(field.name))
            continue
        given.append(field.name)
        made.append(_value(field, rows.schema[field.name], where).alias(field.name))
        faults.append(_fault(field))
    plain = rows.select(pl.col(given).name.prefix("given "), *made)
    fault = pl.coalesce(*faults) if faults else pl.lit(None, pl.String)
    return plain.select(*(field.name for field in fields), fault.alias(FAULT))


def _value(field: Field, kind: pl.DataType, where: str) -> pl.Expr:
    column = pl.col(field.name)
    if kind == pl.Null:
        return pl.lit(None, field.dtype)
    if isinstance(kind, pl.Categorical | pl.Enum):
        column, kind = column.cast(pl.String), pl.String()
    if kind == pl.String:
        return _from_text(column, field)
    if isinstance(kind, pl.Datetime) and field.kind is datetime and kind.time_zone is not None:
        return column.dt.convert_time_zone("UTC").cast(field.dtype)
    fits = {
        int: kind.is_integer(),
        float: kind.is_numeric(),
        bool: kind == pl.Boolean,
        date: kind == pl.Date,
    }
    if not fits.get(field.kind, False):
        raise SourceError(
            f"column `{field.name}` is {kind}, which is not {_WORDS[field.kind]}",
            where=where,
            cure="Write times with their zone" if field.kind is datetime else f"Make it {field.dtype}",
        )
    cast = column.cast(field.dtype, strict=False)
    return pl.when(cast.is_finite()).then(cast) if field.kind is float else cast


def _from_text(column: pl.Expr, field: Field) -> pl.Expr:
    if field.kind is str:
        return pl.when(column.str.len_chars() <= LONGEST_TEXT).then(column)
    if field.kind is bool:
        return column.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    if field.kind is datetime:
        return column.str.to_datetime(_TIME, time_zone="UTC", strict=False).cast(field.dtype)
    if field.kind is date:
        return column.str.to_date("%Y-%m-%d", strict=False)
    cast = column.cast(field.dtype, strict=False)
    return pl.when(cast.is_finite()).then(cast) if field.kind is float else cast


def _fault(field: Field) -> pl.Expr:
    given, made = pl.col(f"given {field.name}"), pl.col(field.name)
    wrong = pl.when(given.is_not_null() & made.is_null()).then(pl.lit(f"{field.name}: must be {_WORDS[field.kind]}"))
    if not field.required:
        return wrong
    return pl.when(given.is_null()).then(pl.lit(f"{field.name}: is missing")).otherwise(wrong)


_WORDS: dict[type, str] = {
    str: f"text of at most {LONGEST_TEXT} characters",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    datetime: "a time with a zone, such as 2026-01-01T12:00:00Z",
    date: "a date such as 2026-01-01",
}
