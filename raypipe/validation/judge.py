"""One table before its gate: all its rows in one pass, then a verdict a check."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import polars as pl
from msgspec import structs
from polars.exceptions import PolarsError

from raypipe.contracts.records import CheckResult
from raypipe.spec.checks import ROW_KINDS, Check
from raypipe.validation.cause import cause_of_rows
from raypipe.validation.columns import SCHEMA
from raypipe.validation.compare import cause_of_whole
from raypipe.validation.results import judge_rows, result_of
from raypipe.validation.rules import Keys, Rule, row_rule
from raypipe.validation.sieve import sieve
from raypipe.validation.subject import Subject
from raypipe.validation.whole import Seen, Table, judge_whole, number

#: What one pass over a table asks for each check: rows that fail, or one number.
Asked: TypeAlias = Rule | pl.Expr


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

    @property
    def fits(self) -> bool:
        """The columns are as declared: the checks could be made."""
        return all(result.passed for result in self.results if result.check == SCHEMA)


def judge(
    subject: Subject,
    rows: pl.LazyFrame,
    keys: Keys,
    as_of: int,
    before: pl.LazyFrame | None = None,
    files: tuple[str, ...] = (),
) -> Verdict:
    """Judge a table by its gate: first what is to be set aside, then all that is left by the other checks.

    A stream is judged by the rows that are known at ``as_of``; a row that does not tell when it was known is judged
    too, lest a gap in its times let it slip through.

    Args:
        subject: declares the gate.
        rows: the table, with its columns as declared.
        keys: by table name, the keys of the tables that checks refer to.
        as_of: the run's moment, in microseconds UTC.
        before: the table as published before; None when nothing was.
        files: those that came since.
    """
    published = None if before is None else subject.known(before, as_of)
    sieved = sieve(Table(subject, rows, published, as_of, files), keys)
    known = subject.known(sieved.good, as_of)
    asked, broken = _asked(subject, known.collect_schema(), keys)
    try:
        seen = _look(subject, known, asked)
    except PolarsError:
        # A check does not fit its column. Find out which: it has failed, and the others are judged as ever.
        broken |= {i: why for i, one in asked.items() if (why := _why_not(subject, known, {i: one}))}
        asked = {i: one for i, one in asked.items() if i not in broken}
        seen = _look(subject, known, asked)
    table = Table(subject, known, published, as_of, files)
    results = list(_results(table, seen, asked, broken, keys))
    in_order = {id(check): result for check, result in (*sieved.results, *results)}
    return Verdict(tuple(in_order[id(check)] for check in subject.gate), sieved.good, sieved.faulty)


def _results(
    table: Table, seen: Seen, asked: Mapping[int, Asked], broken: Mapping[int, str], keys: Keys
) -> Iterator[tuple[Check, CheckResult]]:
    for i, check in _not_sieved(table.subject):
        if i in broken:
            yield check, _cannot_be_made(table.subject, check, seen, broken[i])
        elif isinstance(rule := asked.get(i), Rule):
            failing = table.rows.filter(rule.fails)
            why = partial(cause_of_rows, table, check, keys, failing)
            yield check, judge_rows(table.subject, check, seen.counts[i], failing, why)
        else:
            try:
                value = seen.values.get(i)
                result = judge_whole(table, check, seen, value)
                yield (
                    check,
                    result
                    if result.passed
                    else structs.replace(result, cause=cause_of_whole(table, check, seen, value)),
                )
            except (PolarsError, OSError) as error:  # OSError: what it is to be compared with is gone
                yield check, _cannot_be_made(table.subject, check, seen, str(error).strip().splitlines()[0])


def _cannot_be_made(subject: Subject, check: Check, seen: Seen, why: str) -> CheckResult:
    return result_of(subject, check, seen.rows, seen.rows, passed=False, detail=f"cannot be made: {why}")


def _not_sieved(subject: Subject) -> list[tuple[int, Check]]:
    return [(i, check) for i, check in enumerate(subject.gate) if check.action != "quarantine"]


def _asked(subject: Subject, schema: pl.Schema, keys: Keys) -> tuple[dict[int, Asked], dict[int, str]]:
    asked: dict[int, Asked] = {}
    broken: dict[int, str] = {}
    for i, check in _not_sieved(subject):
        if check.to is not None and check.to.name not in keys:
            broken[i] = f"table {check.to.name} is not as declared"
        elif check.kind in ROW_KINDS:
            asked[i] = row_rule(check, schema, keys)
        elif (one := number(check, schema)) is not None:
            asked[i] = one
    return asked, broken


def _look(subject: Subject, rows: pl.LazyFrame, asked: Mapping[int, Asked]) -> Seen:
    newest = pl.lit(None, pl.Int64) if subject.time is None else pl.col(subject.time).max().dt.epoch("us")
    wanted = [pl.len().alias("rows"), newest.alias("newest")]
    for i, one in asked.items():
        if isinstance(one, Rule):
            wanted += [one.about.alias(f"about {i}"), one.fails.sum().alias(f"fails {i}")]
        else:
            wanted.append(one.alias(f"value {i}"))
    found = rows.select(wanted).collect(engine="streaming").row(0, named=True)
    counts = {i: (found[f"about {i}"], found[f"fails {i}"]) for i, one in asked.items() if isinstance(one, Rule)}
    values = {i: found[f"value {i}"] for i in asked.keys() - counts.keys()}
    return Seen(found["rows"], found["newest"], counts, values)


def _why_not(subject: Subject, rows: pl.LazyFrame, asked: Mapping[int, Asked]) -> str:
    try:
        _look(subject, rows, asked)
    except PolarsError as error:
        return str(error).strip().splitlines()[0]
    return ""
