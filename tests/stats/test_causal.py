"""Effects: found where there is one, of the right size, and not found where there is none."""

import numpy as np
import pytest

from raypipe.stats.causal import adjusted, in_differences


def units(rng, rows, effect, missing=0.2):
    """Units whose past tells much of them; some of them are new."""
    past = rng.normal(1.0, 1.0, rows)
    now = past + rng.normal(0.0, 0.4, rows) + effect
    return now, np.where(rng.random(rows) < missing, np.nan, past)


def test_the_past_makes_the_comparison_sharper_and_leaves_it_right():
    plain, sharp, covered = [], [], 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        control, before = units(rng, 400, 0.0)
        treated, then = units(rng, 400, 0.2)
        found = adjusted(control, treated, before, then)
        blind = adjusted(control, treated, np.full(400, np.nan), np.full(400, np.nan))
        sharp.append(found.estimate)
        plain.append(blind.estimate)
        covered += found.low <= 0.2 <= found.high
        assert found.high - found.low < 0.85 * (blind.high - blind.low)
    assert np.mean(sharp) == pytest.approx(0.2, abs=0.02)
    assert np.std(sharp) < 0.8 * np.std(plain)
    assert covered >= 57


def test_without_an_effect_none_is_found():
    found = [
        adjusted(
            *(units(np.random.default_rng(s), 300, 0.0)[0] for s in (seed, seed + 500)), *np.full((2, 300), np.nan)
        ).p
        for seed in range(100)
    ]
    assert sum(p < 0.05 for p in found) <= 5


def test_a_change_that_reached_one_group_is_told_from_the_season():
    rng = np.random.default_rng(1)
    season = 2 * np.sin(np.arange(60) / 5)
    control = season + rng.normal(0, 0.1, 60)
    treated = season + 1.0 + rng.normal(0, 0.1, 60)
    treated[45:] += 0.5
    found = in_differences(treated, control, 45)
    assert found.estimate == pytest.approx(0.5, abs=0.1)
    assert found.low > 0
    assert found.p < 0.06
    # By itself, the season would be taken for an effect, and its own past says that it may well be chance.
    alone = in_differences(treated, np.zeros(60), 45)
    assert alone.low < 0 < alone.high


@pytest.mark.parametrize("wanders", [False, True])
@pytest.mark.parametrize(("before", "after"), [(4, 1), (4, 4), (5, 2), (8, 2), (8, 8), (12, 4), (20, 5), (60, 5)])
def test_the_interval_holds_no_effect_as_often_as_it_says_however_few_dates_there_are(before, after, wanders):
    rng, runs, missed = np.random.default_rng(before + after), 1_000, 0
    for noise in rng.normal(0, 1, (runs, before + after)):
        gap = noise.cumsum() if wanders else noise
        found = in_differences(gap, np.zeros(before + after), before)
        missed += not found.low <= 0 <= found.high
    assert 0.02 * runs <= missed <= 0.075 * runs


def test_dates_on_which_nothing_happened_show_nothing():
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        gap = rng.normal(0, 1, 60)
        hits += in_differences(gap, np.zeros(60), 50).p < 0.05
    assert hits <= 20


def test_too_little_says_nothing():
    assert in_differences(np.ones(5), np.zeros(5), 3) is None
    assert adjusted(np.ones(1), np.ones(9), np.ones(1), np.ones(9)) is None
