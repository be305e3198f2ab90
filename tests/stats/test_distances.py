"""Distances between samples, against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cityblock
from scipy.stats import ks_2samp

from raypipe.stats.distances import kolmogorov_smirnov, total_variation

numbers = st.lists(st.integers(-5, 5) | st.floats(-1e6, 1e6), min_size=1, max_size=40).map(lambda v: np.array(v, float))
counts = st.dictionaries(st.none() | st.sampled_from("abcd"), st.integers(1, 50), min_size=1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # scipy's p-value, not its statistic, has trouble with ties
@given(numbers, numbers)
def test_kolmogorov_smirnov_is_scipys(a: np.ndarray, b: np.ndarray) -> None:
    expected = ks_2samp(a, b, method="asymp").statistic
    assert kolmogorov_smirnov(a, b) == pytest.approx(expected, abs=1e-12)
    assert kolmogorov_smirnov(a, a) == 0


@given(counts, counts)
def test_total_variation_is_half_the_city_block_distance(a: dict[str | None, int], b: dict[str | None, int]) -> None:
    names = [None, *"abcd"]
    p, q = (np.array([one.get(name, 0) for name in names]) / sum(one.values()) for one in (a, b))
    assert total_variation(a, b) == pytest.approx(cityblock(p, q) / 2, abs=1e-12)
    assert total_variation(a, a) == 0


def test_what_shares_nothing_is_one_apart() -> None:
    assert kolmogorov_smirnov(np.array([1.0]), np.array([2.0, 3.0])) == 1
    assert total_variation({"a": 3}, {None: 2}) == 1


def test_an_empty_sample_has_no_distance() -> None:
    with pytest.raises(ValueError, match="empty"):
        kolmogorov_smirnov(np.array([]), np.array([1.0]))
    with pytest.raises(ValueError, match="empty"):
        total_variation({}, {"a": 1})
