"""A diagnosis names what was changed, and the parts of a loss sum to the whole."""

from dataclasses import replace

import numpy as np
import pytest

from raypipe.contracts.bins import Bins, Reference
from raypipe.contracts.watched import Watched
from raypipe.monitoring import Monitor, Plan
from raypipe.monitoring.diagnosis import Losses, Sides, diagnose, split

NAMES = ("calm", "moved", "idle")
RNG = np.random.default_rng(0)


def score(x):
    return (1 / (1 + np.exp(-(x[:, 0] + 2 * x[:, 1])))).astype(np.float32)


def reported(after):
    before = RNG.normal(size=(10_000, 3)).astype(np.float32)
    return before, report_of(before, after)


def report_of(before, after):
    features = tuple(Bins.of_numbers(name, before[:, i]) for i, name in enumerate(NAMES))
    watched = Watched.of(Reference(rows=10_000, features=features, prediction=Bins.of_numbers("score", score(before))))
    monitor = Monitor("m", 1, watched, Plan(), importance=np.array([1.0, 2.0, 0.0]))
    monitor.add(watched.binning.count(np.column_stack([after, score(after)])))
    return monitor.close(at=0)


def test_the_input_that_moved_is_blamed_first_and_the_swap_says_how_much():
    after = RNG.normal(size=(2_000, 3)).astype(np.float32)
    after[:, 1] += 0.5
    after[:, 2] += 1
    before, report = reported(after)
    found = diagnose(report, Sides(NAMES, before, after, score), upstream=["planes got 12 new rows"])
    assert found.blamed[0].column == "moved"
    rows = after.copy()
    rows[:, 1] -= 0.5
    assert found.blamed[0].swap == pytest.approx(float((score(after) - score(rows)).mean()), abs=0.02)
    assert "moved (median" in found.text
    assert "planes got 12 new rows" in found.text
    assert not found.breaks


def test_broken_data_comes_first():
    after = RNG.normal(size=(2_000, 3)).astype(np.float32)
    after[:, 0] = np.nan
    _, report = reported(after)
    assert diagnose(report).text.startswith("This looks like broken data")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x * 1_000, "times 1,000, as from kilometres to metres"),
        (lambda x: x / 1_000, "divided by 1,000, as from metres to kilometres"),
        (lambda x: x * 25.4, "times 25.4, as from inches to millimetres"),
        (lambda x: x * 1.609, "times 1.60934, as from miles to kilometres"),
        (lambda x: (x - 32) / 1.8, "divided by 1.8 minus 17.7778, as from Fahrenheit to Celsius"),
        (lambda x: x + 273.15, "times 1 plus 273.15, as from Celsius to Kelvin"),
    ],
)
def test_another_unit_is_told_before_all_else_with_the_factor(change, said):
    after = RNG.normal(size=(2_000, 3)).astype(np.float32)
    before, _ = reported(after)
    before[:, 2], after[:, 2] = (60 + 15 * RNG.normal(size=len(side)) for side in (before, after))
    after[:, 2] = change(after[:, 2])
    after[::9, 2] = np.nan
    report = report_of(before, after)
    found = diagnose(report, Sides(NAMES, before, after, score))
    assert not report.breaks
    assert found.breaks == (f"idle: likely in another unit, its values are those of the reference {said}",)
    assert found.text.index("another unit") < found.text.index("moved")


@pytest.mark.parametrize("change", [lambda x: x + 20, lambda x: x * 1.3, lambda x: x * 5, np.abs, np.round, np.sign])
def test_values_that_only_moved_are_in_no_other_unit(change):
    after = RNG.normal(size=(2_000, 3)).astype(np.float32)
    before = RNG.normal(size=(10_000, 3)).astype(np.float32)
    before[:, 2], after[:, 2] = 10 * before[:, 2], change(10 * after[:, 2])
    assert diagnose(report_of(before, after), Sides(NAMES, before, after, score)).breaks == ()


def test_a_share_and_what_is_computed_of_values_are_in_no_other_unit():
    before, after = (RNG.normal(size=(rows, 3)).astype(np.float32) for rows in (10_000, 2_000))
    before[:, 2], after[:, 2] = (RNG.beta(2, 3, len(side)) * part for side, part in ((before, 1), (after, 1 / 1.852)))
    report, sides = report_of(before, after), Sides(NAMES, before, after, score)
    assert [column.column for column in report.alarms] == ["idle"]
    assert diagnose(report, sides).breaks == ()
    before[:, 2], after[:, 2] = 60 * before[:, 2], 60 * after[:, 2]
    report = report_of(before, after)
    [found] = diagnose(report, sides).breaks
    assert found.endswith("divided by 1.852, as from kilometres an hour to knots")
    assert diagnose(report, replace(sides, computed=frozenset({"idle"}))).breaks == ()


def test_a_share_that_becomes_per_cent_is_in_another_unit():
    before, after = (RNG.beta(2, 3, (rows, 3)).astype(np.float32) for rows in (10_000, 2_000))
    after[:, 2] *= 100
    [found] = diagnose(report_of(before, after), Sides(NAMES, before, after, score)).breaks
    assert found.endswith("times 100, as from shares to per cent")


def test_mix_and_within_sum_to_the_change():
    names = np.array(["a", "b", "c"])
    sides = [names[RNG.choice(3, 3_000, p=p)] for p in ([0.6, 0.3, 0.1], [0.2, 0.3, 0.5])]
    hard = {"a": 0.3, "b": 0.5, "c": 0.9}
    before, after = (np.array([hard[name] for name in side]) + RNG.normal(0, 0.1, 3_000) for side in sides)
    after[sides[1] == "b"] += 0.4
    parts = split(Losses(before, after, {"city": sides[0]}, {"city": sides[1]}))
    assert sum(part.mix + part.within for part in parts) == pytest.approx(after.mean() - before.mean())
    by_name = {part.value: part for part in parts}
    assert by_name["b"].within == pytest.approx(0.3 * 0.4, abs=0.02)
    assert abs(by_name["c"].mix) > 10 * abs(by_name["c"].within)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (0, 840, "0 are from before it, 840 since"),
        (900, 150, "900 are from before it, 150 since"),
        (0, 0, "No labels are in yet"),
        (300, 300, "The mean loss went from 0.2500 to 0.7500"),
    ],
)
def test_who_is_hit_is_said_or_what_is_lacking_to_say_it(before, after, said):
    _, report = reported(RNG.normal(1.0, 1.0, (2_000, 3)).astype(np.float32))
    losses = Losses(np.full(before, 0.25), np.full(after, 0.75), {"a": ["x"] * before}, {"a": ["x"] * after})
    found = diagnose(report, losses=losses)
    assert said in found.text
    assert bool(found.segments) == (min(before, after) >= 200)
