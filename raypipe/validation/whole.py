"""Checks that judge a table as a whole: its size, its age, its values taken together, and what they were before."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from raypipe.clock import iso
from raypipe.contracts.records import CheckResult
from raypipe.spec import in_words, micros
from raypipe.spec.checks import Check
from raypipe.stats.distances import kolmogorov_smirnov, total_variation
from raypipe.validation.results import result_of
from raypipe.validation.subject import Subject


@dataclass(frozen=True)
class Seen:
    """What one pass over a table found.

    Attributes:
        rows: how many there are.
        newest: when the newest was known, in microseconds UTC; None when no row tells.
        counts: by rule, how many rows it is about and how many of them fail.
        values: by check, the one number that it asks of its column; None when there is no value.
    """

    rows: int
    newest: int | None
    counts: Mapping[int, tuple[int, int]]
    values: Mapping[int, float | None]


@dataclass(frozen=True)
class Table:
    """A table to be judged as a whole.

    Attributes:
        subject: declares it.
        rows: what is known of it.
        before: what is known of it as published before; None when nothing was.
        as_of: the run's moment, in microseconds UTC.
        files: those that came since.
    """

    subject: Subject
    rows: pl.LazyFrame
    before: pl.LazyFrame | None
    as_of: int
    files: tuple[str, ...] = ()

    @cached_property
    def new_rows(self) -> pl.LazyFrame:
        """The rows whose ids were not there before; all when there are none, or where rows do not join others.

        They are found once, for all checks that compare, with the columns that these compare.
        """
        if self.before is None or not self.subject.grows:
            return self.rows
        ids = list(self.subject.id)
        compared = {name for check in self.subject.gate if check.kind == "drift" for name in check.columns}
        rows = self.rows.select(list(dict.fromkeys((*ids, *sorted(compared)))))
        new = rows.join(self.before.select(ids), on=ids, how="anti", nulls_equal=True).collect()
        return new.lazy() if new.height else self.rows


def number(check: Check, schema: pl.Schema) -> pl.Expr | None:
    """The one number that a check asks of its column; None when it asks for something else."""
    if check.kind == "cardinality":
        return pl.col(check.columns).drop_nulls().n_unique()
    if check.kind != "quantile" or check.share is None:
        return None
    value = pl.col(check.columns)
    value = value.drop_nans() if schema[check.columns[0]].is_float() else value
    return value.quantile(check.share, interpolation="equiprobable")


def judge_whole(table: Table, check: Check, seen: Seen, value: float | None) -> CheckResult:
    """The verdict of a check that judges a table as a whole.

    Args:
        table: what is judged.
        check: by what.
        seen: what one pass found.
        value: the number that the check asked for.

    Raises:
        PolarsError: the check does not fit its column.
    """
    match check.kind:
        case "rows":
            passed, detail = _between(check, seen.rows, "rows")
        case "cardinality":
            passed, detail = _between(check, value or 0, "different values")
        case "quantile":
            passed, detail = (False, "no value to judge") if value is None else _between(check, value, "")
        case "rows_like_before":
            passed, detail = _like_before(table, check, seen.rows)
        case "drift":
            passed, detail = _drift(table, check)
        case _:
            passed, detail = _age(table, check, seen)
    return result_of(table.subject, check, seen.rows, int(not passed), passed=passed, detail=detail)


def _between(check: Check, value: float, what: str) -> tuple[bool, str]:
    low, high = check.low, check.high
    low = 0 if low is None and check.kind != "quantile" else low
    passed = (low is None or low <= value) and (high is None or value <= high)
    shown = [f"at least {low:,g}"] if low is not None else []
    shown += [f"at most {high:,g}"] if high is not None else []
    return passed, f"{value:,{'' if isinstance(value, int) else 'g'}} {what}".rstrip() + f"; {', '.join(shown)}"


def _like_before(table: Table, check: Check, rows: int) -> tuple[bool, str]:
    if table.before is None or check.share is None:
        return True, f"{rows:,} rows; nothing was published before"
    before = table.before.select(pl.len()).collect().item()
    passed = abs(rows - before) <= check.share * before
    return passed, f"{rows:,} rows, {before:,} before; at most {check.share:.0%} more or less"


def _age(table: Table, check: Check, seen: Seen) -> tuple[bool, str]:
    assert check.within is not None  # noqa: S101  # `fresh` cannot be made without it
    if seen.newest is None:
        return False, f"no row is known at {iso(table.as_of)}"
    age = table.as_of - seen.newest
    detail = f"newest row known at {iso(seen.newest)}, {age / 3_600_000_000:.1f} h before {iso(table.as_of)}"
    return age <= micros(check.within), f"{detail}; at most {in_words(check.within)}"


def _drift(table: Table, check: Check) -> tuple[bool, str]:
    if table.before is None or check.share is None:
        return True, "nothing was published before"
    (column,) = check.columns
    if table.before.collect_schema().get(column) != table.rows.collect_schema()[column]:
        return True, f"no `{column}` of this type was published before"
    new, old = (_values(rows, column) for rows in (table.new_rows, table.before))
    if not new.len():
        # A column of gaps is no column without drift.
        return not old.len(), f"no value is there, {old.len():,} were before"
    if not old.len():
        return True, "no value was there before"
    if new.dtype.is_numeric():
        name, distance = "Kolmogorov-Smirnov", kolmogorov_smirnov(new.to_numpy(), old.to_numpy())
    else:
        name, distance = "total variation", total_variation(_counts(new), _counts(old))
    detail = f"{name} distance {distance:.3f} of {new.len():,} values from {old.len():,} before"
    return distance <= check.share, f"{detail}; at most {check.share:g}"


def _values(rows: pl.LazyFrame, column: str) -> pl.Series:
    values = rows.select(column).collect().to_series()
    if not values.dtype.is_numeric():
        return values
    return values.cast(pl.Float64).drop_nulls().drop_nans()


def _counts(values: pl.Series) -> dict[str | None, int]:
    return dict(values.cast(pl.String).alias("value").value_counts(name="count").iter_rows())
