"""Late, doubled, corrected and missing labels against one look at everything that is known in the end."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from raypipe.contracts.bins import Judged
from raypipe.monitoring.performance import Memory, Performance

DAY = 86_400_000_000


def judged(rng, rows=5_000):
    score = rng.uniform(0.05, 0.6, rows)
    return Judged.of((rng.random(rows) < score).astype(float), score)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.permutations(range(40)))
def test_any_order_of_labels_comes_to_the_same(seed, order):
    rng = np.random.default_rng(seed)
    score, truth = rng.uniform(0.1, 0.9, 40), rng.integers(0, 2, 40).astype(float)
    ids, at = [f"q{i}" for i in range(40)], rng.integers(0, 3 * DAY, 40)
    # Each label comes twice; the first version of a few is wrong and may come after its correction.
    arriving = [(i, 1 - truth[i] if i % 7 == 0 else truth[i], 1) for i in order]
    arriving += [(i, truth[i], 2) for i in reversed(order)]
    arriving = [arriving[j] for j in rng.permutation(len(arriving))]
    watch = Performance(judged(np.random.default_rng(0), 500), span=DAY, settles=2 * DAY)
    half = len(arriving) // 2
    for part in (arriving[:half], arriving[half:]):
        watch.labelled([ids[i] for i, _, _ in part], np.array([v for _, v, _ in part]), [n for _, _, n in part])
        watch.predicted(ids, at, score)
    for cohort in watch.report(at=10 * DAY).cohorts:
        mine = (at >= cohort.start) & (at < cohort.start + DAY)
        assert (cohort.predictions, cohort.labelled) == (mine.sum(), mine.sum())
        assert cohort.loss[0] == pytest.approx(log_loss(truth[mine], score[mine], labels=[0, 1]))
        assert cohort.error[0] == pytest.approx(((score[mine] >= 0.5) != truth[mine]).mean())


def test_a_span_matures_with_its_labels_or_with_time():
    watch = Performance(judged(np.random.default_rng(0)), span=DAY, settles=2 * DAY)
    watch.predicted([f"q{i}" for i in range(10)], [5] * 10, np.full(10, 0.3))
    watch.labelled([f"q{i}" for i in range(8)], np.zeros(8))
    watch.labelled(["nobody"], np.ones(1))
    assert not watch.report(at=DAY).cohorts[0].mature
    assert watch.report(at=DAY).unmatched == 1
    assert watch.report(at=3 * DAY).cohorts[0].mature
    assert watch.report(at=3 * DAY).new_labels == 8
    watch.labelled([f"q{i}" for i in range(10)], np.ones(10))  # corrected: shown, but not counted again
    report = watch.report(at=4 * DAY)
    assert (report.new_labels, report.cohorts[0].error[0]) == (8, 1.0)


@pytest.mark.parametrize(("stretch", "alarmed"), [(1.0, False), (1.8, True)])
def test_errors_that_become_more_raise_an_alarm_and_regret(stretch, alarmed):
    rng = np.random.default_rng(1)
    watch = Performance(judged(rng), span=DAY, settles=DAY, budget=50_000)
    for day in range(10):
        score = rng.uniform(0.05, 0.6, 800)
        truth = (rng.random(800) < np.minimum(score * stretch, 1)).astype(float)
        ids = [f"{day}-{i}" for i in range(800)]
        watch.predicted(ids, [day * DAY] * 800, score)
        watch.labelled(ids, truth)
        report = watch.report(at=(day + 1) * DAY)
    assert report.alarm is alarmed
    assert (report.regret > 100) is alarmed


@pytest.mark.parametrize("usual", [1.0, 1.1])
def test_since_when_errors_are_more_is_found_also_where_a_few_more_were_usual(usual):
    """Errors that are always a little more let the sum leave 0 long before they rise."""
    rng = np.random.default_rng(1)
    watch, memory = Performance(judged(rng), span=DAY, settles=DAY, budget=50_000), None
    for day in range(40):
        score = rng.uniform(0.05, 0.6, 300)
        truth = (rng.random(300) < np.minimum(score * (usual if day < 30 else 2.0), 1)).astype(float)
        watch.joined(np.full(300, day * DAY), score, truth)
        report = watch.report(at=(day + 1) * DAY)
        assert (report.onset is None) is not report.alarm
        # What is written down is enough to go on from.
        memory = msgspec.msgpack.decode(msgspec.msgpack.encode(watch.memory), type=Memory)
        watch = Performance(judged(np.random.default_rng(1)), span=DAY, settles=DAY, budget=50_000, memory=memory)
    assert report.alarm
    assert abs(report.onset // DAY - 30) <= 1


def test_a_rise_of_errors_is_as_large_as_is_certain():
    """Three times as many since the tenth day: less than that for certain, more the longer it lasts; ten days later."""
    rng, rises = np.random.default_rng(1), []
    watch = Performance(judged(rng), span=DAY, settles=DAY, budget=50_000)
    error = watch.report(at=0).reference[1]
    for day in range(40):
        wrong = rng.random(300) < error * (1 if day < 10 else 3)
        watch.joined(np.full(300, day * DAY), np.full(300, 0.1), wrong.astype(float))
        rises.append(watch.report(at=(day + 1) * DAY).error_rise)
    assert max(rises[:10]) == 0
    assert 0.5 < rises[14] < rises[39] < 2
    assert rises[39] > 1.6


def test_an_alarm_of_errors_stays_when_there_are_fewer_again():
    """A policy may be held back for days: who asks then must still hear of it."""
    rng = np.random.default_rng(1)
    watch = Performance(judged(rng), span=DAY, settles=DAY, budget=50_000)
    alarms = []
    for day in range(10):
        score = rng.uniform(0.05, 0.4, 800)
        watch.joined(np.full(800, day * DAY), score, np.full(800, float(day == 0)))
        report = watch.report(at=(day + 1) * DAY)
        alarms.append(report.alarm)
    assert watch.memory.total < watch.cusum.limit
    assert all(alarms)
    assert report.onset == 0


def test_a_forecast_of_the_loss_holds_while_labels_are_missing():
    rng = np.random.default_rng(2)
    watch = Performance(judged(rng, 20_000), span=DAY, settles=9 * DAY)
    score = rng.uniform(0.05, 0.6, 4_000)
    truth = (rng.random(4_000) < score).astype(float)
    watch.predicted([f"q{i}" for i in range(4_000)], [1] * 4_000, score)
    value, low, high = watch.report(at=DAY).cohorts[0].estimated
    assert low - 0.02 < log_loss(truth, score) < high + 0.02
    assert value == pytest.approx(log_loss(truth, score), abs=0.02)


def test_old_spans_are_forgotten():
    watch = Performance(judged(np.random.default_rng(0)), span=DAY, settles=DAY, keep=5)
    for day in range(50):
        watch.predicted([f"{day}"], [day * DAY], np.array([0.4]))
    assert len(watch.report(at=60 * DAY, cohorts=100).cohorts) == 5
    watch.labelled(["3"], np.ones(1))
    assert watch.report(at=60 * DAY).unmatched == 1


@pytest.mark.parametrize("labels", [0, 1, 2, 20])
def test_a_model_as_good_as_ever_is_not_for_certain_worse_because_of_its_first_labels(labels):
    rng, above = np.random.default_rng(3), 0
    reference = judged(rng)
    for _ in range(100):
        watch = Performance(reference, span=DAY, settles=5 * DAY)
        score, ids = rng.uniform(0.05, 0.6, 1_000), [f"q{i}" for i in range(1_000)]
        watch.predicted(ids, [1] * 1_000, score)
        watch.labelled(ids[:labels], (rng.random(labels) < score[:labels]).astype(float))
        report = watch.report(at=DAY)
        above += report.cohorts[0].estimated[1] > report.reference[0] * 1.1
    assert above <= 2
