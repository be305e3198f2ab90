"""Tests that may be looked at as often as one likes: the chance of a false alarm holds over all looks together.

Sources: Johari, Koomen, Pekelis, Walsh, "Always Valid Inference: Continuous Monitoring of A/B Tests" (2022), for the
difference of two means; Lindon, Malek, "Anytime-Valid Inference for Multinomial Count Data" (2022), for shares.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: How surely the shares are taken to be near the wanted ones before anything is counted.
CONCENTRATION = 100.0


@dataclass(frozen=True)
class Sample:
    """How many values there are, their mean and their variance (with n - 1)."""

    count: int
    mean: float
    variance: float


@dataclass(frozen=True)
class Difference:
    """Between two means: the estimate, its interval, and the p-value, all valid at every look."""

    estimate: float
    low: float
    high: float
    p: float


def difference(a: Sample, b: Sample, *, scale: float, alpha: float = 0.05) -> Difference | None:
    """The mean of ``b`` minus that of ``a``, by a mixture sequential probability ratio test.

    Args:
        a: one sample of independent values.
        b: the other.
        scale: how large a difference one looks for; chosen before anything was seen, it decides how soon it is found.
        alpha: the interval leaves out the truth at any look at all with at most this chance.

    Returns:
        None while there are too few values to know their variance.

    >>> difference(Sample(500, 0.20, 0.04), Sample(500, 0.25, 0.04), scale=0.05).p < 0.05
    True
    """
    if min(a.count, b.count) < 2:
        return None
    noise, prior = a.variance / a.count + b.variance / b.count, scale * scale
    estimate = b.mean - a.mean
    if noise <= 0:
        return None
    both = noise + prior
    # The logarithm of the likelihood ratio, the effect mixed over N(0, scale^2).
    ratio = 0.5 * math.log(noise / both) + estimate**2 * prior / (2 * noise * both)
    wide = math.sqrt(noise * both / prior * (2 * math.log(1 / alpha) + math.log(both / noise)))
    return Difference(estimate, estimate - wide, estimate + wide, math.exp(-max(ratio, 0.0)))


def share_fault(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The p-value of counts that should come in these shares, valid at every look.

    Args:
        counts: how many units each arm has.
        shares: what each should have; they add up to 1.

    >>> share_fault([5_000, 5_000], [0.5, 0.5]), share_fault([5_000, 4_000], [0.5, 0.5]) < 0.001
    (1.0, True)
    """
    priors = [CONCENTRATION * share for share in shares]
    total = math.lgamma(sum(priors)) - math.lgamma(sum(priors) + sum(counts))
    for count, share, prior in zip(counts, shares, priors, strict=True):
        total += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return min(1.0, math.exp(-max(total, 0.0)))
