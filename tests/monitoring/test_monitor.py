"""A monitor: ticks, alarms that are raised once, exact snapshots, counts that come twice, flat memory."""

import resource
from dataclasses import replace

import numpy as np
import pytest

from raypipe.contracts.bins import Bins, Reference
from raypipe.contracts.watched import Watched
from raypipe.monitoring import Monitor, Plan
from raypipe.stats.bins import FIRST, MISSING, UNSEEN

COLUMNS, ROWS = 5, 1_000


@pytest.fixture(scope="module")
def watched():
    rng = np.random.default_rng(0)
    columns = [Bins.of_numbers(f"c{i}", rng.normal(size=20_000).astype(np.float32)) for i in range(COLUMNS)]
    score = Bins.of_numbers("score", rng.random(20_000).astype(np.float32))
    return Watched.of(Reference(rows=20_000, features=tuple(columns), prediction=score))


def counted(watched, rng, by=0.0, gaps=0.0):
    rows = rng.normal(size=(ROWS, COLUMNS + 1)).astype(np.float32)
    rows[:, 2] += by
    rows[rng.random(ROWS) < gaps, 3] = np.nan
    rows[:, -1] = rng.random(ROWS)
    return watched.binning.count(rows)


def test_a_move_is_raised_once_stays_open_and_is_over_after_three_quiet_ticks(watched):
    rng, monitor = np.random.default_rng(1), Monitor("m", 1, watched, Plan(budget=1_000))
    names = []
    for tick in range(60):
        monitor.add(counted(watched, rng, by=0.6 if 10 <= tick < 14 else 0.0))
        assert monitor.ready(at=tick)
        report = monitor.close(at=tick)
        names.append(([c.column for c in report.raised], [c.column for c in report.alarms]))
    raised = [(tick, columns) for tick, (columns, _) in enumerate(names) if columns]
    assert raised == [(10, ["c2"])]
    assert names[13][1] == ["c2"]
    assert names[59][1] == []  # the windows that held the move are gone


def test_an_alarm_that_is_quieter_than_what_raised_it_stays_open_until_it_is_clearly_quiet():
    """A move of one tick fades in the windows that hold it: over 8 ticks it is 0.85 of an alarm, over 16 it is 0.6."""
    values = np.tile(np.arange(256, dtype=np.float32), 256)
    made = Watched.of(
        Reference(
            rows=len(values), features=(Bins.of_numbers("x", values),), prediction=Bins.of_numbers("score", values)
        )
    )
    still = made.counts // 64
    moved = still.copy()
    moved[0, FIRST : FIRST + 128] -= 1
    moved[0, FIRST + 128 : FIRST + 256] += 1
    monitor, excess, is_open = Monitor("m", 1, made, Plan(budget=24)), [], []
    for tick in range(-32, 12):
        monitor.add(still if tick else moved)
        report = monitor.close(at=tick)
        [column] = [one for one in report.columns if one.column == "x"]
        excess.append(column.excess)
        is_open.append(column.open_for is not None)
    excess, is_open = excess[32:], is_open[32:]
    assert all(0.75 < one < 0.95 for one in excess[4:8])
    assert all(0.5 < one < 0.65 for one in excess[8:11])
    assert is_open == [True] * 10 + [False] * 2


def test_a_move_began_when_the_tick_before_it_was_closed_also_for_whoever_goes_on(watched):
    """Ticks of one to seven minutes; of those that no window holds any more the times are forgotten too."""
    rng, monitor, ends = (
        np.random.default_rng(1),
        Monitor("m", 1, watched, Plan(budget=1_000, material=0.0), at=100),
        [100],
    )
    for tick in range(80):
        monitor.add(counted(watched, rng, by=0.1 if tick >= 45 else 0.0))
        ends.append(ends[-1] + int(rng.integers(60, 420)))
        report = monitor.close(at=ends[-1])
        longest = max((column.ticks for column in report.alarms), default=1)
        assert report.onset == ends[-1 - longest]
        if tick == 60:
            snapshot, monitor = monitor.snapshot(), Monitor("m", 1, watched, Plan(budget=1_000, material=0.0))
            monitor.restore(snapshot)
    assert longest > 1
    assert len(monitor.snapshot()) < len(snapshot) + 100


def test_the_report_says_how_far_and_where_to(watched):
    rng, monitor = np.random.default_rng(2), Monitor("m", 1, watched, Plan())
    for tick in range(4):
        monitor.add(counted(watched, rng, by=0.5))
        report = monitor.close(at=tick)
    first = report.columns[0]
    assert (first.column, first.stream, first.ticks) == ("c2", "values", 4)
    assert first.median_after - first.median_before == pytest.approx(0.5, abs=0.1)
    assert first.wasserstein == pytest.approx(0.5, abs=0.1)
    assert report.mass == pytest.approx(0.2)


def test_a_column_that_goes_missing_is_a_break(watched):
    monitor = Monitor("m", 1, watched, Plan())
    monitor.add(counted(watched, np.random.default_rng(3), gaps=0.5))
    report = monitor.close(at=0)
    assert "c3" in report.breaks[0]
    assert "missing" in report.breaks[0]
    assert report.columns[0].stream == "missing"
    assert watched.counts[3, MISSING] == 0


def test_counts_that_come_again_are_not_counted_again(watched):
    rng = np.random.default_rng(4)
    once, twice = Monitor("m", 1, watched, Plan()), Monitor("m", 1, watched, Plan())
    parts = [(counted(watched, rng), f"r{i % 2}", i // 2 + 1) for i in range(6)]
    assert all(once.add(*part) for part in parts)
    assert [twice.add(*part) for part in [*parts, *parts]] == [True] * 6 + [False] * 6
    assert twice.close(at=1) == once.close(at=1)


def test_a_restored_monitor_goes_on_as_if_nothing_had_happened(watched):
    rng = np.random.default_rng(5)
    steady, broken = Monitor("m", 1, watched, Plan()), Monitor("m", 1, watched, Plan())
    for tick in range(50):
        part = counted(watched, rng, by=0.4 * (tick > 40))
        steady.add(part, "a", tick + 1)
        broken.add(part, "a", tick + 1)
        state = broken.snapshot()
        broken = Monitor("m", 1, watched, Plan())
        broken.restore(state)
        assert not broken.add(part, "a", tick + 1)
        assert broken.close(at=tick) == steady.close(at=tick)
    assert broken.snapshot() == steady.snapshot()


def test_memory_is_flat(watched):
    """As many ticks as fit in a second; `make bench-drift` goes through 100,000."""
    monitor, part = Monitor("m", 1, watched, Plan()), counted(watched, np.random.default_rng(6))
    for tick in range(100):
        monitor.add(part, f"replica-{tick}", 1)
        monitor.close(at=tick)
    size, before = len(monitor.snapshot()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for tick in range(100, 500):
        monitor.add(part, "replica", tick)
        monitor.close(at=tick)
    assert len(monitor.snapshot()) < size + 1_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_a_column_that_counts_days_leaves_its_range_and_is_not_broken_but_a_constant_is(watched):
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(ROWS, COLUMNS + 1)).astype(np.float32)
    rows[:, 0], rows[:, -1] = 100.0, rng.random(ROWS)
    rows[:, 1] = 0.5
    monitor = Monitor("m", 1, watched, Plan())
    monitor.add(watched.binning.count(rows))
    report = monitor.close(at=0)
    assert [text.partition(":")[0] for text in report.breaks] == ["c1"]


def test_a_few_gaps_do_not_hide_a_move_that_matters():
    """Some gaps where there were none are certain at once and do not matter; what moved is certain, too, and does."""
    rng = np.random.default_rng(0)
    features = (Bins.of_numbers("x", rng.normal(size=20_000).astype(np.float32)),)
    score = Bins.of_numbers("score", rng.random(20_000).astype(np.float32))
    monitor = Monitor("m", 1, Watched.of(Reference(rows=20_000, features=features, prediction=score)), Plan())
    raised = []
    for tick in range(20):
        x = rng.normal(0.15, 1, 1_000)
        x[rng.random(1_000) < 0.02] = np.nan
        monitor.add(monitor.watched.binning.count(np.column_stack([x, rng.random(1_000)]).astype(np.float32)))
        report = monitor.close(at=tick)
        raised += report.raised
    [column] = raised
    assert (column.column, column.stream, column.material) == ("x", "values", True)
    assert report.columns[0].stream == "values"


def test_a_column_that_follows_the_clock_is_shown_and_is_no_alarm(watched):
    """Its move is told and marked; the others are watched as before, and share all importance among them."""
    of_clock, rng = replace(watched, clock=frozenset({"c2"})), np.random.default_rng(8)
    monitor = Monitor("m", 1, of_clock, Plan(budget=1_000), importance=np.array([1.0, 1.0, 6.0, 1.0, 1.0]))
    monitor.add(counted(watched, rng, by=0.6))
    report = monitor.close(at=0)
    [moved] = [column for column in report.columns if column.clock]
    assert (moved.column, moved.material, moved.open_for) == ("c2", True, None)
    assert moved.excess > 1
    assert (report.alarms, report.mass) == ((), 0.0)
    monitor.add(counted(watched, rng, by=0.6, gaps=0.15))
    report = monitor.close(at=1)
    assert [column.column for column in report.alarms] == ["c3"]
    assert report.mass == 0.25


def test_an_alarm_that_another_release_raised_on_the_clock_is_over(watched):
    rng, before = np.random.default_rng(8), Monitor("m", 1, watched, Plan(budget=1_000))
    before.add(counted(watched, rng, by=0.6))
    assert before.close(at=0).alarms
    after = Monitor("m", 1, replace(watched, clock=frozenset({"c2"})), Plan(budget=1_000))
    after.restore(before.snapshot())
    after.add(counted(watched, rng, by=0.6))
    assert not after.close(at=1).alarms


def test_the_same_moment_all_tick_and_values_never_seen_are_no_break_of_the_clock_but_gaps_are(watched):
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(ROWS, COLUMNS + 1)).astype(np.float32)
    rows[:, 2], rows[:, -1] = 0.5, rng.random(ROWS)
    cells = watched.binning.count(rows)
    for clock, broken in ((frozenset(), ["c2"]), (frozenset({"c2"}), [])):
        monitor = Monitor("m", 1, replace(watched, clock=clock), Plan())
        monitor.add(cells)
        assert [text.partition(":")[0] for text in monitor.close(at=0).breaks] == broken
    unseen, gaps = cells.copy(), cells.copy()
    for changed, cell in ((unseen, UNSEEN), (gaps, MISSING)):
        changed[2] = 0
        changed[2, cell] = ROWS
    for changed, broken in ((unseen, []), (gaps, ["c2"])):
        monitor = Monitor("m", 1, replace(watched, clock=frozenset({"c2"})), Plan())
        monitor.add(changed)
        assert [text.partition(":")[0] for text in monitor.close(at=0).breaks] == broken
