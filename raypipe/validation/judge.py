"""One table before its gate: all its rows in one pass, then a verdict a check."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import polars as pl
from polars.exceptions import PolarsError

from raypipe.clock import iso
from raypipe.contracts.records import CheckResult
from raypipe.spec import Source, Stream, in_words, micros
from raypipe.spec.checks import Check
from raypipe.validation.rules import ROW_KINDS, Keys, Rule, row_rule

#: How many failing rows a report shows.
SHOWN = 5


@dataclass(frozen=True)
class Seen:
    """What one pass over a table found.

    Attributes:
        rows: how many there are.
        newest: when the newest was known, in microseconds UTC; None when no row tells.
        counts: by rule, how many rows it is about and how many of them fail.
    """

    rows: int
    newest: int | None
    counts: Mapping[int, tuple[int, int]]


def judge(source: Source, rows: pl.LazyFrame, keys: Keys, as_of: int) -> Iterator[CheckResult]:
    """The verdict of each check of a source's gate, in order.

    A stream is judged by the rows that are known at ``as_of``; a row that does not tell when it was known is judged
    too, lest a gap in its times let it slip through.

    Args:
        source: declares the gate.
        rows: the table, with its columns as declared.
        keys: by table name, the keys of the tables that checks refer to.
        as_of: the run's moment, in microseconds UTC.
    """
    if isinstance(source, Stream):
        now = pl.lit(as_of, pl.Int64).cast(pl.Datetime("us", "UTC"))
        rows = rows.filter((pl.col("known_at") <= now) | pl.col("known_at").is_null())
    rules, broken = _rules(source, rows.collect_schema(), keys)
    try:
        seen = _look(source, rows, rules)
    except PolarsError:
        # A check does not fit its column. Find out which: it has failed, and the others are judged as ever.
        broken |= {i: why for i, rule in rules.items() if (why := _why_not(source, rows, {i: rule}))}
        rules = {i: rule for i, rule in rules.items() if i not in broken}
        seen = _look(source, rows, rules)
    for i, check in enumerate(source.gate):
        if i in broken:
            yield _result(source, check, seen.rows, seen.rows, passed=False, detail=f"cannot be made: {broken[i]}")
        elif i in rules:
            yield _judge_rows(source, check, seen.counts[i], rows.filter(rules[i].fails))
        elif check.kind == "rows":
            yield _judge_size(source, check, seen)
        else:
            yield _judge_age(source, check, seen, as_of)


def _rules(source: Source, schema: pl.Schema, keys: Keys) -> tuple[dict[int, Rule], dict[int, str]]:
    rules, broken = {}, {}
    for i, check in enumerate(source.gate):
        if check.to is not None and check.to.name not in keys:
            broken[i] = f"table {check.to.name} is not as declared"
        elif check.kind in ROW_KINDS:
            rules[i] = row_rule(check, schema, keys)
    return rules, broken


def _look(source: Source, rows: pl.LazyFrame, rules: Mapping[int, Rule]) -> Seen:
    newest = pl.col("known_at").max().dt.epoch("us") if isinstance(source, Stream) else pl.lit(None, pl.Int64)
    wanted = [pl.len().alias("rows"), newest.alias("newest")]
    for i, rule in rules.items():
        wanted += [rule.about.alias(f"about {i}"), rule.fails.sum().alias(f"fails {i}")]
    found = rows.select(wanted).collect(engine="streaming").row(0, named=True)
    counts = {i: (found[f"about {i}"], found[f"fails {i}"]) for i in rules}
    return Seen(found["rows"], found["newest"], counts)


def _why_not(source: Source, rows: pl.LazyFrame, rule: Mapping[int, Rule]) -> str:
    try:
        _look(source, rows, rule)
    except PolarsError as error:
        return str(error).strip().splitlines()[0]
    return ""


def _judge_rows(source: Source, check: Check, counts: tuple[int, int], failing: pl.LazyFrame) -> CheckResult:
    about, failed = counts
    passed = about - failed >= Fraction(str(check.at_least)) * about
    detail = f"{failed:,} of {about:,} rows fail ({failed / about:.2%})" if about else "no row to judge"
    if check.at_least < 1:
        detail += f", at most {1 - check.at_least:.2%} may"
    shown = () if passed else _sample(source, check, failing)
    return _result(source, check, about, failed, passed=passed, detail=detail, shown=shown)


def _judge_size(source: Source, check: Check, seen: Seen) -> CheckResult:
    low, high = check.low or 0, check.high
    passed = low <= seen.rows and (high is None or seen.rows <= high)
    wanted = f"at least {low:,g}" + ("" if high is None else f", at most {high:,g}")
    return _result(source, check, seen.rows, int(not passed), passed=passed, detail=f"{seen.rows:,} rows; {wanted}")


def _judge_age(source: Source, check: Check, seen: Seen, as_of: int) -> CheckResult:
    assert check.within is not None  # noqa: S101  # `fresh` cannot be made without it
    if seen.newest is None:
        return _result(source, check, seen.rows, 1, passed=False, detail=f"no row is known at {iso(as_of)}")
    age = as_of - seen.newest
    passed = age <= micros(check.within)
    detail = f"newest row known at {iso(seen.newest)}, {age / 3_600_000_000:.1f} h before {iso(as_of)}"
    detail += f"; at most {in_words(check.within)}"
    return _result(source, check, seen.rows, int(not passed), passed=passed, detail=detail)


def _sample(source: Source, check: Check, failing: pl.LazyFrame) -> tuple[str, ...]:
    """A few failing rows, first come first: what tells them apart, and the columns that the check is about."""
    identity = source.id if isinstance(source, Stream) else (source.key,)
    shown = list(dict.fromkeys((*identity, *check.columns)))
    return tuple(failing.select(shown).head(SHOWN).collect().write_ndjson().splitlines())


def _result(
    source: Source, check: Check, rows: int, failed: int, *, passed: bool, detail: str, shown: tuple[str, ...] = ()
) -> CheckResult:
    return CheckResult(
        table=source.name,
        check=check.name,
        columns=check.columns,
        passed=passed,
        rows=rows,
        failed=failed,
        detail=detail,
        where=check.where,
        sample=shown,
    )
