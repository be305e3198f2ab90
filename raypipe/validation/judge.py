"""One table before its gate: all its rows in one pass, then a verdict a check."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl
from polars.exceptions import PolarsError

from raypipe.clock import iso
from raypipe.contracts.records import CheckResult
from raypipe.spec import Source, Stream, in_words, micros
from raypipe.spec.checks import ROW_KINDS, Check
from raypipe.validation.results import judge_rows, result_of
from raypipe.validation.rules import Keys, Rule, row_rule
from raypipe.validation.sieve import known_rows, sieve


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


@dataclass(frozen=True)
class Verdict:
    """What came of one table.

    Attributes:
        results: one a check, in the gate's order.
        good: the whole table without the rows that are to be set aside, whether they are known yet or not.
        faulty: the rows to be set aside: their place in the table, the first check that each fails, and why.
    """

    results: tuple[CheckResult, ...]
    good: pl.LazyFrame
    faulty: pl.DataFrame


def judge(source: Source, rows: pl.LazyFrame, keys: Keys, as_of: int) -> Verdict:
    """Judge a table by its gate: first what is to be set aside, then all that is left by the other checks.

    A stream is judged by the rows that are known at ``as_of``; a row that does not tell when it was known is judged
    too, lest a gap in its times let it slip through.

    Args:
        source: declares the gate.
        rows: the table, with its columns as declared.
        keys: by table name, the keys of the tables that checks refer to.
        as_of: the run's moment, in microseconds UTC.
    """
    sieved = sieve(source, rows, keys, as_of)
    known = known_rows(source, sieved.good, as_of)
    rules, broken = _rules(source, known.collect_schema(), keys)
    try:
        seen = _look(source, known, rules)
    except PolarsError:
        # A check does not fit its column. Find out which: it has failed, and the others are judged as ever.
        broken |= {i: why for i, rule in rules.items() if (why := _why_not(source, known, {i: rule}))}
        rules = {i: rule for i, rule in rules.items() if i not in broken}
        seen = _look(source, known, rules)
    results = list(_results(source, known, seen, rules, broken, as_of))
    in_order = {id(check): result for check, result in (*sieved.results, *results)}
    return Verdict(tuple(in_order[id(check)] for check in source.gate), sieved.good, sieved.faulty)


def _results(
    source: Source,
    rows: pl.LazyFrame,
    seen: Seen,
    rules: Mapping[int, Rule],
    broken: Mapping[int, str],
    as_of: int,
) -> Iterator[tuple[Check, CheckResult]]:
    for i, check in _not_sieved(source):
        if i in broken:
            detail = f"cannot be made: {broken[i]}"
            yield check, result_of(source, check, seen.rows, seen.rows, passed=False, detail=detail)
        elif i in rules:
            yield check, judge_rows(source, check, seen.counts[i], rows.filter(rules[i].fails))
        elif check.kind == "rows":
            yield check, _judge_size(source, check, seen)
        else:
            yield check, _judge_age(source, check, seen, as_of)


def _not_sieved(source: Source) -> list[tuple[int, Check]]:
    return [(i, check) for i, check in enumerate(source.gate) if check.action != "quarantine"]


def _rules(source: Source, schema: pl.Schema, keys: Keys) -> tuple[dict[int, Rule], dict[int, str]]:
    rules, broken = {}, {}
    for i, check in _not_sieved(source):
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


def _judge_size(source: Source, check: Check, seen: Seen) -> CheckResult:
    low, high = check.low or 0, check.high
    passed = low <= seen.rows and (high is None or seen.rows <= high)
    wanted = f"at least {low:,g}" + ("" if high is None else f", at most {high:,g}")
    return result_of(source, check, seen.rows, int(not passed), passed=passed, detail=f"{seen.rows:,} rows; {wanted}")


def _judge_age(source: Source, check: Check, seen: Seen, as_of: int) -> CheckResult:
    assert check.within is not None  # noqa: S101  # `fresh` cannot be made without it
    if seen.newest is None:
        return result_of(source, check, seen.rows, 1, passed=False, detail=f"no row is known at {iso(as_of)}")
    age = as_of - seen.newest
    passed = age <= micros(check.within)
    detail = f"newest row known at {iso(seen.newest)}, {age / 3_600_000_000:.1f} h before {iso(as_of)}"
    detail += f"; at most {in_words(check.within)}"
    return result_of(source, check, seen.rows, int(not passed), passed=passed, detail=detail)
