"""Rows that are to be set aside, found before anything else is judged: the other checks see only what is left."""

from dataclasses import dataclass

import polars as pl
from polars.exceptions import PolarsError

from raypipe.contracts.records import CheckResult
from raypipe.spec import Source, Stream
from raypipe.spec.checks import Check
from raypipe.validation.results import judge_rows, result_of
from raypipe.validation.rules import Keys, Rule, row_rule

PLACE = "__row"


@dataclass(frozen=True)
class Sieved:
    """What is left of a table, what is not, and the results of the checks that told."""

    good: pl.LazyFrame
    faulty: pl.DataFrame
    results: tuple[tuple[Check, CheckResult], ...]


def known_rows(source: Source, rows: pl.LazyFrame, as_of: int) -> pl.LazyFrame:
    """The rows that are judged: of a stream those known by then, or that do not tell when."""
    if not isinstance(source, Stream):
        return rows
    now = pl.lit(as_of, pl.Int64).cast(pl.Datetime("us", "UTC"))
    return rows.filter((pl.col("known_at") <= now) | pl.col("known_at").is_null())


def sieve(source: Source, rows: pl.LazyFrame, keys: Keys, as_of: int) -> Sieved:
    """Find the rows that checks with the action ``quarantine`` set aside.

    Checks are made in order, each on what those before it left: a row is charged to the first check that it fails, and
    a repeated row is not the first one's fault when that one goes for another reason.
    """
    wanted = [check for check in source.gate if check.action == "quarantine"]
    found = [_no_faulty()]
    results: list[tuple[Check, CheckResult]] = []
    whole = rows.with_row_index(PLACE) if wanted else rows
    left = known_rows(source, whole, as_of)
    for check in wanted:
        result, bad = _made(source, check, left, keys)
        results.append((check, result))
        found.append(bad)
        left = left.join(bad.lazy().select(PLACE), on=PLACE, how="anti", maintain_order="left") if bad.height else left
    faulty = pl.concat(found).sort(PLACE)
    if wanted:
        whole = whole.join(faulty.lazy().select(PLACE), on=PLACE, how="anti", maintain_order="left").drop(PLACE)
    return Sieved(whole, faulty.rename({PLACE: "row"}), tuple(results))


def _made(source: Source, check: Check, rows: pl.LazyFrame, keys: Keys) -> tuple[CheckResult, pl.DataFrame]:
    try:
        rule = row_rule(check, rows.collect_schema(), keys)
        about, failed = rows.select(rule.about.alias("about"), rule.fails.sum().alias("fails")).collect().row(0)
        bad = _bad(check, rows, rule) if failed else _no_faulty()
    except (PolarsError, KeyError) as error:  # KeyError: the table that it refers to is not as declared
        why = f"table {error.args[0]} is not as declared" if isinstance(error, KeyError) else str(error).splitlines()[0]
        return result_of(source, check, 0, 0, passed=False, detail=f"cannot be made: {why}"), _no_faulty()
    return judge_rows(source, check, (about, failed), rows.filter(rule.fails)), bad


def _bad(check: Check, rows: pl.LazyFrame, rule: Rule) -> pl.DataFrame:
    values = [
        pl.format("{} = {}", pl.lit(name), pl.col(name).cast(pl.String).fill_null("null")) for name in check.columns
    ]
    reason = pl.concat_str(values, separator=", ") if values else pl.lit("")
    bad = rows.filter(rule.fails).select(PLACE, pl.lit(check.name).alias("check"), reason.alias("reason"))
    return bad.collect()


def _no_faulty() -> pl.DataFrame:
    return pl.DataFrame(schema={PLACE: pl.get_index_type(), "check": pl.String, "reason": pl.String})
