"""Checks that judge a table as a whole: its size, its age, its values taken together, and what they were before."""

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import polars as pl

from raypipe.clock import iso
from raypipe.contracts.records import CheckResult
from raypipe.spec import in_words, micros
from raypipe.spec.checks import Check
from raypipe.stats.cuts import gap
from raypipe.stats.distances import total_variation
from raypipe.stats.percentile import place_one
from raypipe.validation.parts import Asked, Part, counted, tally
from raypipe.validation.reference import Profile, Reference, below_cuts, present
from raypipe.validation.results import result_of
from raypipe.validation.table import Table

#: What the parts of one check came to, by what they are for.
Found: TypeAlias = dict[str, int | pl.Series | None]


@dataclass(frozen=True)
class Seen:
    """What one pass over a table found.

    Attributes:
        rows: how many there are.
        known: how many of them are known at the run's moment.
        newest: when the newest event of those happened, in microseconds UTC; None when no row tells.
        found: by check, what its parts came to.
    """

    rows: int
    known: int
    newest: int | None
    found: dict[int, Found] = field(default_factory=dict)


def number(check: Check, schema: pl.Schema) -> pl.Expr | None:
    """The one number that a check asks of its column; None when it asks for something else."""
    if check.kind == "cardinality":
        return pl.col(check.columns[0]).drop_nulls().n_unique()
    if check.kind != "quantile" or check.share is None:
        return None
    return _present(check, schema).quantile(check.share, interpolation="equiprobable")


def ask_whole(check: Check, schema: pl.Schema, reference: Reference | None) -> Asked:
    """What a check of the whole asks of the rows, in parts; nothing when it is about their number or their age."""
    match check.kind:
        case "quantile":
            value = _present(check, schema)
            below = pl.lit(0, pl.UInt32) if check.low is None else (value < check.low).sum()
            upto = value.count() if check.high is None else (value <= check.high).sum()
            return {"there": Part(value.count()), "below": Part(below), "upto": Part(upto)}
        case "cardinality":
            return {"values": Part(pl.col(check.columns[0]).drop_nulls().unique().implode(), "values")}
        case "drift":
            (column,) = check.columns
            before = _compared(check, schema, reference)
            if before is None or before.cuts is None:
                return {"tally": tally(pl.col(column).cast(pl.String))} if before else {}
            return {
                "many": Part(present(column).count()),
                "below": Part(below_cuts(column, np.array(before.cuts)), "add"),
            }
    return {}


def _present(check: Check, schema: pl.Schema) -> pl.Expr:
    value = pl.col(check.columns[0])
    return value.drop_nans() if schema[check.columns[0]].is_float() else value


def _compared(check: Check, schema: pl.Schema, reference: Reference | None) -> Profile | None:
    """What a column is compared with; None when it was not there, or of another type."""
    (column,) = check.columns
    before = None if reference is None else reference.columns.get(column)
    return before if before is not None and before.kind == str(schema[column]) else None


def judge_whole(table: Table, check: Check, seen: Seen, found: Found) -> tuple[CheckResult, float | None]:
    """The verdict of a check that judges a table as a whole, and the number that it is about, if one was worked out.

    Args:
        table: what is judged.
        check: by what.
        seen: what one pass found.
        found: what the check's parts came to.

    Raises:
        PolarsError: the check does not fit its column.
    """
    value: float | None = None
    match check.kind:
        case "rows":
            passed, detail = _size(check, seen)
        case "cardinality":
            value = len(_series(found["values"]).explode(empty_as_null=False))
            passed, detail = _between(check, value, "different values")
        case "quantile":
            passed, detail, value = _quantile(table, check, found)
        case "rows_like_before":
            passed, detail = _like_before(table, check, seen.rows)
        case "drift":
            passed, detail = _drift(table, check, found)
        case _:
            passed, detail = _age(table, check, seen)
    return result_of(table.subject, check, seen.rows, int(not passed), passed=passed, detail=detail), value


def _size(check: Check, seen: Seen) -> tuple[bool, str]:
    """Rows that are not known yet do not fill a table, and do not hide in it."""
    waiting = seen.rows - seen.known
    passed, detail = _between(check, seen.rows, f"rows, {waiting:,} of them not known yet" if waiting else "rows")
    return passed and (check.low is None or seen.known >= check.low), detail


def _between(check: Check, value: float, what: str) -> tuple[bool, str]:
    low, high = check.low, check.high
    low = 0 if low is None and check.kind != "quantile" else low
    passed = (low is None or low <= value) and (high is None or value <= high)
    shown = [f"at least {low:,g}"] if low is not None else []
    shown += [f"at most {high:,g}"] if high is not None else []
    return passed, f"{value:,{'' if isinstance(value, int) else 'g'}} {what}".rstrip() + f"; {', '.join(shown)}"


def _quantile(table: Table, check: Check, found: Found) -> tuple[bool, str, float | None]:
    """Counts decide; the value itself is looked for only where it is out of bounds."""
    assert check.share is not None  # noqa: S101  # `quantile` cannot be made without it
    there, below, upto = (int(str(found[name])) for name in ("there", "below", "upto"))
    if not there:
        return False, "no value to judge", None
    place = max(place_one(check.share, there), 0)
    if below <= place < upto:
        low, high = (check.low is None and "-") or f"{check.low:,g}", (check.high is None and "-") or f"{check.high:,g}"
        return True, f"{below / there:.2%} of {there:,} values below {low}, {1 - upto / there:.2%} above {high}", None
    value = table.rows.select(number(check, table.rows.collect_schema())).collect(engine="streaming").item()
    return False, _between(check, value, "")[1], value


def _like_before(table: Table, check: Check, rows: int) -> tuple[bool, str]:
    if table.reference is None or check.share is None:
        return True, f"{rows:,} rows; nothing was published before"
    before = table.reference.rows
    passed = abs(rows - before) <= check.share * before
    return passed, f"{rows:,} rows, {before:,} before; at most {check.share:.0%} more or less"


def _age(table: Table, check: Check, seen: Seen) -> tuple[bool, str]:
    assert check.within is not None  # noqa: S101  # `fresh` cannot be made without it
    if seen.newest is None:
        return False, f"no row is known at {iso(table.as_of)}"
    age = table.as_of - seen.newest
    detail = f"newest event at {iso(seen.newest)}, {age / 3_600_000_000:.1f} h before {iso(table.as_of)}"
    return age <= micros(check.within), f"{detail}; at most {in_words(check.within)}"


def _drift(table: Table, check: Check, found: Found) -> tuple[bool, str]:
    if table.reference is None or check.share is None:
        return True, "nothing was published before"
    (column,) = check.columns
    before = _compared(check, table.rows.collect_schema(), table.reference)
    if before is None:
        return True, f"no `{column}` of this type was published before"
    if before.cuts is None:
        now = dict(counted(_series(found["tally"])).iter_rows())
        many, name = sum(now.values()), "total variation"
    else:
        many, name = int(str(found["many"])), "Kolmogorov-Smirnov"
    if not before.many:
        return True, "no value was there before"
    if not many:
        # A column of gaps is no column without drift.
        return False, f"no value is there, {before.many:,} were before"
    if before.cuts is None:
        distance = total_variation(now, dict(before.tally))
    else:
        distance = gap(_series(found["below"]).item().to_numpy(), many, np.array(before.below), before.many)
    detail = f"{name} distance {distance:.3f} of {many:,} values from {before.many:,} before"
    return distance <= check.share, f"{detail}; at most {check.share:g}"


def _series(found: "int | pl.Series | None") -> pl.Series:
    assert isinstance(found, pl.Series)  # noqa: S101  # a part that merges values or tallies
    return found
