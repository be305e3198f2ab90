"""Sums have no rounding but the last: they equal fractions, whatever the order, the cut or the way they are read."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raypipe.stats import exact as module
from raypipe.stats.exact import Exact, deviations, exact, joined, means, rounded, squares

FINITE = st.floats(allow_nan=False, allow_infinity=False)
MANY = st.lists(FINITE, max_size=12)


@pytest.fixture(params=[64, -1], ids=["one by one", "all at once"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few numbers and many are read in two ways, which must agree."""
    monkeypatch.setattr(module, "FEW", request.param)


def whole(numbers: Exact) -> Exact:
    """The sum of all, as one number."""
    size = numbers.limbs.shape[1]
    return numbers.running().between(np.array([0]), np.array([size]))


def nearest(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def both_ways(check: object, *arguments: object) -> None:
    before = module.FEW
    try:
        for few in (64, -1):
            module.FEW = few
            check(*arguments)
    finally:
        module.FEW = before


@given(MANY)
@example([1e300, 0.1, -1e300])
@example([5e-324, -5e-324, 5e-324])
@example([1.7e308, 1.7e308])
@example([1.7e308, 1.7e308, -1.7e308])
@example([2.0**53, 1.0, 2.0**-60])
@example([-(2.0**-40), 1e300])
def test_a_sum_is_the_nearest_double_to_the_true_one(values: list[float]) -> None:
    def check() -> None:
        assert rounded(whole(exact(np.array(values, float))))[0] == nearest(sum(map(Fraction, values), Fraction(0)))

    both_ways(check)


@given(MANY)
@example([1e200, 1e-200, 3.0])
@example([0.1] * 7)
def test_squares_are_exact(values: list[float]) -> None:
    def check() -> None:
        truth = sum((Fraction(value) ** 2 for value in values), Fraction(0))
        assert rounded(whole(squares(np.array(values, float))))[0] == nearest(truth)

    both_ways(check)


@given(st.lists(FINITE, min_size=1, max_size=12))
@example([1.7e308, 1.7e308])
def test_a_mean_is_rounded_twice_at_most(values: list[float]) -> None:
    def check() -> None:
        found = means(whole(exact(np.array(values))), np.array([len(values)]))[0]
        truth = nearest(sum(map(Fraction, values), Fraction(0)) / len(values))
        assert found == truth or abs(found - truth) <= 3e-16 * abs(truth) + 5e-324

    both_ways(check)


@given(st.lists(FINITE, min_size=2, max_size=8))
@example([1e15, 1e15 + 1, 1e15 + 2])
@example([0.1, 0.1, 0.1])
@example([1e300, -1e300])
def test_a_deviation_does_not_cancel(values: list[float]) -> None:
    numbers = [Fraction(value) for value in values]
    mean = sum(numbers, Fraction(0)) / len(numbers)
    variance = sum(((number - mean) ** 2 for number in numbers), Fraction(0)) / (len(numbers) - 1)
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 60, 10_000, -10_000
        truth = float((Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt())

    def check() -> None:
        array = np.array(values)
        found = deviations(whole(exact(array)), whole(squares(array)), np.array([len(values)]))[0]
        assert found == truth or abs(found - truth) <= 1e-15 * truth + 5e-324

    both_ways(check)


@given(MANY, MANY, st.randoms())
def test_order_and_cuts_do_not_matter(left: list[float], right: list[float], random: object) -> None:
    mixed = [*left, *right]
    random.shuffle(mixed)
    parts = [whole(exact(np.array(part, float))) for part in (left, right)]
    merged = whole(joined(parts))
    assert rounded(merged)[0] == rounded(whole(exact(np.array(mixed, float))))[0]


@pytest.mark.usefixtures("way")
def test_many_ranges_are_read_as_one_by_one() -> None:
    generator = np.random.default_rng(7)
    values = generator.normal(size=400) * 10.0 ** generator.integers(-30, 30, 400)
    low = generator.integers(0, 400, 200)
    high = np.minimum(low + generator.integers(0, 50, 200), 400)
    found = rounded(exact(values).running().between(low, high))
    truth = [math.fsum(values[a:b]) for a, b in zip(low, high, strict=True)]
    assert found.tolist() == truth


def test_runs_are_sums_of_neighbours() -> None:
    values = np.array([0.5, 0.25, 1e20, -1e20, 3.0])
    assert rounded(exact(values).runs(np.array([0, 2, 4]))).tolist() == [0.75, 0.0, 3.0]


def test_whole_numbers_take_one_limb_and_cents_three() -> None:
    assert exact(np.array([3.0, -7.0])).places == (0,)
    assert exact(np.array([0.01, 12.34])).places == (-2, -1, 0)
    assert exact(np.zeros(3)).places == ()


def test_nothing_has_no_mean_and_one_value_no_deviation() -> None:
    nothing, one = exact(np.zeros(1)), exact(np.array([5.0]))
    assert np.isnan(means(nothing, np.array([0]))).all()
    assert np.isnan(deviations(one, squares(np.array([5.0])), np.array([1]))).all()
