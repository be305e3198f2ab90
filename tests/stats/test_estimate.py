"""Cumulative sums, intervals and estimates against simulation and scikit-learn."""

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import binomtest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from raypipe.stats import recalibrate
from raypipe.stats.cusum import Cusum
from raypipe.stats.estimate import calibrate, corrected, expected_log_loss, log_loss, log_loss_variance, wilson


def test_a_cumulative_sum_alarms_as_often_and_as_late_as_it_says():
    rng, detector = np.random.default_rng(0), Cusum.designed(0.2, 0.3, 2_000)
    runs = {0.2: [], 0.3: []}
    for rate, found in runs.items():
        for _ in range(150):
            total, n = 0.0, 0
            while total < detector.limit:
                total = detector.add(total, int(rng.random() < rate), 1)
                n += 1
            found.append(n)
    assert np.mean(runs[0.2]) == pytest.approx(2_000, rel=0.6)  # Wald neglects the overshoot: late rather than early
    assert np.mean(runs[0.2]) > 1_500
    assert np.mean(runs[0.3]) == pytest.approx(detector.delay, rel=0.35)


def test_wilson_is_scipys():
    ours, theirs = wilson(7, 50), binomtest(7, 50).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_calibration_is_isotonic_regression():
    rng = np.random.default_rng(1)
    rows = rng.integers(1, 50, 40)
    trues = rng.binomial(rows, np.linspace(0.1, 0.9, 40))
    theirs = IsotonicRegression().fit_transform(np.arange(40), trues / rows, sample_weight=rows)
    np.testing.assert_allclose(calibrate(rows, trues), theirs, atol=1e-9)


def test_recalibration_is_logistic_regression_when_rows_are_many():
    rng = np.random.default_rng(2)
    score = rng.uniform(0.05, 0.95, 60_000)
    truth = (rng.random(60_000) < 1 / (1 + np.exp(-(0.7 * logit(score) - 0.5)))).astype(float)
    theirs = LogisticRegression(C=np.inf).fit(logit(score)[:, None], truth)
    assert recalibrate.fit(score, truth) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=0.02)


def test_labels_correct_an_estimate_that_scores_get_wrong():
    """The scores promise half the trues that come: only labels can know."""
    rng = np.random.default_rng(3)
    score = rng.uniform(0.05, 0.4, 20_000)
    truth = (rng.random(20_000) < 2 * score).astype(float)
    expected, real = expected_log_loss(score, score), log_loss(truth, score)
    some = rng.permutation(20_000)[:1_000]
    chance = log_loss_variance(score, score)
    alone, helped = (corrected(expected, expected[known], real[known], chance[known]) for known in (np.arange(0), some))
    assert not alone.low <= real.mean() <= alone.high
    assert helped.low <= real.mean() <= helped.high


@pytest.mark.parametrize("labels", [0, 1, 2, 5, 20])
def test_an_estimate_holds_the_truth_as_often_as_it_says_however_few_labels_there_are(labels):
    rng, held, runs = np.random.default_rng(labels), 0, 400
    pool = rng.uniform(0.05, 0.6, 200_000)
    truth = float(expected_log_loss(pool, pool).mean())
    for _ in range(runs):
        score = rng.choice(pool, 2_000)
        real = log_loss((rng.random(labels) < score[:labels]).astype(float), score[:labels])
        expected = expected_log_loss(score, score)
        found = corrected(expected, expected[:labels], real, log_loss_variance(score, score)[:labels])
        held += found.low <= truth <= found.high
    assert held >= 0.93 * runs
    assert found.high - found.low < 4  # an interval without end would hold everything


def test_what_scores_promise_is_less_sure_when_it_was_learned_from_few_rows():
    expected, none = np.full(100, 0.5), np.zeros(0)
    sure, unsure = (corrected(expected, none, none, none, variance) for variance in (0.0, 0.01))
    assert (sure.low, sure.high) == (0.5, 0.5)
    assert unsure.low == pytest.approx(0.5 - 1.96 * 0.1, abs=1e-3)
