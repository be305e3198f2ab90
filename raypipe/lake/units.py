"""Whether values are in another unit than they were: all of them a known factor larger or smaller."""

from collections.abc import Sequence

import numpy as np

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
#: Below so many values the quantiles of a column say too little, and below so many nothing does.
FEW_VALUES, FEWEST = 100, 20
#: What lies between two units of one thing: minutes and hours, metres and kilometres, seconds and microseconds …
FACTORS = (60.0, 100.0, 1e3, 3_600.0, 86_400.0, 1e6, 1e9)
#: How far each quantile may be from the factor, and how wide a column has to be spread for that to tell anything.
NEAR, SPREAD = 0.25, 1.5
#: Numbers from here on are times since an epoch: they are all alike, and jump by exactly a power of a thousand.
EPOCH = 1e8
#: Of few values no more than this share lies where four of five should, when they are in another unit.
INSIDE = 0.1
#: By so many standard deviations of a share that is counted in a sample it may be another than it should be.
DEVIATIONS = 2.6
#: Values are written down in three digits: so near they may be the same.
ALIKE = 0.01


def quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """How large values are; empty when that cannot be compared: many of them are 0."""
    found = np.quantile(values, QUANTILES, method="nearest")
    return tuple(float(one) for one in found) if found[0] else ()


def factor(before: Sequence[float], now: Sequence[float]) -> float | None:
    """By how much values became larger, if it is what lies between two units.

    Args:
        before: the quantiles of a column, all above 0.
        now: those of what came later.

    >>> factor((10, 12, 15, 20, 30), (610, 730, 880, 1_210, 1_790)), factor((10, 12, 15, 20, 30), (31, 35, 46, 59, 91))
    (60.0, None)
    """
    wide = min(before[-1] / before[0], now[-1] / now[0]) >= SPREAD
    ratios = np.array(now) / np.array(before)
    return next((one for one in _factors(wide, *before, *now) if np.all(np.abs(ratios / one - 1) <= NEAR)), None)


def factor_of_few(before: Sequence[float], values: Sequence[float]) -> float | None:
    """The same of few values, at least ``FEWEST``: nearly none lies where most should, and divided they do.

    Quantiles of so few are not exact enough: compared is how many lie below each of those of before.
    """
    found = np.array(values)
    if np.mean((found >= before[0]) & (found <= before[-1])) > INSIDE:
        return None
    some = quantiles(values)
    if some and (exact := factor(before, some)) is not None:
        return exact
    wide = before[-1] / before[0] >= SPREAD
    return next((one for one in _factors(wide, *before) if wide and _fits(before, found / one)), None)


def _factors(wide: bool, *values: float) -> list[float]:
    both = [*FACTORS, *(1 / one for one in FACTORS)]
    return [one for one in both if wide or (max(one, 1 / one) in (1e3, 1e6, 1e9) and min(values) >= EPOCH)]


def _fits(before: Sequence[float], values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> bool:
    """Whether as many values lie below each quantile as should; of a value that is there often, below or at it."""
    shares, edges = np.array(QUANTILES), np.array(before)
    below = np.mean(values[:, None] < edges * (1 - ALIKE), axis=0)
    upto = np.mean(values[:, None] <= edges * (1 + ALIKE), axis=0)
    off = DEVIATIONS * np.sqrt(shares * (1 - shares) / len(values))
    return bool(np.all((below <= shares + off) & (upto >= shares - off)))
