"""What checks found, as records with a sentence and a few of the failing rows."""

from fractions import Fraction

import polars as pl

from raypipe.contracts.records import CheckResult
from raypipe.spec import Source, Stream
from raypipe.spec.checks import Check

#: How many failing rows a report shows.
SHOWN = 5


def judge_rows(source: Source, check: Check, counts: tuple[int, int], failing: pl.LazyFrame) -> CheckResult:
    """The verdict of a check that judges row by row.

    Args:
        source: what is judged.
        check: by what.
        counts: how many rows the check is about, and how many of them fail.
        failing: those that fail.
    """
    about, failed = counts
    passed = about - failed >= Fraction(str(check.at_least)) * about
    detail = f"{failed:,} of {about:,} rows fail ({failed / about:.2%})" if about else "no row to judge"
    if 0 < check.at_least < 1 or (not check.at_least and check.action != "quarantine"):
        detail += f", at most {1 - check.at_least:.2%} may"
    shown = () if passed and (not failed or check.action != "quarantine") else _sample(source, check, failing)
    return result_of(source, check, about, failed, passed=passed, detail=detail, shown=shown)


def _sample(source: Source, check: Check, failing: pl.LazyFrame) -> tuple[str, ...]:
    """A few failing rows, first come first: what tells them apart, and the columns that the check is about."""
    identity = source.id if isinstance(source, Stream) else (source.key,)
    shown = list(dict.fromkeys((*identity, *check.columns)))
    return tuple(failing.select(shown).head(SHOWN).collect().write_ndjson().split("\n")[:-1])


def result_of(
    source: Source, check: Check, rows: int, failed: int, *, passed: bool, detail: str, shown: tuple[str, ...] = ()
) -> CheckResult:
    """What a check found, as a record."""
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
        action=check.action,
    )
