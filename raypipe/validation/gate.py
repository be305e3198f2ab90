"""Every source's gate: its columns first, then its checks, all of a table's rows in one pass."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from polars.exceptions import PolarsError

from raypipe.clock import iso
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import CheckResult, GateReport, Snapshot
from raypipe.errors import GateError
from raypipe.spec import Pipeline, Source, Stream, in_words, micros
from raypipe.spec.checks import Check
from raypipe.validation.columns import check_columns
from raypipe.validation.rules import ROW_KINDS, Rule, row_rule
from raypipe.validation.sample import sample

Read = Callable[[Snapshot], pl.LazyFrame]


def check(pipeline: Pipeline, snapshots: Sequence[Snapshot], read: Read, as_of: int, progress: Progress) -> GateReport:
    """Judge every source of a pipeline by its gate.

    A stream's checks are about the rows that are known at ``as_of``; a row that does not tell when it was known is
    judged too, lest a gap in its times let it slip through. Tables are judged whole.

    Args:
        pipeline: declares the sources and their gates.
        snapshots: the state of each source's table that is judged.
        read: gives the rows of a snapshot.
        as_of: the run's moment, in microseconds UTC.
        progress: is told which table is under way.

    Returns:
        One result a check, the columns of each table first; a check that cannot be made is one that failed.

    Raises:
        GateError: a source has no snapshot.
    """
    frames = {snapshot.table: read(snapshot) for snapshot in snapshots}
    if missing := [source.name for source in pipeline.sources if source.name not in frames]:
        raise GateError(f"no snapshot of {', '.join(missing)} to check", where=pipeline.name, cure="Ingest it first")
    results: list[CheckResult] = []
    with progress.step("check", len(pipeline.sources)) as step:
        for source in pipeline.sources:
            columns = check_columns(source, frames[source.name])
            results.append(columns)
            if columns.passed:
                results += _check_rows(source, frames, as_of)
            step.advance(note=source.name)
    return GateReport(pipeline=pipeline.name, as_of=as_of, snapshots=tuple(snapshots), results=tuple(results))


def require(report: GateReport) -> None:
    """Do nothing when every check passed.

    Raises:
        GateError: a check failed; a sentence for each says table, check, column, rows and a sample.
    """
    failed = [result for result in report.results if not result.passed]
    if not failed:
        return
    what = f"{len(failed)} of {len(report.results)} checks failed at {iso(report.as_of)}; nothing was moved on"
    raise GateError("\n".join((what, *(_sentence(result) for result in failed))), where=f"gate of {report.pipeline}")


@dataclass(frozen=True)
class Seen:
    """What one pass over a table found: how many rows, when the newest was known, and two counts a rule."""

    rows: int
    newest: int | None
    counts: Mapping[int, tuple[int, int]]


def _check_rows(source: Source, frames: Mapping[str, pl.LazyFrame], as_of: int) -> Iterable[CheckResult]:
    rows = frames[source.name]
    if isinstance(source, Stream):
        rows = rows.filter((pl.col("known_at") <= _moment(as_of)) | pl.col("known_at").is_null())
    keys = {
        one.to.name: frames[one.to.name].select(pl.col(one.to.key).unique()).collect().to_series().drop_nulls()
        for one in source.gate
        if one.to is not None
    }
    schema = rows.collect_schema()
    rules = {i: row_rule(one, schema, keys) for i, one in enumerate(source.gate) if one.kind in ROW_KINDS}
    broken: dict[int, str] = {}
    try:
        seen = _look(source, rows, rules)
    except PolarsError:
        # One of the checks does not fit its column. Find out which: it failed, the others are judged as ever.
        broken = {i: why for i, rule in rules.items() if (why := _why_not(source, rows, {i: rule}))}
        rules = {i: rule for i, rule in rules.items() if i not in broken}
        seen = _look(source, rows, rules)
    for i, one in enumerate(source.gate):
        if i in broken:
            yield _result(source, one, seen.rows, seen.rows, passed=False, detail=f"cannot be made: {broken[i]}")
        elif i in rules:
            yield _judge_rows(source, one, rules[i], seen.counts[i], rows)
        else:
            yield _judge_table(source, one, seen, as_of)


def _look(source: Source, rows: pl.LazyFrame, rules: Mapping[int, Rule]) -> Seen:
    newest = pl.col("known_at").max().dt.epoch("us") if isinstance(source, Stream) else pl.lit(None, pl.Int64)
    wanted = [pl.len().alias("rows"), newest.alias("newest")]
    for i, rule in rules.items():
        wanted += [_count(rule.about).alias(f"about {i}"), _count(rule.fails).alias(f"fails {i}")]
    found = rows.select(wanted).collect().row(0, named=True)
    counts = {i: (found[f"about {i}"], found[f"fails {i}"]) for i in rules}
    return Seen(found["rows"], found["newest"], counts)


def _count(rows: pl.Expr) -> pl.Expr:
    # A literal has one value for all rows; filled up, it counts as many as there are.
    return (rows & pl.int_range(pl.len()).is_not_null()).sum()


def _why_not(source: Source, rows: pl.LazyFrame, rule: Mapping[int, Rule]) -> str:
    try:
        _look(source, rows, rule)
    except PolarsError as error:
        return str(error).strip().splitlines()[0]
    return ""


def _judge_rows(source: Source, one: Check, rule: Rule, counts: tuple[int, int], rows: pl.LazyFrame) -> CheckResult:
    about, failed = counts
    passed = about - failed >= one.at_least * about
    share = f"{failed:,} of {about:,} rows fail ({failed / about:.2%})" if about else "no row to judge"
    allowed = f", at most {1 - one.at_least:.2%} may" if one.at_least < 1 else ""
    shown = () if passed else sample(source, one.columns, rows, rule.fails)
    return _result(source, one, about, failed, passed=passed, detail=share + allowed, shown=shown)


def _judge_table(source: Source, one: Check, seen: Seen, as_of: int) -> CheckResult:
    if one.kind == "rows":
        low, high = one.low or 0, one.high
        passed = low <= seen.rows and (high is None or seen.rows <= high)
        wanted = f"at least {low:g}" + (f", at most {high:g}" if high is not None else "")
        return _result(source, one, seen.rows, int(not passed), passed=passed, detail=f"{seen.rows:,} rows; {wanted}")
    assert one.within is not None  # noqa: S101  # the only other kind is `fresh`, which has it
    if seen.newest is None:
        return _result(source, one, seen.rows, 1, passed=False, detail=f"no row is known at {iso(as_of)}")
    passed = as_of - seen.newest <= micros(one.within)
    detail = f"newest row known at {iso(seen.newest)}, {_hours(as_of - seen.newest)} before {iso(as_of)}"
    return _result(
        source, one, seen.rows, int(not passed), passed=passed, detail=f"{detail}; at most {in_words(one.within)}"
    )


def _result(
    source: Source, one: Check, rows: int, failed: int, *, passed: bool, detail: str, shown: tuple[str, ...] = ()
) -> CheckResult:
    return CheckResult(
        table=source.name,
        check=one.name,
        columns=one.columns,
        passed=passed,
        rows=rows,
        failed=failed,
        detail=detail,
        where=one.where,
        sample=shown,
    )


def _sentence(result: CheckResult) -> str:
    head = f"  {result.table}: {result.check} failed: {result.detail} ({result.where})"
    return "\n".join((head, *(f"    {row}" for row in result.sample)))


def _moment(at: int) -> pl.Expr:
    return pl.lit(at, pl.Int64).cast(pl.Datetime("us", "UTC"))


def _hours(duration: int) -> str:
    return f"{duration / 3_600_000_000:.1f} h"
