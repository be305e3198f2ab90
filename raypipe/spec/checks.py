"""What data must satisfy before anything reads it: one line a check."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import polars as pl

from raypipe.spec.expressions import Expression
from raypipe.spec.values import in_words, place

if TYPE_CHECKING:
    from raypipe.spec.sources import Table

Kind: TypeAlias = Literal[
    "not_null",
    "between",
    "one_of",
    "matches",
    "unique",
    "refers",
    "holds",
    "lag",
    "fresh",
    "rows",
    "rows_like_before",
    "quantile",
    "cardinality",
    "drift",
]
Action: TypeAlias = Literal["stop", "quarantine", "warn"]
#: Checks that judge row by row; the others judge the table as a whole.
ROW_KINDS: frozenset[Kind] = frozenset(("not_null", "between", "one_of", "matches", "unique", "refers", "holds", "lag"))


@dataclass(frozen=True)
class Check:
    """One check of one table.

    Attributes:
        kind: what is checked.
        columns: the columns it is about; empty for a check of the whole table.
        at_least: the share of rows, 0 to 1, that must satisfy it.
        low, high: for ``between`` (inclusive), ``rows``, ``quantile`` and ``cardinality``.
        share: for ``quantile`` which one, 0 to 1; for ``rows_like_before`` the greatest change; for ``drift`` the
            greatest distance.
        values: for ``one_of``.
        pattern: for ``matches``, a regular expression for the whole text.
        to: for ``refers``, the table whose key is meant.
        within: for ``fresh``, the greatest age of the newest known event at the run's as-of time; for ``lag``, the
            longest time from a row's event to when it was known.
        rule: for ``holds``, a boolean expression over the row.
        action: what follows when it fails: the run stops, the failing rows are set aside, or it is only told.
    """

    kind: Kind
    columns: tuple[str, ...] = ()
    at_least: float = 1.0
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    pattern: str = ""
    to: "Table | None" = None
    within: timedelta | None = None
    rule: Expression | None = None
    share: float | None = None
    action: Action = "stop"
    where: str = place()

    @property
    def name(self) -> str:
        """How reports and errors call it.

        >>> not_null("carrier", "origin").name
        'not_null(carrier, origin)'
        """
        shown = list(self.columns)
        if self.share is not None:
            shown.append(f"{self.share:g}")
        if self.kind in ("between", "rows", "quantile", "cardinality"):
            shown.append(
                f"{'' if self.low is None else f'{self.low:g}'}..{'' if self.high is None else f'{self.high:g}'}"
            )
        if self.to is not None:
            shown.append(f"to {self.to.name}.{self.to.key}")
        if self.within is not None:
            shown.append(in_words(self.within))
        if self.rule is not None:
            shown.append(str(self.rule))
        if 0 < self.at_least < 1 or (not self.at_least and self.action != "quarantine"):
            shown.append(f"at least {self.at_least * 100:g}%")
        return f"{self.kind}({', '.join(shown)})"

    def quarantine(self) -> "Check":
        """The same check, setting failing rows aside while the good ones go on.

        With a share declared (``at_least=0.9``) the run still stops when fewer rows than that are good; without one,
        however many are bad, the others go on.

        >>> between("fare", 0, 500, at_least=0.9).quarantine().action
        'quarantine'
        """
        return replace(self, action="quarantine", at_least=self.at_least if self.at_least < 1 else 0.0)

    def warn(self) -> "Check":
        """The same check, telling what it found and stopping nothing.

        >>> rows(1_000).warn().action
        'warn'
        """
        return replace(self, action="warn")


def not_null(*columns: str, at_least: float = 1.0) -> Check:
    """The columns hold a value, in at least this share of rows."""
    return Check("not_null", columns, at_least)


def between(column: str, low: float | None, high: float | None, *, at_least: float = 1.0) -> Check:
    """Values that are there lie between low and high, both included; None leaves a side open."""
    return Check("between", (column,), at_least, low=low, high=high)


def one_of(column: str, *values: str, at_least: float = 1.0) -> Check:
    """Values that are there are among these."""
    return Check("one_of", (column,), at_least, values=values)


def matches(column: str, pattern: str, *, at_least: float = 1.0) -> Check:
    """Texts that are there match the regular expression from start to end."""
    return Check("matches", (column,), at_least, pattern=pattern)


def unique(*columns: str) -> Check:
    """No two rows share the same values in these columns."""
    return Check("unique", columns)


def refers(column: str, *, to: "Table", at_least: float = 1.0) -> Check:
    """Values that are there are keys of another table, in at least this share of rows."""
    return Check("refers", (column,), at_least, to=to)


def fresh(*, within: timedelta) -> Check:
    """The newest event known at the run's as-of time happened at most this long before it.

    News of older events (a correction, a label that settles) make nothing fresh. A row that is known before its event,
    such as a forecast, counts from when it was known.
    """
    return Check("fresh", within=within)


def rows(low: int, high: int | None = None) -> Check:
    """The table has at least ``low`` rows, and at most ``high``."""
    return Check("rows", low=low, high=high)


def holds(rule: pl.Expr, *, at_least: float = 1.0) -> Check:
    """A boolean rule across columns is true wherever it is not null."""
    return Check("holds", Expression.of(rule).roots, at_least, rule=Expression.of(rule))


def lag(*, within: timedelta, at_least: float = 1.0) -> Check:
    """Rows of a stream are known at most this long after their event; one that does not tell when is not."""
    return Check("lag", (), at_least, within=within)


def quantile(column: str, q: float, low: float | None, high: float | None) -> Check:
    """The value that a share ``q`` of the values lies at or below is between low and high.

    >>> quantile("fare", 0.99, 20, 200).name
    'quantile(fare, 0.99, 20..200)'
    """
    return Check("quantile", (column,), low=low, high=high, share=q)


def cardinality(column: str, low: int, high: int | None = None) -> Check:
    """The column has at least ``low`` different values, and at most ``high``; null is none."""
    return Check("cardinality", (column,), low=low, high=high)


def rows_like_before(*, within: float) -> Check:
    """There are as many rows as were published before, give or take this share.

    Those of before are counted as known at the as-of time; new ones count whenever they are known.
    The first rows of a table have nothing to be compared with, and pass.
    """
    return Check("rows_like_before", share=within)


def drift(column: str, at_most: float) -> Check:
    """New values are distributed as those that were published before, at most this far apart (0 the same, 1 apart).

    Numbers by the Kolmogorov-Smirnov distance, texts and truths by total variation, where null is a category. Of a
    stream, rows with new ids are compared, or all when there are none; a table is compared whole. The distance of a few
    rows from many is large by chance: about 1.4 divided by the root of their number is usual. The first rows of a table
    have nothing to be compared with, and pass.
    """
    return Check("drift", (column,), share=at_most)
