"""What checks found, as records with a sentence and a few of the failing rows."""

from collections.abc import Callable
from fractions import Fraction

import polars as pl

from raypipe.contracts.records import CheckResult
from raypipe.spec.checks import Check
from raypipe.validation.subject import Subject

#: How many failing rows a report shows.
SHOWN = 5


def judge_rows(
    subject: Subject, check: Check, counts: tuple[int, int], failing: pl.LazyFrame, cause: Callable[[], str]
) -> CheckResult:
    """The verdict of a check that judges row by row.

    Args:
        subject: what is judged.
        check: by what.
        counts: how many rows the check is about, and how many of them fail.
        failing: those that fail.
        cause: works out why, when that is worth telling.
    """
    about, failed = counts
    passed = about - failed >= Fraction(str(check.at_least)) * about
    detail = f"{failed:,} of {about:,} rows fail ({failed / about:.2%})" if about else "no row to judge"
    if 0 < check.at_least < 1 or (not check.at_least and check.action != "quarantine"):
        detail += f", at most {1 - check.at_least:.2%} may"
    told = not passed or (failed > 0 and check.action == "quarantine")
    shown = _sample(subject, check, failing) if told else ()
    why = cause() if told else ""
    return result_of(subject, check, about, failed, passed=passed, detail=detail, shown=shown, cause=why)


def _sample(subject: Subject, check: Check, failing: pl.LazyFrame) -> tuple[str, ...]:
    """A few failing rows, first come first: what tells them apart, and the columns that the check is about."""
    shown = list(dict.fromkeys((*subject.id, *check.columns)))
    return tuple(failing.select(shown).head(SHOWN).collect().write_ndjson().split("\n")[:-1])


def result_of(
    subject: Subject,
    check: Check,
    rows: int,
    failed: int,
    *,
    passed: bool,
    detail: str,
    shown: tuple[str, ...] = (),
    cause: str = "",
) -> CheckResult:
    """What a check found, as a record."""
    return CheckResult(
        table=subject.name,
        check=check.name,
        columns=check.columns,
        passed=passed,
        rows=rows,
        failed=failed,
        detail=detail,
        where=check.where,
        sample=shown,
        action=check.action,
        cause=cause,
        allowed=round(1 - check.at_least, 9),
    )
