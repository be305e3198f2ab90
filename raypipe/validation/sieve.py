"""Rows that are to be set aside, found before anything else is judged: the other checks see only what is left."""

from dataclasses import dataclass, replace
from functools import partial

import polars as pl
from polars.exceptions import PolarsError

from raypipe.contracts.records import CheckResult
from raypipe.spec.checks import Check
from raypipe.validation.cause import cause_of_rows
from raypipe.validation.results import judge_rows, result_of
from raypipe.validation.rules import Keys, Rule, row_rule
from raypipe.validation.table import Table

PLACE = "__row"


@dataclass(frozen=True)
class Sieved:
    """What is left of a table, what is not, and the results of the checks that told."""

    good: pl.LazyFrame
    faulty: pl.DataFrame
    results: tuple[tuple[Check, CheckResult], ...]


def sieve(table: Table, keys: Keys) -> Sieved:
    """Find the rows that checks with the action ``quarantine`` set aside.

    Checks are made in order, each on what those before it left: a row is charged to the first check that it fails, and
    a repeated row is not the first one's fault when that one goes for another reason.

    Args:
        table: all its rows, also those that are not judged.
        keys: by table name, the keys of the tables that checks refer to.
    """
    subject, rows = table.subject, table.rows
    wanted = [check for check in subject.gate if check.action == "quarantine"]
    found = [no_faulty()]
    results: list[tuple[Check, CheckResult]] = []
    whole = rows.with_row_index(PLACE) if wanted else rows
    left = table.without_waiting(whole)
    for check in wanted:
        result, bad = _made(replace(table, rows=left), check, keys)
        results.append((check, result))
        found.append(bad)
        left = left.join(bad.lazy().select(PLACE), on=PLACE, how="anti", maintain_order="left") if bad.height else left
    faulty = pl.concat(found).sort(PLACE)
    if wanted:
        whole = whole.join(faulty.lazy().select(PLACE), on=PLACE, how="anti", maintain_order="left").drop(PLACE)
    return Sieved(whole, faulty.rename({PLACE: "row"}), tuple(results))


def _made(table: Table, check: Check, keys: Keys) -> tuple[CheckResult, pl.DataFrame]:
    subject, rows = table.subject, table.rows
    try:
        rule = row_rule(check, rows.collect_schema(), keys)
        about, failed = rows.select(rule.about.alias("about"), rule.fails.sum().alias("fails")).collect().row(0)
        bad = _bad(check, rows, rule) if failed else no_faulty()
    except (PolarsError, KeyError) as error:  # KeyError: the table that it refers to is not as declared
        why = f"table {error.args[0]} is not as declared" if isinstance(error, KeyError) else str(error).splitlines()[0]
        return result_of(subject, check, 0, 0, passed=False, detail=f"cannot be made: {why}"), no_faulty()
    failing = rows.filter(rule.fails).drop(PLACE)
    cause = partial(cause_of_rows, table, check, keys, failing)
    return judge_rows(subject, check, (about, failed), failing, cause), bad


def _bad(check: Check, rows: pl.LazyFrame, rule: Rule) -> pl.DataFrame:
    values = [
        pl.format("{} = {}", pl.lit(name), pl.col(name).cast(pl.String).fill_null("null")) for name in check.columns
    ]
    reason = pl.concat_str(values, separator=", ") if values else pl.lit("")
    bad = rows.filter(rule.fails).select(PLACE, pl.lit(check.name).alias("check"), reason.alias("reason"))
    return bad.collect()


def no_faulty() -> pl.DataFrame:
    """No row that is to be set aside."""
    return pl.DataFrame(schema={PLACE: pl.get_index_type(), "check": pl.String, "reason": pl.String})
