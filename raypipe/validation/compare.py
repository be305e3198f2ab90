"""The likely cause of a table that fails as a whole: how it differs from what was published before."""

import polars as pl
from polars.exceptions import PolarsError

from raypipe.spec.checks import Check
from raypipe.validation.cause import unit
from raypipe.validation.table import Table
from raypipe.validation.whole import Seen, number


def cause_of_whole(table: Table, check: Check, seen: Seen, value: float | None) -> str:
    """How the table differs from before, in words; empty when that says nothing, or nothing was before.

    Args:
        table: what was judged.
        check: that failed.
        seen: what one pass found.
        value: the number that the check asked for.
    """
    if table.before is None:
        return ""
    try:
        match check.kind:
            case "rows" | "rows_like_before":
                return _size(table, seen.rows)
            case "fresh":
                return "" if table.files or not table.subject.grows else "no file came since the last published state"
            case "quantile":
                return _moved(value, _number(table.before, check))
            case "cardinality":
                return _other_values(table, table.before, check.columns[0])
            case "drift":
                return _drifted(table, table.before, check.columns[0])
    except PolarsError:
        pass  # a guess is no reason to fail
    return ""


def _size(table: Table, rows: int) -> str:
    before = 0 if table.before is None else int(table.before.select(pl.len()).collect().item())
    names = [path.rpartition("/")[2] for path in table.files]
    came = f"{', '.join(names[:3])}{' …' if len(names) > 3 else ''} came" if names else "no file came"
    if rows == before:
        return f"as many as before: {came}"
    return f"{abs(rows - before):,} {'more' if rows > before else 'fewer'} than before: {came}"


def _number(rows: pl.LazyFrame, check: Check) -> float | None:
    asked = number(check, rows.collect_schema())
    found = None if asked is None else rows.select(asked).collect().item()
    return None if found is None else float(found)


def _moved(now: float | None, before: float | None) -> str:
    if now is None or before is None:
        return ""
    words = unit(now / before) if before else ""
    return f"it was {before:g} before" + (f", as with another unit ({words})" if words else "")


def _other_values(table: Table, before: pl.LazyFrame, name: str) -> str:
    now, was = (
        set(rows.select(pl.col(name).unique()).collect()[name].drop_nulls().to_list()) for rows in (table.rows, before)
    )
    told = [f"{words}: {_listed(values)}" for words, values in (("new", now - was), ("gone", was - now)) if values]
    return "; ".join(told)


def _drifted(table: Table, before: pl.LazyFrame, name: str) -> str:
    new = table.new_rows
    if table.rows.collect_schema()[name].is_numeric():
        middles = [rows.select(pl.col(name).cast(pl.Float64).median()).collect().item() for rows in (new, before)]
        if None in middles:
            return ""
        words = unit(middles[0] / middles[1]) if middles[1] else ""
        moved = f"the median is {middles[0]:g}, and was {middles[1]:g} before"
        return moved + (f", as with another unit ({words})" if words else "")
    now, was = (
        dict(rows.select(pl.col(name).cast(pl.String).value_counts(normalize=True)).unnest(name).collect().iter_rows())
        for rows in (new, before)
    )
    value = max(now.keys() | was.keys(), key=lambda one: (abs(now.get(one, 0) - was.get(one, 0)), str(one)))
    return f"{_listed({value})} is {now.get(value, 0):.0%} of them, and was {was.get(value, 0):.0%} before"


def _listed(values: set[object]) -> str:
    shown = sorted(map(str, values))
    return ", ".join(f"`{one[:40]}`" for one in shown[:5]) + (f" and {len(shown) - 5:,} more" if len(shown) > 5 else "")
