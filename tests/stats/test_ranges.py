"""Ranges, percentiles, distinct counts and decay agree with looking at every value, few questions or many."""

import itertools

import numpy as np
import pytest

from raypipe.stats import decay, distinct, percentile, ranges
from raypipe.stats.arrays import Ints
from raypipe.stats.places import places

N = 600


def some_ranges(seed: int, many: int, longest: int = 90) -> tuple[Ints, Ints]:
    generator = np.random.default_rng(seed)
    low = generator.integers(0, N + 1, many)
    return low, np.minimum(low + generator.integers(0, longest, many), N)


@pytest.mark.parametrize("many", [3, 400])
@pytest.mark.parametrize("spread", [5, 10**6])
def test_extremes_and_places_of_ranges(many: int, spread: int) -> None:
    values = np.random.default_rng(1).integers(0, spread, N).astype(float)
    low, high = some_ranges(2, many)
    pieces = [np.sort(values[a:b]) for a, b in zip(low, high, strict=True)]
    for found, place in ((ranges.smallest(values, low, high), 0), (ranges.largest(values, low, high), -1)):
        truth = [piece[place] if len(piece) else np.nan for piece in pieces]
        assert np.array_equal(found, truth, equal_nan=True)
    k = np.random.default_rng(3).integers(-1, 60, many)
    truth = [piece[i] if 0 <= i < len(piece) else np.nan for piece, i in zip(pieces, k, strict=True)]
    assert np.array_equal(ranges.kth(values, low, high, k), truth, equal_nan=True)


@pytest.mark.parametrize("many", [3, 400])
def test_infinities_have_their_place(many: int) -> None:
    values = np.random.default_rng(1).choice([-np.inf, -1.0, 0.0, 2.5, np.inf], N)
    low, high = some_ranges(4, many)
    truth = [np.sort(values[a:b])[0] if a < b else np.nan for a, b in zip(low, high, strict=True)]
    assert np.array_equal(ranges.kth(values, low, high, np.zeros(many, int)), truth, equal_nan=True)


def test_below_counts() -> None:
    values, limits = np.random.default_rng(1).integers(0, 40, N), np.random.default_rng(2).integers(0, 50, 300)
    low, high = some_ranges(5, 300)
    truth = [(values[a:b] < limit).sum() for a, b, limit in zip(low, high, limits, strict=True)]
    assert ranges.below(values, limits, low, high).tolist() == truth


@pytest.mark.parametrize("shift", [0, -(2**62)])
@pytest.mark.parametrize("many", [2, 500])
def test_places_stay_within_their_key(shift: int, many: int) -> None:
    """Also where keys and times together do not fit into 64 bits."""
    generator = np.random.default_rng(6)
    starts = np.array([0, 0, 150, 151, N])
    times = np.concatenate([np.sort(generator.integers(0, 50, b - a)) for a, b in itertools.pairwise(starts)])
    times[-1] = times[-1] + shift if shift == 0 else 2**62
    times[0] += shift
    keys, bounds = generator.integers(0, 4, many), generator.integers(-5, 60, (3, many))
    found = places(starts, times, keys, bounds)
    for row in range(3):
        for i, key in enumerate(keys):
            mine = times[starts[key] : starts[key + 1]]
            assert found[row, i] == starts[key] + (mine < bounds[row, i]).sum()


def test_places_among_no_events() -> None:
    nothing = np.zeros(0, np.int64)
    assert places(np.zeros(2, np.int64), nothing, np.zeros(500, np.int64), np.ones((2, 500), np.int64)).sum() == 0


@pytest.mark.parametrize("rank", [0.07, 0.28, 0.5, 0.7, 0.9, 1.0])
def test_nearest_rank_is_not_fooled_by_binary_fractions(rank: float) -> None:
    hundredths = round(rank * 100)
    for count in range(1, 400):
        assert percentile.place(rank, np.array([count]))[0] == -(-hundredths * count // 100) - 1


def test_coarse_values_are_close_and_in_order() -> None:
    generator = np.random.default_rng(8)
    values = np.sort(generator.normal(size=20_000) * 10.0 ** generator.integers(-300, 300, 20_000))
    found = percentile.coarse(values)
    assert (np.abs(found - values) <= np.abs(values) / 128).all()
    assert (np.diff(found) >= 0).all()
    assert (percentile.coarse(found) == found).all()
    edges = np.array([np.inf, -np.inf, 0.0, 5e-324, 128.0, -128.0, np.finfo(float).max])
    assert percentile.coarse(edges)[:6].tolist() == [np.inf, -np.inf, 0.0, 0.0, 128.0, -128.0]
    assert np.isfinite(percentile.coarse(edges)[6])


@pytest.mark.parametrize("many", [2, 300])
def test_distinct_counts(many: int) -> None:
    values = np.random.default_rng(9).integers(0, 30, N)
    starts = np.array([0, 200, N])
    low, high = some_ranges(10, many)
    high = np.where(low < 200, np.minimum(high, 200), high)
    truth = [len(set(values[a:b].tolist())) for a, b in zip(low, high, strict=True)]
    assert distinct.counts(distinct.of_integers(values), starts, low, high).tolist() == truth


def test_many_distinct_values_are_estimated_alike_both_ways() -> None:
    for true in (1_024, 1_025, 30_000):
        hashes = distinct.of_integers(np.arange(true))
        starts, many = np.array([0, true]), np.zeros(400, np.int64)
        one = distinct.counts(hashes, starts, many[:1], many[:1] + true)[0]
        assert set(distinct.counts(hashes, starts, many, many + true)) == {one}
        assert one == true if true <= 1_024 else abs(one / true - 1) < 0.15


def test_hashes_do_not_depend_on_the_machine() -> None:
    assert distinct.of_text("ü") == 3976460501203677525
    assert distinct.of_doubles(np.array([0.0])) == distinct.of_doubles(np.array([-0.0]))


def test_running_decay_is_the_sum_of_faded_values() -> None:
    generator = np.random.default_rng(11)
    starts, half_life = np.array([0, 0, 250, N]), 1_000
    spans = itertools.pairwise(starts)
    times = np.concatenate([np.sort(generator.integers(0, 10**5, b - a)) for a, b in spans])
    values = generator.normal(size=N)
    found = decay.running(values[None], times, starts, half_life)[0]
    for i in (0, 1, 249, 250, 251, N - 1):
        first = 0 if i < 250 else 250
        weights = 2.0 ** (-(times[i] - times[first : i + 1]) / half_life)
        assert found[i] == pytest.approx((weights * values[first : i + 1]).sum(), rel=1e-12, abs=1e-14)


def test_what_faded_long_ago_is_nothing() -> None:
    times = np.array([0, 10**12])
    assert decay.running(np.array([[1e300, 1.0]]), times, np.array([0, 2]), 1).tolist() == [[1e300, 1.0]]
