"""Deviations against scipy on the values themselves; the threshold against the false alarms it promises."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import binom, chi2_contingency, entropy, ks_2samp, wasserstein_distance

from raypipe.contracts.bins import Bins
from raypipe.stats import effect
from raypipe.stats.bins import BINS, CELLS, FIRST, MISSING, UNSEEN, Binning
from raypipe.stats.shift import SCALES, scores, threshold, tried, windows_of

RNG = np.random.default_rng(5)


def columns_of(reference, window):
    """Counts of one column of numbers on both sides."""
    made = Bins.of_numbers("x", reference.astype(np.float32))
    binning = Binning.of([made.starts], [made.high])
    a, b = (binning.count(v.astype(np.float32)[:, None]) for v in (reference, window))
    return a, b, effect.centres(np.array(made.starts), made.high)


@pytest.mark.parametrize("by", [0.0, 0.2, 1.0])
def test_numbers_agree_with_kolmogorov_smirnov(by):
    reference, window = RNG.normal(size=20_000), RNG.normal(by, 1, size=1_000)
    a, b, _ = columns_of(reference, window)
    found = scores(b[None], a, np.array([False]))
    true = ks_2samp(reference, window, method="asymp")
    assert found.distance[0, 0, 0] == pytest.approx(true.statistic, abs=1 / BINS)
    assert 2 * np.exp(-2 * found.z[0, 0, 0] ** 2) == pytest.approx(true.pvalue, rel=0.5, abs=0.05)


def test_a_cell_of_one_value_is_that_value():
    """Most hours are dry: their median is 0, and not half a step of the smallest float32."""
    rain = np.append(np.zeros(9_000), RNG.exponential(size=1_000))
    counts, _, centre = columns_of(rain, rain)
    assert effect.quantile(counts, centre[None], 0.5) == [0.0]
    ones, _, centre = columns_of(np.ones(100), np.ones(100))
    assert effect.quantile(ones, centre[None], 0.5) == [1.0]


def category(shares, rows):
    counts = np.zeros((1, CELLS), np.int64)
    counts[0, FIRST : FIRST + len(shares)] = np.round(np.array(shares) * rows)
    return counts


def test_a_category_that_grows_from_little_is_as_sure_as_an_exact_test_says():
    a, b = category([0.60, 0.39, 0.01], 20_000), category([0.60, 0.37, 0.03], 1_000)
    z = scores(b[None], a, np.array([True])).z[0, 0, 0]
    exact = chi2_contingency([[200, 19_800], [30, 970]]).pvalue * 3
    assert np.log(2) - 2 * z**2 == pytest.approx(np.log(exact), rel=0.35)
    assert z > threshold(1_000, 20)


@pytest.mark.parametrize(("known", "seen"), [(4, 12), (10, 9), (2, 6)])
def test_a_share_of_next_to_nothing_is_as_sure_as_the_binomial_test_says(known, seen):
    """Of all rows with a gap so many are in the window: of 1,000 rows, beside 20,000 of the reference."""
    a, b, _ = columns_of(RNG.normal(size=20_000), RNG.normal(size=1_000))
    a[0, MISSING], b[0, MISSING] = known, seen
    z = scores(b[None], a, np.array([False])).z[0, 0, 1]
    share = (1_000 + seen) / (21_000 + seen + known)
    exact = 2 * binom.sf(seen - 1, seen + known, share)
    assert 2 * np.exp(-2 * z**2) == pytest.approx(exact, rel=1e-6)


def test_one_row_of_an_unseen_category_is_no_drift():
    a, b = category([0.5, 0.5], 20_000), category([0.5, 0.5], 1_000)
    b[0, UNSEEN] = 1
    found = scores(b[None], a, np.array([True]))
    assert 0 < found.z[0, 0, 2] < threshold(1_000, 20)
    b[0, UNSEEN] = 20
    assert scores(b[None], a, np.array([True])).z[0, 0, 2] > threshold(1_000, 20)


def test_gaps_alone_are_seen_in_one_tick():
    reference, window = RNG.normal(size=20_000), RNG.normal(size=1_000)
    a, b, _ = columns_of(reference, window)
    b[0, MISSING] = 40
    found = scores(b[None], a, np.array([False]))
    assert found.z[0, 0, 1] > threshold(1_000, 20)
    assert found.z[0, 0, 0] < threshold(1_000, 20)


@pytest.mark.parametrize("odd", ["empty", "all missing", "empty reference"])
def test_nothing_breaks_a_test(odd):
    a, b, _ = columns_of(RNG.normal(size=1_000), RNG.normal(size=100))
    (a if odd == "empty reference" else b)[:] = 0
    if odd == "all missing":
        b[0, MISSING] = 500
    found = scores(b[None], a, np.array([False]))
    assert np.isfinite(found.z).all()
    assert np.isfinite(found.distance).all()


def test_false_alarms_come_as_often_as_the_budget_says():
    """20 columns, 500 rows a tick, one false alarm in 200 ticks: about 15 are due in 3,000 ticks."""
    columns, rows, known, budget, ticks = 20, 500, 10_000, 200, 3_000
    alarms, is_category = 0, np.zeros(columns, bool)
    for _ in range(ticks // 150):
        reference = np.zeros((columns, CELLS), np.int64)
        reference[:, FIRST : FIRST + BINS] = known // BINS
        limit = threshold(budget, tried(reference))
        # Cut at quantiles of a sample, bins hold what a Dirichlet law says.
        shares = RNG.dirichlet(np.full(BINS, known / BINS), size=columns)
        drawn = np.stack([RNG.multinomial(rows, share, size=150) for share in shares], axis=1)
        ring = [np.zeros((columns, CELLS), np.int64)]
        for tick in drawn:
            counts = np.zeros((columns, CELLS), np.int64)
            counts[:, FIRST : FIRST + BINS] = tick
            ring = [*ring, ring[-1] + counts][-(max(SCALES) + 1) :]
            if scores(windows_of(ring)[1], reference, is_category).z.max() > limit:
                alarms, ring = alarms + 1, [np.zeros((columns, CELLS), np.int64)]
    assert 0.4 * ticks / budget <= alarms <= 1.7 * ticks / budget


def test_effects_agree_with_scipy():
    reference, window = RNG.normal(size=50_000), RNG.normal(0.5, 1.2, size=50_000)
    a, b, centre = columns_of(reference, window)
    a, b = a[0], b[0]
    p, q = effect.shares(a), effect.shares(b)
    assert effect.jensen_shannon(b, a) == pytest.approx(jensenshannon(p, q, base=2))
    p, q = (np.maximum(effect.shares(c, 10), 1e-4) for c in (a, b))
    assert effect.population_stability(b, a) == pytest.approx(entropy(q, p) + entropy(p, q), rel=1e-2)
    assert effect.wasserstein(b, a, centre) == pytest.approx(wasserstein_distance(reference, window), rel=0.05)
    assert effect.spread(a, centre) == pytest.approx(reference.std(), rel=0.02)
    assert effect.quantile(b, centre, 0.5) == pytest.approx(np.median(window), abs=0.02)


def test_a_category_of_many_values_is_no_louder_than_one_of_few():
    """The farthest of 200 cells is far by chance alone: the threshold has to hold for it as well."""
    rng = np.random.default_rng(3)
    loud = []
    for values in (2, 200):
        shares = np.full(values, 1 / values)
        reference, windows = np.zeros((1, CELLS), np.int64), np.zeros((300, 1, CELLS), np.int64)
        reference[0, FIRST : FIRST + values] = rng.multinomial(100_000, shares)
        windows[:, 0, FIRST : FIRST + values] = rng.multinomial(2_000, shares, size=300)
        z = scores(windows, reference, np.array([True])).z[:, 0, 0]
        loud.append(float((z > threshold(20, 1)).mean()))
    assert max(loud) <= 0.05
