"""Has the error rate risen? Page's cumulative sum for yes-or-no outcomes, with what it can see stated beforehand.

E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954. Mean runs by Wald's approximation.
"""

from dataclasses import dataclass
from math import expm1, log

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy


@dataclass(frozen=True)
class Cusum:
    """A detector for a rate that rises from ``low`` to ``high``.

    Attributes:
        low: the rate while all is well, above 0.
        high: the rate worth an alarm, below 1.
        limit: the sum at which it alarms.
    """

    low: float
    high: float
    limit: float

    @classmethod
    def designed(cls, low: float, high: float, outcomes: float) -> "Cusum":
        """One false alarm in so many outcomes, on average.

        >>> Cusum.designed(0.10, 0.12, 119_000).limit > 5.4
        True
        """
        from scipy.optimize import brentq  # takes longer to import than everything else here

        divergence = _divergence(low, high)
        limit = brentq(lambda h: (expm1(h) - h) / divergence - outcomes, 1e-6, 60.0)
        return cls(low, high, float(limit))

    @property
    def delay(self) -> float:
        """How many outcomes pass, on average, from the rise to ``high`` until the alarm."""
        return (self.limit + expm1(-self.limit)) / _divergence(self.high, self.low)

    def through(self, total: float, wrong: NDArray[np.bool_]) -> tuple[float, float]:
        """The sum after some more outcomes in their order, and the highest that it was on the way.

        Args:
            total: the sum before.
            wrong: shape (outcomes,).

        >>> Cusum(0.1, 0.2, 3.0).through(0.0, np.array([True] * 3 + [False] * 30))[1] > 2
        True
        """
        if not len(wrong):
            return total, total
        path = total + np.cumsum(np.where(wrong, log(self.high / self.low), log((1 - self.high) / (1 - self.low))))
        # Where it would have fallen below 0 it begins again there.
        path -= np.minimum.accumulate(np.minimum(path, 0.0))
        return float(path[-1]), float(path.max())

    def add(self, total: float, wrong: int, outcomes: int) -> float:
        """The sum after some more outcomes, taken as evenly mixed; it does not fall below 0.

        >>> round(Cusum(0.1, 0.2, 3.0).add(0.0, 1, 1), 3)
        0.693
        """
        step = wrong * log(self.high / self.low) + (outcomes - wrong) * log((1 - self.high) / (1 - self.low))
        return max(0.0, total + step)


def rise(wrong: NDArray[np.float64], outcomes: NDArray[np.int64]) -> int:
    """The span with which the rate rose: the split into before and after under which the outcomes are likeliest.

    The sum alone tells when to alarm. When it left 0 depends on the rate that it was designed for; this does not.

    Args:
        wrong: errors of each span, in order of time; those of the first are from before.
        outcomes: likewise, all of them.

    >>> rise(np.array([10.0, 1, 0, 2, 5, 6]), np.array([100, 10, 10, 10, 10, 10]))
    4
    """
    errors, rows = np.cumsum(wrong), np.cumsum(outcomes)
    before, after = (errors[:-1], rows[:-1]), (errors[-1] - errors[:-1], rows[-1] - rows[:-1])
    rose = after[0] / after[1] > before[0] / before[1]
    return int(np.where(rose, _likelihood(*before) + _likelihood(*after), -np.inf).argmax()) + 1


def _likelihood(wrong: NDArray[np.float64], outcomes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The log likelihood of outcomes under their own rate."""
    right = outcomes - wrong
    found: NDArray[np.float64] = xlogy(wrong, wrong / outcomes) + xlogy(right, right / outcomes)
    return found


def _divergence(p: float, q: float) -> float:
    """Of two coins: how surprised one is, per toss of p, who took it for q."""
    return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))
