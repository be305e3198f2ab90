"""A reference that knows the hour and the weekday: windows are compared with what is usual at their time.

Ticks of real data are not alike: rush hours differ from nights, and one day from the next. So a window's expectation is
mixed from reference ticks of the same phase, and what counts as far follows from how far the reference's own days are
from each other: the largest deviation of each day, over all columns and scales at once, and the law of such maxima.
E. Gumbel, "Statistics of extremes", 1958.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from raypipe.stats.exact import Ints
from raypipe.stats.shift import SCALES, Floats, scores

#: Fewer days cannot say how much days differ.
LEAST_DAYS = 14
_EULER = 0.5772


@dataclass(frozen=True)
class Seasonal:
    """What each phase of the day or week usually looks like, and how far from that a window may be.

    Attributes:
        phases: counts by phase, shape (phases, columns, cells).
        is_category: shape (columns,).
        usual: a large but usual deviation (the 0.9-quantile over the reference) by scale and column and stream.
        limit: how many times the usual deviation is an alarm.
        days: how many days the limit was learned from; nothing rarer than about one alarm in as many is certain.
    """

    phases: Ints
    is_category: NDArray[np.bool_]
    usual: Floats
    limit: float
    days: int

    @classmethod
    def fit(
        cls,
        ticks: Ints,
        phase: Sequence[int],
        day: Sequence[int],
        is_category: NDArray[np.bool_],
        between_alarms: float,
    ) -> "Seasonal | None":
        """Learn from the reference's own ticks, each judged without its day; None: there are fewer than 14 days.

        Args:
            ticks: counts of shape (ticks, columns, cells), in order of time, with no day left out in between.
            phase: of each tick, from 0; ticks of one phase are alike.
            day: of each tick, rising.
            is_category: shape (columns,).
            between_alarms: ticks between two false alarms.
        """
        kinds, (_, days) = np.asarray(phase), np.unique(np.asarray(day), return_inverse=True)
        found = int(days[-1]) + 1 if len(days) else 0
        if found < LEAST_DAYS:
            return None
        phases = np.zeros((int(kinds.max()) + 1, *ticks.shape[1:]), np.int64)
        np.add.at(phases, kinds, ticks)
        per_phase = max(2.0, found / max(1.0, len(np.unique(kinds)) * found / len(kinds)))
        # A day is judged without itself, a new one by all days: the two differ in the noise of their expectation.
        noise = sqrt((1 + 1 / per_phase) / (1 + 1 / (per_phase - 1)))
        deviations = np.zeros((len(ticks), len(SCALES), ticks.shape[1], 3))
        for one in range(found):
            mine = np.flatnonzero(days == one)
            without = phases.copy()
            np.subtract.at(without, kinds[mine], ticks[mine])
            for t in mine:
                deviations[t] = _deviations(ticks[: t + 1], kinds[: t + 1], without, is_category) * noise
        usual = _usual(deviations)
        ratios = (deviations / usual).max(axis=(1, 2, 3))
        maxima = np.array([ratios[days == one].max() for one in range(found)])
        return cls(phases, is_category, usual, _limit(maxima, len(ticks) / found, between_alarms), found)

    def ratio(self, recent: Ints, phase: Sequence[int]) -> Floats:
        """Deviations as multiples of the usual ones, shape (scales, columns, streams); an alarm is above ``limit``.

        Args:
            recent: counts of the newest ticks, the last one now, at most as many as the longest scale.
            phase: of each.
        """
        return _deviations(recent, np.asarray(phase), self.phases, self.is_category) / self.usual


def _deviations(recent: Ints, phase: Ints, phases: Ints, is_category: NDArray[np.bool_]) -> Floats:
    found = np.zeros((len(SCALES), recent.shape[1], 3))
    for place, scale in enumerate(SCALES):
        if scale > len(recent):
            break
        window, kinds = recent[-scale:], phase[-scale:]
        expected = _mixed(phases, kinds, window[:, 0].sum(axis=1))
        found[place] = scores(window.sum(axis=0)[None], expected, is_category).z[0]
    return found


def _mixed(phases: Ints, kinds: Ints, rows: Ints) -> Ints:
    """The expectation of a window: each phase with the weight that the window gives it, as counts."""
    known = np.maximum(phases[:, 0].sum(axis=1), 1)
    weights = np.bincount(kinds, weights=rows, minlength=len(phases)) / known
    most = max(float(weights.max()), 1e-12)
    mixed: Ints = np.rint(np.tensordot(weights / most, phases, axes=1)).astype(np.int64)
    return mixed


def _usual(deviations: Floats) -> Floats:
    usual = np.quantile(deviations, 0.9, axis=0)
    # A column that never moved in the reference would alarm at its first move: it is held to what others do.
    floor = np.maximum(np.median(usual, axis=1, keepdims=True), 0.5)
    highest: Floats = np.maximum(usual, floor)
    return highest


def _limit(maxima: Floats, per_day: float, between_alarms: float) -> float:
    """The quantile of Gumbel's law that a day's maximum passes once in the budget; wider the fewer days there are."""
    beta = max(float(maxima.std(ddof=1)) * sqrt(6) / pi, 1e-6)
    middle = float(maxima.mean()) - _EULER * beta
    share = min(per_day / between_alarms, 1 - exp(-1))
    return middle - beta * (1 + 2 / sqrt(len(maxima))) * log(-log(1 - share))
