"""The distance of samples that were counted between cuts, beside scipy's of the samples themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from raypipe.stats.cuts import PARTS, cuts, gap

numbers = st.lists(st.floats(allow_nan=False) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=40)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    at = cuts(b)
    below = [np.searchsorted(np.sort(one), at) for one in (a, b)]
    return gap(below[0], len(a), below[1], len(b))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # scipy's p-value, not its statistic, has trouble with ties
@given(numbers.map(np.array), numbers.map(np.array))
def test_of_a_short_reference_it_is_exact(a: np.ndarray, b: np.ndarray) -> None:
    a, b = (np.clip(one, -1e300, 1e300) for one in (a, b))
    assert distance(a, b) == pytest.approx(ks_2samp(a, b, method="asymp").statistic, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.3, 5.0])
def test_of_a_long_one_it_is_a_thousandth_too_small_at_most(shift: float) -> None:
    dice = np.random.default_rng(3)
    a, b = dice.normal(shift, 1, 5_000), np.concatenate((dice.normal(0, 1, 20_000), np.zeros(3_000)))
    expected = ks_2samp(a, b, method="asymp").statistic
    assert expected - 1 / PARTS <= distance(a, b) <= expected + 1e-12
    assert len(cuts(b)) <= 2 * (PARTS + 1)


def test_what_hides_between_two_cuts_is_seen() -> None:
    """All new values lie in one gap of the reference."""
    b = np.arange(100_000.0)
    assert distance(np.full(10, 50_000.25), b) == pytest.approx(0.5, abs=0.001)
    assert distance(np.array([np.inf, -np.inf]), b) == pytest.approx(0.5, abs=0.001)
