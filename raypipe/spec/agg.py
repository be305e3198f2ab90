"""Aggregates over the past events of a key, named as Polars and pandas name them.

A window of length W at time q sees events with ``floor(q - W, tail) <= event_time < q`` and ``known_at <= q``: the
event at q is not seen, the event at the lower edge is. Without a window, an aggregate sees the whole past.

``tail=seconds(0)`` makes a window exact: at every moment it is W long. Any other ``tail`` makes it a sawtooth: it grows
from W to W and a tail, drops back to W, and grows again, because its lower edge waits on the grid while time goes on.
Windows whose ``tail`` is not given are exact up to 30 minutes, then have one of 1 minute, and of 1 hour from 2 days on.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

import polars as pl

from raypipe.spec.expressions import Expression
from raypipe.spec.values import days, in_words, minutes, place

Op: TypeAlias = Literal[
    "count", "sum", "mean", "std", "min", "max", "first", "last", "percentile", "distinct",
    "decayed_sum", "decayed_count", "decayed_mean", "since", "tenure",
]  # fmt: skip
Value: TypeAlias = str | pl.Expr


@dataclass(frozen=True)
class Aggregate:
    """One aggregate.

    Attributes:
        op: what is computed.
        value: the expression aggregated over each event; None: only that it happened.
        window: how far back it looks; None for the whole past.
        tail: the grid that the lower edge is rounded down to: of a sawtooth window; zero: the window is exact.
        rank: for ``percentile``, above 0 and at most 1.
        half_life: for decayed aggregates.
        max_age: for ``last``: an event older than this is forgotten.
    """

    op: Op
    value: Expression | None
    window: timedelta | None = None
    tail: timedelta = timedelta(0)
    rank: float | None = None
    half_life: timedelta | None = None
    max_age: timedelta | None = None
    where: str = place()

    @property
    def window_in_words(self) -> str:
        """How far back it looks, and where the window begins; how fast it forgets; empty where it sees all of the past.

        >>> from raypipe.spec import days
        >>> mean("delay", days(30)).window_in_words, mean("delay", days(30), tail=days(0)).window_in_words
        ('30 d sawtooth (1 h)', '30 d exact')
        >>> last("delay", max_age=days(2)).window_in_words, decayed_count(half_life=days(7)).window_in_words
        ('up to 2 d', 'half-life 7 d')
        """
        if self.window is None:
            age = f"up to {in_words(self.max_age)}" if self.max_age else ""
            return f"half-life {in_words(self.half_life)}" if self.half_life else age
        return f"{in_words(self.window)} {f'sawtooth ({in_words(self.tail)})' if self.tail else 'exact'}"

    @property
    def kind(self) -> str:
        """What kind of aggregate it is.

        >>> since().kind, last("delay").kind, decayed_count(half_life=timedelta(1)).kind, count(timedelta(1)).kind
        ('temporal', 'as-of', 'decay', 'window')
        """
        if self.window is not None:
            return "window"
        return "as-of" if self.op == "last" else "temporal" if self.op in ("since", "tenure") else "decay"

    @property
    def in_words(self) -> str:
        """A short description for catalogues and errors.

        >>> from raypipe.spec import hours
        >>> mean("delay", hours(3)).in_words
        'mean of delay over 3 h'
        """
        what = self.op if self.rank is None else f"{self.op} {self.rank:g}"
        of = f" of {self.value.in_words}" if self.value else ""
        over = f" over {in_words(self.window)}" if self.window else ""
        half = f", half-life {in_words(self.half_life)}" if self.half_life else ""
        age = f", at most {in_words(self.max_age)} old" if self.max_age else ""
        return f"{what}{of}{over}{half}{age}"


def default_tail(window: timedelta) -> timedelta:
    """The grid of a window's lower edge: exact up to 30 minutes; 1 minute below 2 days, else 1 hour: a sawtooth."""
    if window <= minutes(30):
        return timedelta(0)
    return minutes(1) if window < days(2) else minutes(60)


def _windowed(
    op: Op, value: Value | None, window: timedelta, tail: timedelta | None, rank: float | None = None
) -> Aggregate:
    expression = None if value is None else Expression.of(value)
    if tail is None:
        # A window of the wrong kind, which types forbid, is kept, and told by `check` beside all other faults.
        tail = default_tail(window) if isinstance(window, timedelta) else timedelta(0)  # type: ignore[redundant-expr]
    return Aggregate(op, expression, window, tail, rank)


def count(window: timedelta, value: Value | None = None, *, tail: timedelta | None = None) -> Aggregate:
    """How many events; with ``value``, how many where it is neither null nor NaN. Empty: 0."""
    return _windowed("count", value, window, tail)


def sum(  # noqa: A001  # named as Polars does, and always written agg.sum
    value: Value, window: timedelta, *, tail: timedelta | None = None
) -> Aggregate:
    """Sum of the values that are there. Empty: 0."""
    return _windowed("sum", value, window, tail)


def mean(value: Value, window: timedelta, *, tail: timedelta | None = None) -> Aggregate:
    """Arithmetic mean. Empty: null."""
    return _windowed("mean", value, window, tail)


def std(value: Value, window: timedelta, *, tail: timedelta | None = None) -> Aggregate:
    """Sample standard deviation (n - 1). Fewer than two values: null."""
    return _windowed("std", value, window, tail)


def min(  # noqa: A001
    value: Value, window: timedelta, *, tail: timedelta | None = None
) -> Aggregate:
    """Smallest value. Empty: null."""
    return _windowed("min", value, window, tail)


def max(  # noqa: A001
    value: Value, window: timedelta, *, tail: timedelta | None = None
) -> Aggregate:
    """Largest value. Empty: null."""
    return _windowed("max", value, window, tail)


def first(value: Value, window: timedelta, *, tail: timedelta | None = None) -> Aggregate:
    """Value of the earliest event in the window that has one, in the order (event_time, known_at, id). Empty: null."""
    return _windowed("first", value, window, tail)


def percentile(value: Value, rank: float, window: timedelta, *, tail: timedelta | None = None) -> Aggregate:
    """Nearest-rank percentile, ``rank`` in (0, 1]: exact up to 64 values, else within 1 % of it. Empty: null."""
    return _windowed("percentile", value, window, tail, rank)


def distinct(value: Value, window: timedelta, *, tail: timedelta | None = None) -> Aggregate:
    """How many different values: exact up to 1,024, else with a standard error of up to 4.5 %. Empty: 0."""
    return _windowed("distinct", value, window, tail)


def last(
    value: Value, window: timedelta | None = None, *, max_age: timedelta | None = None, tail: timedelta | None = None
) -> Aggregate:
    """Value of the latest event, in the order (event_time, known_at, id).

    Of the whole past, it sees events with ``event_time <= q`` and ``known_at <= q``, and is null when the latest is
    older than ``max_age``. With a window it sees those in the window, of which none is at q. Empty: null.

    >>> from raypipe.spec import hours
    >>> last("delay", hours(3)).in_words, last("delay", max_age=hours(3)).in_words
    ('last of delay over 3 h', 'last of delay, at most 3 h old')

    Raises:
        TypeError: it has both a window and an age, or a tail without a window.
    """
    if window is not None:
        if max_age is not None:
            raise TypeError("last() takes a window or `max_age`, not both")
        return _windowed("last", value, window, tail)
    if tail is not None:
        raise TypeError("last() takes a `tail` only with a window")
    return Aggregate("last", Expression.of(value), max_age=max_age)


def since(*, max_age: timedelta | None = None) -> Aggregate:
    """Seconds since the latest event with ``event_time <= q``. None yet, or older than ``max_age``: null."""
    return Aggregate("since", None, max_age=max_age)


def tenure() -> Aggregate:
    """Seconds since the first event with ``event_time <= q`` and ``known_at <= q``, however long ago. None yet: null.

    >>> tenure().in_words
    'tenure'
    """
    return Aggregate("tenure", None)


def decayed_sum(value: Value, *, half_life: timedelta) -> Aggregate:
    """Sum of ``value * 2^(-(q - event_time) / half_life)``. Empty: 0."""
    return Aggregate("decayed_sum", Expression.of(value), half_life=half_life)


def decayed_count(*, half_life: timedelta) -> Aggregate:
    """Sum of ``2^(-(q - event_time) / half_life)``. Empty: 0."""
    return Aggregate("decayed_count", None, half_life=half_life)


def decayed_mean(value: Value, *, half_life: timedelta) -> Aggregate:
    """Mean weighted by ``2^(-(q - event_time) / half_life)``. Empty: null."""
    return Aggregate("decayed_mean", Expression.of(value), half_life=half_life)
