"""What a change has brought about, with chance and what was different anyway taken out.

Sources: Deng, Xu, Kohavi, Walker, "Improving the sensitivity of online controlled experiments by utilizing
pre-experiment data" (2013), for units that were spread by chance; Abadie, Diamond, Hainmueller, "Synthetic control
methods for comparative case studies" (2010), for judging an effect by those of dates on which nothing was.
"""

from dataclasses import dataclass

import numpy as np

from raypipe.stats.estimate import Floats
from raypipe.stats.sequential import Sample, difference

#: A difference is looked for of this part of the standard deviation.
_SCALE = 0.1
#: Fewer periods before the change say nothing about what is usual.
LEAST_BEFORE = 4


@dataclass(frozen=True)
class Effect:
    """An estimate, the interval that holds it 19 times out of 20, the p-value, and how much it rests on.

    Attributes:
        rows: units of both sides, or placebo dates.
        spared: the part of the variance that what was known before has taken away; 0 for other methods.
    """

    estimate: float
    low: float
    high: float
    p: float
    rows: int
    spared: float = 0.0


def adjusted(control: Floats, treated: Floats, control_before: Floats, treated_before: Floats) -> Effect | None:
    """The mean of treated units minus that of others, sharpened by what each unit did before; valid at every look.

    Args:
        control: of each unit, shape (n,).
        treated: likewise, shape (m,).
        control_before: the same measure of each before the change; NaN for a unit that was not there.
        treated_before: likewise.

    Returns:
        None while there are too few units.

    >>> before = np.linspace(0, 1, 400)
    >>> found = adjusted(before[::2], before[1::2] + 0.1, before[::2], before[1::2])
    >>> round(found.estimate, 3), found.spared > 0.99
    (0.1, True)
    """
    if min(len(control), len(treated)) < 2:
        return None
    y = np.concatenate([control, treated])
    arm = np.repeat([0.0, 1.0], [len(control), len(treated)])
    x = _known_before(np.concatenate([control_before, treated_before]))
    # Within arms, so that the effect itself is not taken for something known before.
    theta = np.linalg.lstsq(_within(x, arm), _within(y[:, None], arm)[:, 0], rcond=None)[0]
    kept = y - (x - x.mean(axis=0)) @ theta
    spread = float(np.std(control, ddof=1)) or float(np.std(treated, ddof=1))
    sides = [_sample(kept[arm == side]) for side in (0.0, 1.0)]
    found = difference(sides[0], sides[1], scale=_SCALE * spread) if spread else None
    if found is None:
        return None
    spared = 1 - float(_within(kept[:, None], arm).var() / max(_within(y[:, None], arm).var(), 1e-300))
    return Effect(found.estimate, found.low, found.high, found.p, len(y), max(spared, 0.0))


def in_differences(treated: Floats, control: Floats, event: int) -> Effect | None:
    """By how much the gap between two groups has changed at a moment, judged by dates on which nothing happened.

    The gap may have any size and may wander: how far it goes by itself is read from the time before. For each date
    there, the same difference is taken as for the real one; the effect is real when few of them are as large.

    Args:
        treated: the mean of the group that the change reached, by period.
        control: of the other; zeros where there is none, which leaves a comparison of before and after.
        event: the first period after the change.

    Returns:
        None with fewer than `LEAST_BEFORE` periods before, or none after.

    >>> gap = np.tile([0.0, 0.1], 20)
    >>> gap[36:] += 1.0
    >>> found = in_differences(gap, np.zeros(40), 36)
    >>> round(found.estimate, 2), found.low > 0
    (1.0, True)
    """
    gap = treated - control
    after = len(gap) - event
    if event < LEAST_BEFORE or after < 1:
        return None
    estimate = _jump(gap, event, after)
    # Windows as long as the real one, as far as the time before holds them.
    length = min(after, event // 2)
    placebos = np.array([_jump(gap[:event], date, length) for date in range(length, event - length + 1)])
    wide = float(np.quantile(np.abs(placebos), 0.95, method="higher"))
    p = (1 + int((np.abs(placebos) >= abs(estimate)).sum())) / (1 + len(placebos))
    return Effect(estimate, estimate - wide, estimate + wide, p, len(placebos))


def _jump(gap: Floats, date: int, length: int) -> float:
    return float(gap[date : date + length].mean() - gap[:date].mean())


def _known_before(before: Floats) -> Floats:
    """The measure before, and whether there was one: a unit that is new is no unit that did nothing."""
    new = np.isnan(before)
    return np.column_stack([np.where(new, 0.0, before), new.astype(float)])


def _within(values: Floats, arm: Floats) -> Floats:
    centred = values.copy()
    for side in (0.0, 1.0):
        centred[arm == side] -= values[arm == side].mean(axis=0)
    return centred


def _sample(values: Floats) -> Sample:
    return Sample(len(values), float(values.mean()), float(values.var(ddof=1)))
