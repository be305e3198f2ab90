"""One table before its gate: all its rows in one pass, then a verdict a check."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl
from msgspec import structs
from polars.exceptions import PolarsError

from raypipe.contracts.records import CheckResult
from raypipe.spec.checks import ROW_KINDS, Check
from raypipe.validation.cause import cause_of_rows
from raypipe.validation.columns import SCHEMA
from raypipe.validation.compare import cause_of_whole
from raypipe.validation.parts import Ask, Asked, Merge, Part, State, asked_of_blocks, merged, state, states
from raypipe.validation.results import judge_rows, result_of
from raypipe.validation.rules import Keys, looks_around, row_rule
from raypipe.validation.sieve import no_faulty, sieve
from raypipe.validation.table import Table
from raypipe.validation.whole import Seen, ask_whole, judge_whole

Questions = dict[int, Asked]
ROWS = Part(pl.len())


@dataclass(frozen=True)
class Verdict:
    """What came of one table.

    Attributes:
        results: one a check, in the gate's order.
        good: the whole table without the rows that are to be set aside, whether they were judged or not.
        faulty: the rows to be set aside: their place in the table, the first check that each fails, and why.
    """

    results: tuple[CheckResult, ...]
    good: pl.LazyFrame
    faulty: pl.DataFrame

    @property
    def fits(self) -> bool:
        """The columns are as declared: the checks could be made."""
        return all(result.passed for result in self.results if result.check == SCHEMA)


def judge(table: Table, keys: Keys) -> Verdict:
    """Judge a table by its gate: first what is to be set aside, then all that is left by the other checks.

    All rows are judged but those that were published before and are not known yet; a row that does not tell when it was
    known is judged too, lest a gap in its times let it slip through. Where nothing is to be set aside, one pass is all.

    Args:
        table: all its rows, with their columns as declared.
        keys: by table name, the keys of the tables that checks refer to.
    """
    subject, whole = table.subject, table.rows
    known = replace(table, rows=table.judged)
    asked, broken = questions(table, keys)
    seen, broken = _look(known, asked, broken)
    if taken := table.taken(seen.rows):
        keys = {**keys, **taken}
        again = {i: questions(table, keys)[0][i] for i in seen.found if subject.gate[i].name in taken}
        asked |= again
        seen = replace(seen, found=seen.found | _seen(known, again).found)
    aside = [i for i, check in enumerate(subject.gate) if check.action == "quarantine"]
    if all(i in seen.found and not seen.found[i]["fails"] for i in aside):
        return Verdict(tuple(_results(known, seen, broken, keys)), whole, no_faulty())
    counts = {i: (_count(seen, i, "about"), _count(seen, i, "fails")) for i in aside if i in seen.found}
    sieved = sieve(table, keys, counts, broken)
    left = replace(table, rows=table.without_waiting(sieved.good), published=None, gained=None, blocks=None)
    others = {i: parts for i, parts in asked.items() if i not in aside}
    seen, broken = _look(left, others, {i: why for i, why in broken.items() if i not in aside})
    done = {id(check): result for check, result in sieved.results}
    results = iter(_results(left, seen, broken, keys))
    return Verdict(tuple(done.get(id(check)) or next(results) for check in subject.gate), sieved.good, sieved.faulty)


def questions(table: Table, keys: Keys) -> tuple[Questions, dict[int, str]]:
    """What each check asks, by its place in the gate; and why those that cannot be made cannot."""
    schema = table.rows.collect_schema()
    asked: Questions = {}
    broken: dict[int, str] = {}
    for i, check in enumerate(table.subject.gate):
        if check.to is not None and check.to.name not in keys:
            broken[i] = f"table {check.to.name} is not as declared"
        elif table.incomparable and check.kind in ("drift", "rows_like_before"):
            broken[i] = table.incomparable
        elif check.kind in ROW_KINDS:
            rule = row_rule(check, schema, keys)
            about: Merge | None = None if looks_around(check) else "sum"
            fails = None if check.kind == "unique" else about
            asked[i] = {"about": Part(rule.about, about), "fails": Part(rule.fails.sum(), fails)}
        else:
            asked[i] = ask_whole(check, schema, table.reference)
    return asked, broken


def _look(table: Table, asked: Questions, broken: dict[int, str]) -> tuple[Seen, dict[int, str]]:
    """What one pass finds. A check that does not fit its column has failed; the others are judged as ever."""
    try:
        return _seen(table, asked), broken
    except PolarsError:
        broken = broken | {i: why for i, one in asked.items() if (why := _why_not(table, {i: one}))}
        return _seen(table, {i: one for i, one in asked.items() if i not in broken}), broken


def _seen(table: Table, asked: Questions) -> Seen:
    waits = table.subject.waits(table.as_of)
    every = {
        "rows": ROWS,
        "known": ROWS if waits is None else Part((~waits).sum()),
        "newest": Part(_newest(table), "max"),
    }
    among_all, among_new = [*every.values()], list[Part]()
    for i, parts in asked.items():
        (among_new if _compares(table, i) else among_all).extend(parts.values())
    found, new = _found(table, among_all, among_new)
    values = {
        i: {label: _value(new if _compares(table, i) else found, part) for label, part in parts.items()}
        for i, parts in asked.items()
    }
    rows, known, newest = (found[part.name].item() for part in every.values())
    return Seen(rows, known, newest, values)


def _found(table: Table, among_all: Sequence[Part], among_new: Sequence[Part]) -> tuple[State, State]:
    """What all rows come to, and those that were not there before, which are all when there are none."""
    if among_new and table.kept is not None and table.gained is not None and table.blocks is None:
        found, new = states((table.kept, table.gained), among_all, [ROWS, *among_new])
        return found, new if new[ROWS.name].item() else state(table.rows, among_new)
    if not among_new or table.new_rows is table.rows:
        found = _state(table, [*among_all, *among_new])
        return found, found
    return _state(table, among_all), state(table.new_rows, among_new)


def _newest(table: Table) -> pl.Expr:
    """When the last thing happened that known rows tell of; what is known before it happens counts from then on."""
    subject, waits = table.subject, table.subject.waits(table.as_of)
    if subject.time is None or subject.happened is None or waits is None:
        return pl.lit(None, pl.Int64)
    tells = pl.col(subject.time).is_not_null() & ~waits
    told = pl.when(tells).then(pl.min_horizontal(subject.happened, subject.time))
    return told.max().dt.epoch("us")


def _state(table: Table, parts: Sequence[Part]) -> State:
    """What all rows come to: in one scan, or, where there are blocks, in theirs, and a scan for what is not in them."""
    if table.blocks is None:
        return state(table.rows, parts)
    mergeable = tuple(part for part in parts if part.merge is not None)
    ask = Ask(mergeable, partial(table.subject.known, as_of=None if table.gained is None else table.as_of))
    found = asked_of_blocks(table.blocks, ask, table.subject.time)
    if table.gained is not None:
        found = merged([found, state(table.gained, mergeable)], mergeable)
    alone = [part for part in parts if part.merge is None]
    return found.hstack(state(table.rows, alone)) if alone else found


def _compares(table: Table, place: int) -> bool:
    return table.subject.gate[place].kind == "drift"


def _value(found: State, part: Part) -> int | pl.Series | None:
    column = found[part.name]
    return column if column.dtype == pl.List else column.item()


def _count(seen: Seen, place: int, name: str) -> int:
    return int(str(seen.found[place][name]))


def _why_not(table: Table, asked: Questions) -> str:
    try:
        _seen(table, asked)
    except PolarsError as error:
        return str(error).strip().splitlines()[0]
    return ""


def _results(table: Table, seen: Seen, broken: Mapping[int, str], keys: Keys) -> Iterator[CheckResult]:
    for i, check in enumerate(table.subject.gate):
        if i in broken:
            yield _cannot_be_made(table, check, seen, broken[i])
        elif i not in seen.found:
            continue
        elif check.kind in ROW_KINDS:
            failing = table.rows.filter(row_rule(check, table.rows.collect_schema(), keys).fails)
            why = partial(cause_of_rows, table, check, keys, failing)
            counts = _count(seen, i, "about"), _count(seen, i, "fails")
            yield judge_rows(table.subject, check, counts, failing, why)
        else:
            result, value = judge_whole(table, check, seen, seen.found[i])
            yield result if result.passed else structs.replace(result, cause=cause_of_whole(table, check, seen, value))


def _cannot_be_made(table: Table, check: Check, seen: Seen, why: str) -> CheckResult:
    return result_of(table.subject, check, seen.rows, seen.rows, passed=False, detail=f"cannot be made: {why}")
