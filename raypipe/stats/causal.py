"""What a change has brought about, with chance and what was different anyway taken out.

Sources: Deng, Xu, Kohavi, Walker, "Improving the sensitivity of online controlled experiments by utilizing
pre-experiment data" (2013), for units that were spread by chance; Abadie, Diamond, Hainmueller, "Synthetic control
methods for comparative case studies" (2010), for judging an effect by those of dates on which nothing was.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from raypipe.stats.estimate import Floats
from raypipe.stats.sequential import Sample, difference

#: A difference is looked for of this part of the standard deviation.
_SCALE = 0.1
#: Fewer periods before the change say nothing about what is usual.
LEAST_BEFORE = 4
#: The time before is cut into so many spans at least, where it has as many periods.
_SPANS = 6


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

    The gap may have any size and may wander: how far it goes by itself is read from the time before. That is cut into
    spans, and the step from each to the next is what happens when nothing does; the real step, from the last span
    before to the first one after, is judged by their size with Student's t, so that few dates make for a wide interval.

    Args:
        treated: the mean of the group that the change reached, by period.
        control: of the other; zeros where there is none, which leaves a comparison of before and after.
        event: the first period after the change.

    Returns:
        None with fewer than `LEAST_BEFORE` periods before, or none after.

    >>> gap = np.tile([0.0, 0.1, 0.0], 13)
    >>> gap[36:] += 1.0
    >>> found = in_differences(gap, np.zeros(39), 36)
    >>> round(found.estimate, 2), found.low > 0, found.rows
    (1.0, True, 11)
    """
    gap = treated - control
    after = len(gap) - event
    if event < LEAST_BEFORE or after < 1:
        return None
    length = min(after, max(event // _SPANS, 1))
    spans = event // length
    means = gap[event - spans * length : event + length].reshape(spans + 1, length).mean(axis=1)
    *placebos, estimate = np.diff(means).tolist()
    size, dates = float(np.sqrt(np.mean(np.square(placebos)))), len(placebos)
    wide = float(stdtrit(dates, 0.975)) * size
    # No chance at all would make any step certain.
    p = 2 * float(stdtr(dates, -abs(estimate) / size)) if size else float(estimate == 0)
    return Effect(estimate, estimate - wide, estimate + wide, p, dates)


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
