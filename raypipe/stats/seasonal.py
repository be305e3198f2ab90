"""A reference that knows the hour and the weekday: windows are compared with what is usual at their time.

Ticks of real data are not alike: rush hours differ from nights, and one day from the next. So what a window is compared
with is mixed from the reference's rows of the same hours, and what counts as far follows from how far the reference's
own days are from each other: the largest deviation of each day, over all columns and scales at once, and the law of
such maxima. E. Gumbel, "Statistics of extremes", 1958.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, pi, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from raypipe.stats.arrays import Ints
from raypipe.stats.shift import SCALES, STREAMS, Floats, Scores, scores

#: An hour and a day, in microseconds; and how many hours a week has.
HOUR, DAY, WEEK = 3_600_000_000, 86_400_000_000, 168
#: Fewer days cannot say how much days differ; with so many each hour of the week has been there four times.
LEAST_DAYS, WEEKDAYS = 14, 28
#: An hour of which the reference has fewer rows is compared with all of it.
_FEW = 50
_EULER = 0.5772
#: Ticks that are judged at a time: their expectations are one product of matrices.
_TOGETHER = 64
#: The epoch was a Thursday.
_THURSDAY = 72

#: Rows by the hour of the week that they were asked in, Monday 00:00 UTC is 0.
Hours: TypeAlias = Mapping[int, int]
_Part: TypeAlias = NDArray[np.float32]


def hour_of_week(at: int) -> int:
    """The hour of the week, 0 to 167, that a moment lies in, microseconds UTC."""
    return (at // HOUR + _THURSDAY) % WEEK


def hours_of(at: Ints) -> dict[int, int]:
    """How many of these moments, microseconds UTC, lie in each hour of the week.

    >>> hours_of(np.array([0, HOUR - 1, 4 * DAY]))
    {0: 1, 72: 2}
    """
    hours, counts = np.unique((at // HOUR + _THURSDAY) % WEEK, return_counts=True)
    return dict(zip(hours.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class Seasonal:
    """What each hour of the day or week usually looks like, and how far from that a window may be.

    Attributes:
        phases: counts by hour of the week, of the day where there are less than `WEEKDAYS`; (phases, columns, cells).
        is_category: shape (columns,).
        usual: a large but usual deviation (the 0.9-quantile over the reference) by scale and column and stream;
            carried on for scales over which the reference has no windows.
        limit: how many times the usual deviation is an alarm.
        days: how many days the limit was learned from; nothing rarer than about one alarm in as many is certain.
    """

    phases: _Part
    is_category: NDArray[np.bool_]
    usual: Floats
    limit: float
    days: int

    @classmethod
    def fit(
        cls,
        counts: _Part,
        at: Ints,
        ends: Sequence[int],
        is_category: NDArray[np.bool_],
        between_alarms: float,
        *,
        is_tested: NDArray[np.bool_] | None = None,
    ) -> "Seasonal | None":
        """Learn from the reference's own ticks, each judged without the days it lies in.

        Args:
            counts: by hour, shape (hours, columns, cells).
            at: when each hour began, microseconds UTC, rising; hours in which nothing was asked may be left out.
            ends: of each tick how many hours are over at its end, rising.
            is_category: shape (columns,).
            between_alarms: ticks between two false alarms.
            is_tested: the columns that can raise an alarm, shape (columns,); None: all. Of the others nothing is
                learned for them: a calendar is each day as far from all other days as can be.

        Returns:
            None: fewer than `LEAST_DAYS` days have a tick.
        """
        past = _Past.of(counts, at, is_category)
        blocks = past.day[np.asarray(ends, dtype=np.int64) - 1]
        days = np.unique(blocks)
        if len(days) < LEAST_DAYS:
            return None
        edges = np.array([0, *ends])
        deviations = np.full((len(ends), len(SCALES), counts.shape[1], len(STREAMS)), np.nan)
        for place, scale in enumerate(SCALES):
            for first in range(scale - 1, len(ends), _TOGETHER):
                ticks = np.arange(first, min(first + _TOGETHER, len(ends)))
                deviations[ticks, place] = past.deviations(edges[ticks + 1 - scale], edges[ticks + 1])
        tested = np.ones(counts.shape[1], np.bool_) if is_tested is None else is_tested
        usual = _usual(deviations, tested)
        # Each day is held to what is usual on the others, as a new one is: what it did itself is not usual by that.
        own = deviations[:, :, tested]
        maxima = np.array([_largest(own[blocks == day], _usual(own[blocks != day])) for day in days])
        limit = _limit(maxima, len(ends) / len(days), between_alarms)
        return cls(past.phases(), is_category, usual, limit, len(days))

    def scores(self, recent: Ints, hours: Sequence[Hours]) -> Scores:
        """What `raypipe.stats.shift.scores` says of the windows that end now, each against the rows of its hours.

        ``z`` is a multiple of the usual deviation: an alarm is above ``limit``.

        Args:
            recent: counts of the newest ticks, the last one now, at most as many as the longest scale; shape (ticks,
                columns, cells).
            hours: of each.
        """
        kinds = len(self.phases)
        weights = np.zeros((len(hours), kinds))
        for tick, asked in enumerate(hours):
            for hour, rows in asked.items():
                weights[tick, hour % kinds] += rows
        scales = [scale for scale in SCALES if scale <= len(recent)]
        windows = np.stack([recent[-scale:].sum(axis=0) for scale in scales])
        asked_at = np.stack([weights[-scale:].sum(axis=0) for scale in scales])
        rows_of = np.broadcast_to(self.phases[:, 0].sum(axis=1, dtype=np.float64), asked_at.shape)
        expected = _mixed(self.phases, rows_of, np.arange(kinds), asked_at)
        found = scores(windows, expected, self.is_category)
        return Scores(found.z / self.usual[: len(scales)], found.distance, found.effective)


@dataclass(frozen=True)
class _Past:
    """The hours of a reference: counts, how many rows, and of which phase and day each is."""

    counts: _Part
    rows: Floats
    phase: Ints
    day: Ints
    kinds: int
    is_category: NDArray[np.bool_]

    @classmethod
    def of(cls, counts: _Part, at: Ints, is_category: NDArray[np.bool_]) -> "_Past":
        day = at // DAY
        kinds = WEEK if len(np.unique(day)) >= WEEKDAYS else 24
        phase = (at // HOUR + _THURSDAY) % WEEK % kinds
        return cls(counts, counts[:, 0].sum(axis=1, dtype=np.float64), phase, day, kinds, is_category)

    def phases(self) -> _Part:
        found = np.zeros((self.kinds, *self.counts.shape[1:]), np.float32)
        np.add.at(found, self.phase, self.counts)
        return found

    def deviations(self, starts: Ints, ends: Ints) -> Floats:
        """How far windows of hours are from others like them on other days; NaN: too few other days are left.

        Args:
            starts: the first hour of each window.
            ends: the one after its last.

        Returns:
            Shape (windows, columns, streams).
        """
        first, last = self.day[starts, None], self.day[ends - 1, None]
        windows = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        weights = np.array([np.bincount(self.phase[one], self.rows[one], self.kinds) for one in windows], np.float64)
        others = np.where((self.day < first) | (self.day > last), self.rows, 0.0)
        expected = _mixed(self.counts, others, self.phase, weights)
        sums = [self.counts[one].sum(axis=0, dtype=np.float64) for one in windows]
        z = scores(np.rint(np.stack(sums)).astype(np.int64), expected, self.is_category).z
        # A window is judged without its days, a new one by all of them: how many rows are left is in z already.
        inside, days = (last - first)[:, 0] + 1, int(self.day[-1] - self.day[0]) + 1
        z[inside * 2 > days] = np.nan
        return z


def _mixed(counts: _Part, rows: Floats, phase: Ints, weights: Floats) -> Ints:
    """What rows of the hours of windows look like, as counts: each part with the weight that a window gives its phase.

    Args:
        counts: of parts of the reference, shape (parts, columns, cells).
        rows: of each part by window, shape (windows, parts); 0: it is left out.
        phase: of each part.
        weights: rows of each window by phase, shape (windows, phases).
    """
    known = rows @ (phase[:, None] == np.arange(weights.shape[1])).astype(np.float64)
    own = np.where(known >= _FEW, weights / np.maximum(known, 1), 0.0)
    # Hours that the reference hardly has are compared with all of it.
    lost = np.where(known < _FEW, weights, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1.0)
    shares = (own[:, phase] + lost[:, None]) * (rows > 0)
    shares /= np.maximum(shares.max(axis=1, keepdims=True), 1e-12)
    mixed: Ints = np.rint(shares.astype(np.float32) @ counts.reshape(len(counts), -1)).astype(np.int64)
    return mixed.reshape(-1, *counts.shape[1:])


def _usual(deviations: Floats, tested: NDArray[np.bool_] | slice = slice(None)) -> Floats:
    usual = np.full(deviations.shape[1:], np.inf)
    seen = ~np.isnan(deviations[..., 0, 0]).all(axis=0)
    found = np.nanquantile(deviations[:, seen], 0.9, axis=0)
    # A column that never moved in the reference would alarm at its first move: it is held to what others do.
    floor = np.maximum(np.median(found[:, tested], axis=1, keepdims=True), 0.5)
    usual[seen] = np.maximum(found, floor)
    # Windows longer than the reference has: deviations of days that are independent stay alike from one length to the
    # next; where they have grown, they are taken to go on growing.
    for place in range(max(int(seen.sum()), 2), len(SCALES)):
        usual[place] = usual[place - 1] * np.maximum(usual[place - 1] / usual[place - 2], 1.0)
    return usual


def _largest(deviations: Floats, usual: Floats) -> float:
    """The largest multiple of the usual deviation, over all windows, columns and scales."""
    return float(np.nanmax(deviations / usual, initial=0.0))


def _limit(maxima: Floats, per_day: float, between_alarms: float) -> float:
    """The quantile of Gumbel's law that a day's maximum passes once in the budget; wider the fewer days there are."""
    beta = max(float(maxima.std(ddof=1)) * sqrt(6) / pi, 1e-6)
    middle = float(maxima.mean()) - _EULER * beta
    share = min(per_day / between_alarms, 1 - exp(-1))
    return middle - beta * (1 + 2 / sqrt(len(maxima))) * log(-log(1 - share))
