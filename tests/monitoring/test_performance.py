"""Late, doubled, corrected and missing labels against one look at everything that is known in the end."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from raypipe.contracts.judged import Judged
from raypipe.monitoring.performance import Performance
from raypipe.monitoring.sums import Memory

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


def certain(rng, rows=20_000):
    """A model that is certain, and wrong in 2 of 100."""
    score = np.where(rng.random(rows) < 0.5, 0.02, 0.98)
    return Judged.of((rng.random(rows) < score).astype(float), score)


def test_the_last_labels_of_a_span_count_too_and_all_of_them_once():
    """Nine of ten are right and come at once; the tenth is wrong and comes half a day later, in its time."""
    rng = np.random.default_rng(0)
    watch = Performance(certain(rng), span=DAY, settles=3 * DAY)
    for day in range(40):
        ids = [f"{day}-{i}" for i in range(2_000)]
        score = np.where(rng.random(2_000) < 0.5, 0.02, 0.98)
        truth = (score > 0.5).astype(float)
        truth[1_800:] = 1 - truth[1_800:]
        watch.predicted(ids, [day * DAY] * 2_000, score)
        watch.labelled(ids[:1_800], truth[:1_800])
        watch.report((day + 1) * DAY)
        watch.labelled(ids[1_800:], truth[1_800:])
        report = watch.report((day + 1) * DAY + DAY // 2)
        assert report.new_labels == (day + 1) * 2_000
        assert sum(wrong for _, wrong, _ in watch.memory.errors) == (day + 1) * 200
    assert report.alarm
    assert report.onset == 0


def test_regret_of_labels_that_come_late_is_counted_once():
    """Whoever gets all labels at once and whoever gets the last tenth later regret the same."""
    regrets = []
    for late in (0, 200):
        rng = np.random.default_rng(4)
        watch = Performance(judged(rng), span=DAY, settles=3 * DAY)
        for day in range(20):
            ids, score = [f"{day}-{i}" for i in range(2_000)], rng.random(2_000)
            truth = (rng.random(2_000) < score**3).astype(float)  # far less often than it says
            watch.predicted(ids, [day * DAY] * 2_000, score)
            watch.labelled(ids[late:], truth[late:])
            watch.report((day + 1) * DAY)
            watch.labelled(ids[:late], truth[:late])
            report = watch.report((day + 1) * DAY + DAY // 2)
        regrets.append(report.regret)
    assert regrets[0] > 100
    assert regrets[1] == pytest.approx(regrets[0], rel=0.01)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 29), st.booleans(), st.integers(0, 3)), max_size=80))
def test_however_labels_come_and_are_corrected_each_counts_once(arriving):
    """What comes while its time is not over; ``judged`` has an error of 2 in 100, and the answer is always no."""
    watch = Performance(certain(np.random.default_rng(0)), span=DAY, settles=4 * DAY)
    ids, known = [f"q{i}" for i in range(30)], {}
    watch.predicted(ids, [1] * 30, np.full(30, 0.02))
    for day in range(4):
        for i, value, when in arriving:
            if when == day:
                watch.labelled([ids[i]], np.array([float(value)]))
                known[i] = value
        watch.report((day + 1) * DAY)
    memory = watch.memory
    watch.report(5 * DAY)
    assert watch.memory.labels == len(known)
    assert [one[1:] for one in watch.memory.errors] == ([(sum(known.values()), len(known))] if known else [])
    assert watch.memory.counted == {}
    assert memory.settled == []


@pytest.mark.parametrize(("labels", "counted"), [(89, 0), (90, 90)])
def test_a_span_is_counted_when_nine_of_ten_labels_are_there(labels, counted):
    watch = Performance(judged(np.random.default_rng(0)), span=DAY, settles=2 * DAY)
    watch.joined(np.full(100, 5), np.full(100, 0.3), np.where(np.arange(100) < labels, 0.0, np.nan))
    assert watch.report(at=DAY).new_labels == counted
    assert watch.report(at=3 * DAY).new_labels == labels


def stable(rng, rows, error):
    """Of so many rows, wrong at random: the scores are all alike."""
    return np.full(rows, 0.1), (rng.random(rows) < error).astype(float)


@pytest.mark.parametrize("rows", [200, 1_000, 20_000])
def test_a_rise_is_seen_after_as_many_labels_as_stated_however_many_a_day_has(rows):
    """They are looked at by the day: it is the day in which, on average, that label comes."""
    rng, late = np.random.default_rng(5), []
    score, truth = stable(rng, 400_000, 0.1)
    reference = Judged.of(truth, score)
    for _ in range(60):
        watch, day = Performance(reference, span=DAY, settles=DAY), 0
        while not watch.memory.alarm:
            watch.joined(np.full(rows, day * DAY), *stable(rng, rows, watch.cusum.high))
            report, day = watch.report((day + 1) * DAY), day + 1
        late.append(day * rows - rows / 2)
    assert np.mean(late) <= max(report.detects * 1.25, rows / 2)


def test_a_model_that_was_judged_on_few_rows_raises_no_more_false_alarms_for_that():
    """By the law of the run length, one in 20,000 labels is 63 of 100 models in so many: fewer, though unlucky ones."""
    rng, alarmed = np.random.default_rng(6), []
    for _ in range(60):
        score, truth = stable(rng, 1_000, 0.1)
        watch = Performance(Judged.of(truth, score), span=DAY, settles=DAY, budget=20_000)
        for day in range(5):
            watch.joined(np.full(4_000, day * DAY), *stable(rng, 4_000, 0.1))
            report = watch.report((day + 1) * DAY)
        alarmed.append(report.alarm)
    assert np.mean(alarmed) <= 0.25


def test_an_alarm_of_errors_is_over_after_weeks_of_no_more_than_usual():
    rng, alarms = np.random.default_rng(7), []
    score, truth = stable(rng, 50_000, 0.1)
    watch = Performance(Judged.of(truth, score), span=DAY, settles=DAY)
    for day in range(60):
        error = 0.3 if day < 5 or day >= 50 else 0.1
        watch.joined(np.full(1_000, day * DAY), *stable(rng, 1_000, error))
        report = watch.report((day + 1) * DAY)
        alarms.append(report.alarm)
        assert (report.onset is None) is not report.alarm
    over = alarms.index(False)
    assert 28 <= over <= 34
    assert not any(alarms[over:50])
    assert all(alarms[50:])  # another rise is another alarm
    assert report.onset == 50 * DAY


def test_what_is_kept_does_not_grow_where_labels_are_waited_for_without_end():
    rng = np.random.default_rng(9)
    watch = Performance(judged(rng), span=DAY, settles=10_000 * DAY)
    sizes = []
    for day in range(900):
        watch.joined(np.full(20, day * DAY), *stable(rng, 20, 0.1))
        watch.report((day + 1) * DAY)
        sizes.append(len(msgspec.msgpack.encode(watch.memory)))
    assert sizes[-1] < sizes[450] * 1.05


def test_an_alarm_of_errors_is_not_over_while_there_are_more():
    rng = np.random.default_rng(8)
    score, truth = stable(rng, 50_000, 0.1)
    watch = Performance(Judged.of(truth, score), span=DAY, settles=DAY)
    for day in range(80):
        watch.joined(np.full(1_000, day * DAY), *stable(rng, 1_000, 0.13))
        report = watch.report((day + 1) * DAY)
    assert report.alarm
