"""Answers in numbers: errors, estimates and what an offset would have spared, against plain arithmetic."""

from statistics import NormalDist, fmean

import numpy as np
import pytest

from raypipe.contracts.judged import Judged, JudgedNumbers
from raypipe.monitoring.performance import Performance
from raypipe.monitoring.yardstick import Numbers, Truths, yardstick

DAY = 86_400_000_000
QUANTILES = (None, 0.8)


def lost(truth: float, answer: float, quantile: float | None) -> float:
    if quantile is None:
        return (truth - answer) * (truth - answer)
    return quantile * (truth - answer) if truth > answer else (1 - quantile) * (answer - truth)


def rows(rng, count, by=0.0, spread=1.0, quantile=None):
    """Answers that are right, of which the larger are surer, and what came true of them."""
    middle = rng.gamma(4.0, 5.0, count)
    scale = 1 + 20 / (1 + middle)
    answer = middle + (0.0 if quantile is None else NormalDist().inv_cdf(quantile)) * scale
    return answer, middle + by + rng.normal(0, spread * scale)


@pytest.mark.parametrize("quantile", QUANTILES)
def test_nine_of_ten_answers_are_no_errors_when_judged_and_the_same_limit_holds_later(quantile):
    answer, truth = rows(np.random.default_rng(0), 1_000)
    by = Numbers(JudgedNumbers.of(truth, answer, quantile))
    losses = [lost(t, a, quantile) for t, a in zip(truth.tolist(), answer.tolist(), strict=True)]
    limit = sorted(losses)[899]
    assert by.judged.limit == pytest.approx(limit)
    assert by.judged.loss == pytest.approx(fmean(losses))
    assert by.judged.error == pytest.approx(0.1)
    answer, truth = rows(np.random.default_rng(1), 200, by=1.0)
    expected = [lost(t, a, quantile) > limit for t, a in zip(truth.tolist(), answer.tolist(), strict=True)]
    assert by.wrong(answer, truth).tolist() == expected


def test_answers_that_are_all_alike_and_all_right_can_be_judged():
    by = Numbers(JudgedNumbers.of(np.full(50, 3.0), np.full(50, 3.0)))
    assert (by.judged.loss, by.judged.error, by.judged.rows) == (0.0, 0.0, (50,))
    assert by.wrong(np.array([3.0, 3.0]), np.array([3.0, 3.5])).tolist() == [False, True]
    report = performance(by.judged, [(np.full(100, 3.0), np.full(100, 4.0))] * 5)
    assert report.alarm
    assert np.isfinite(report.regret)


def performance(judged, days, budget=50_000.0):
    watch = Performance(judged, span=DAY, settles=DAY, budget=budget)
    for day, (answer, truth) in enumerate(days):
        watch.joined(np.arange(len(answer)) + day * DAY, answer, truth)
    return watch.report(at=len(days) * DAY)


@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize(("by", "spread", "alarmed"), [(0.0, 1.0, False), (4.0, 1.0, True), (0.0, 1.6, True)])
def test_errors_of_numbers_that_become_more_raise_an_alarm(quantile, by, spread, alarmed):
    rng = np.random.default_rng(2)
    answer, truth = rows(rng, 5_000, quantile=quantile)
    judged = JudgedNumbers.of(truth, answer, quantile)
    report = performance(judged, [rows(rng, 800, by, spread, quantile) for _ in range(10)])
    assert report.alarm is alarmed
    assert report.reference == (judged.loss, judged.error)
    assert (report.error_rise > 0.2) is alarmed
    # What only spreads more is not answered better by an offset, but for a quantile.
    assert (report.regret > 100) is (by > 0 or (alarmed and quantile is not None))


def test_an_offset_is_learned_from_the_days_before_and_spares_half_its_square():
    """Every answer is off by 3, where it was off by 2 on average: each row is spared (9 - (3 - b)²) / 8."""
    truth = np.tile([-2.0, 2.0], 500)
    judged = JudgedNumbers.of(truth, np.zeros(1_000))
    assert judged.loss == 4.0
    off = (np.zeros(1_000), np.full(1_000, 3.0))
    learned = 3.0 * 1_000 / 1_200  # 200 rows say that nothing is wrong
    assert performance(judged, [off, off]).regret == pytest.approx(1_000 * (9 - (3 - learned) ** 2) / 8, rel=1e-6)


def test_a_corrected_number_is_taken_in_again():
    """Neither the rows nor the errors change in number, and yet what was spared does."""
    truth = np.tile([-2.0, 2.0], 500)
    watch = Performance(JudgedNumbers.of(truth, np.zeros(1_000)), span=DAY, settles=3 * DAY, budget=50_000.0)
    for day, true in ((0, 3.0), (1, 3.0)):
        watch.predicted([f"{day}-{i}" for i in range(1_000)], [day * DAY] * 1_000, np.zeros(1_000))
        watch.labelled([f"{day}-{i}" for i in range(1_000)], np.full(1_000, true))
    before = watch.report(at=2 * DAY).regret
    watch.labelled([f"1-{i}" for i in range(1_000)], np.full(1_000, 2.5))
    assert 0 < watch.report(at=2 * DAY).regret < before


@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize("known", [0.0, 0.3])
def test_the_estimate_of_numbers_holds_the_mean_loss_nineteen_times_of_twenty(quantile, known):
    """Answers of other sizes than when it was judged: each size keeps its loss. Binomial: 0.1 % have fewer than 177."""

    def smaller(rng, count):
        answer, truth = rows(rng, count)
        kept = rng.random(count) < np.minimum(10 / answer, 1.0)
        return answer[kept], truth[kept]

    answer, truth = smaller(np.random.default_rng(7), 400_000)
    real = fmean(lost(t, a, quantile) for t, a in zip(truth.tolist(), answer.tolist(), strict=True))
    hits, apart = 0, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        answer, truth = rows(rng, 4_000)
        judged = JudgedNumbers.of(truth, answer, quantile)
        answer, truth = smaller(rng, 1_500)
        told = np.where(rng.random(len(truth)) < known, truth, np.nan)
        _, low, high = performance(judged, [(answer, told)]).cohorts[0].estimated
        hits += low <= real <= high
        apart += abs(real - judged.loss) > high - low
    assert hits >= 177
    assert known or apart > 20  # the loss when it was judged would not have done


def test_of_classes_the_truth_is_whether_the_answer_is_right():
    by = yardstick(Judged.of(np.array([1.0, 1.0, 0.0]), np.array([0.9, 0.4, 0.5]), threshold=0.0))
    assert isinstance(by, Truths)
    assert by.judged.error == pytest.approx(1 / 3)
    assert by.wrong(np.array([0.1, 0.9]), np.array([1.0, 0.0])).tolist() == [False, True]
