"""Rows that are to be set aside, found before anything else is judged: the other checks see only what is left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import polars as pl

from raypipe.contracts.records import CheckResult
from raypipe.spec.checks import Check
from raypipe.validation.cause import LOOKED_AT, cause_of_rows
from raypipe.validation.results import judge_rows, result_of
from raypipe.validation.rules import Keys, Rule, looks_around, may_fail, row_rule
from raypipe.validation.table import Table

PLACE = "__row"
#: How many rows a check is about, and how many of them fail it.
Counts: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Sieved:
    """What is left of a table, what is not, and the results of the checks that told."""

    good: pl.LazyFrame
    faulty: pl.DataFrame
    results: tuple[tuple[Check, CheckResult], ...]


def sieve(table: Table, keys: Keys, counts: Mapping[int, Counts], broken: Mapping[int, str]) -> Sieved:
    """Find the rows that checks with the action ``quarantine`` set aside.

    Checks are made in order, each on what those before it left: a row is charged to the first check that it fails, and
    a repeated row is not the first one's fault when that one goes for another reason. One scan gathers all rows that
    may be at fault; only a rule that looks at other rows reads what is left of the table once more.

    Args:
        table: all its rows, also those that are not judged.
        keys: by table name, the keys of the tables that checks refer to.
        counts: by place in the gate, how many rows a check is about, and how many fail, when all are judged.
        broken: why checks cannot be made.
    """
    subject, rows = table.subject, table.rows
    wanted = {i: check for i, check in enumerate(subject.gate) if check.action == "quarantine"}
    rules = {i: row_rule(wanted[i], rows.collect_schema(), keys) for i in counts}
    whole = rows.with_row_index(PLACE)
    judged = table.without_waiting(whole)
    suspects = _suspects(table, judged, {i: (wanted[i], rules[i]) for i in counts}, counts)
    gone, found = pl.Series(PLACE, dtype=pl.get_index_type()), [no_faulty()]
    aside: list[pl.DataFrame] = []
    results: list[tuple[Check, CheckResult]] = []
    for i, check in wanted.items():
        if i not in rules:
            why = f"cannot be made: {broken.get(i, 'it does not fit')}"
            results.append((check, result_of(subject, check, 0, 0, passed=False, detail=why)))
            continue
        left = judged if gone.is_empty() else judged.filter(~pl.col(PLACE).is_in(gone.implode()))
        if looks_around(check):
            about, bad = _looked(left, rules[i])
        else:
            about = counts[i][0] - sum(int(one.select(rules[i].about).item()) for one in aside)
            bad = suspects.filter(~pl.col(PLACE).is_in(gone.implode())).filter(rules[i].fails)
        failing = _whole_rows(bad, left, rows.collect_schema().names())
        cause = partial(cause_of_rows, replace(table, rows=left), check, keys, failing)
        results.append((check, judge_rows(subject, check, (about, bad.height), failing, cause)))
        found.append(_reasons(check, bad))
        aside.append(bad)
        gone = pl.concat([gone, bad[PLACE]])
    faulty = pl.concat(found).sort(PLACE)
    good = whole.join(faulty.lazy().select(PLACE), on=PLACE, how="anti", maintain_order="left").drop(PLACE)
    return Sieved(good, faulty.rename({PLACE: "row"}), tuple(results))


def _suspects(
    table: Table, rows: pl.LazyFrame, asked: Mapping[int, tuple[Check, Rule]], counts: Mapping[int, Counts]
) -> pl.DataFrame:
    """All rows that fail a check, or may once others are gone: whole ones, unless they are very many."""
    asked = {i: one for i, one in asked.items() if not looks_around(one[0])}
    failed = [i for i in asked if counts[i][1]]
    if not failed:
        return rows.collect_schema().to_frame()
    found = rows.filter(pl.any_horizontal(may_fail(*asked[i]) for i in failed))
    if sum(counts[i][1] for i in failed) > LOOKED_AT:
        rules = [part for _, rule in asked.values() for part in (rule.about, rule.fails)]
        needed = {PLACE, *table.subject.id, *(name for check in table.subject.gate for name in check.columns)}
        needed |= {name for part in rules for name in part.meta.root_names()}
        found = found.select(name for name in rows.collect_schema().names() if name in needed)
    return found.collect()


def _looked(rows: pl.LazyFrame, rule: Rule) -> tuple[int, pl.DataFrame]:
    """How many rows a rule is about, and which of them fail it."""
    about, bad = pl.collect_all([rows.select(rule.about), rows.filter(rule.fails)])
    return int(about.item()), bad


def _whole_rows(bad: pl.DataFrame, left: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    """The first of some rows with all their columns, also where only some were gathered."""
    if set(names) <= set(bad.columns):
        return bad.lazy().drop(PLACE)
    first = bad[PLACE].head(LOOKED_AT).implode()
    return left.filter(pl.col(PLACE).is_in(first)).drop(PLACE)


def _reasons(check: Check, bad: pl.DataFrame) -> pl.DataFrame:
    if bad.is_empty():
        return no_faulty()
    values = [
        pl.format("{} = {}", pl.lit(name), pl.col(name).cast(pl.String).fill_null("null")) for name in check.columns
    ]
    reason = pl.concat_str(values, separator=", ") if values else pl.lit("")
    # In one block: of some frames in several Polars fails to join the texts.
    return bad.rechunk().select(PLACE, pl.lit(check.name).alias("check"), reason.alias("reason"))


def no_faulty() -> pl.DataFrame:
    """No row that is to be set aside."""
    return pl.DataFrame(schema={PLACE: pl.get_index_type(), "check": pl.String, "reason": pl.String})
