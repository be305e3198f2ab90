"""Tests that hold at every look, against integrals and simulations that share nothing with them."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from raypipe.stats.sequential import CONCENTRATION, Sample, difference, share_fault


def sample(values: np.ndarray) -> Sample:
    return Sample(len(values), float(values.mean()), float(values.var(ddof=1)))


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 0.1), (0.2, 0.1), (0.5, 0.3)])
def test_the_ratio_is_the_mixture_integral(shift: float, scale: float) -> None:
    a, b = Sample(80, 1.0, 0.9), Sample(120, 1.0 + shift, 1.1)
    spread = math.sqrt(a.variance / a.count + b.variance / b.count)
    mixed, _ = integrate.quad(
        lambda effect: stats.norm.pdf(shift, effect, spread) * stats.norm.pdf(effect, 0, scale),
        -10,
        10,
        points=[0, shift],
    )
    found = difference(a, b, scale=scale)
    assert found is not None
    assert found.p == pytest.approx(min(1.0, stats.norm.pdf(shift, 0, spread) / mixed), rel=1e-6)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0), "the interval says the same as the p-value"


def test_looking_all_the_time_gives_no_more_false_alarms_than_stated() -> None:
    one, other = np.random.default_rng(3).normal(size=(300, 2, 1_000)).swapaxes(0, 1)
    looks = range(20, 1_001, 20)
    alarms = sum(
        any(found.p < 0.05 for n in looks if (found := difference(sample(a[:n]), sample(b[:n]), scale=0.2)) is not None)
        for a, b in zip(one, other, strict=True)
    )
    usual = [stats.ttest_ind(one[:, :n], other[:, :n], axis=1).pvalue < 0.05 for n in looks]
    naive = np.any(usual, axis=0).sum()
    assert alarms <= 300 * 0.05 + 3 * math.sqrt(300 * 0.05 * 0.95)
    assert naive > 4 * 300 * 0.05, "the usual test does not hold, so this one is needed"


def test_a_real_difference_is_found() -> None:
    random = np.random.default_rng(5)
    found = difference(sample(random.normal(size=3_000)), sample(random.normal(0.2, size=3_000)), scale=0.2)
    assert found is not None
    assert found.p < 0.001
    assert found.low < 0.2 < found.high
    assert difference(Sample(1, 0.0, 0.0), Sample(9, 0.0, 1.0), scale=0.1) is None


@pytest.mark.parametrize("counts", [[40, 60], [900, 100], [33, 33, 34]])
def test_the_share_test_is_a_ratio_of_two_distributions(counts: list[int]) -> None:
    shares = [1 / len(counts)] * len(counts)
    mixed = stats.dirichlet_multinomial.logpmf(counts, [CONCENTRATION * s for s in shares], sum(counts))
    plain = stats.multinomial.logpmf(counts, sum(counts), shares)
    assert share_fault(counts, shares) == pytest.approx(min(1.0, math.exp(plain - mixed)), rel=1e-6)
