import random

import numpy as np
import pytest
from ray.tune.schedulers.async_hyperband import _Bracket

from raypipe import models
from raypipe.contracts.records import Trial
from raypipe.spec import Search
from raypipe.training.outcome import Outcome, keep, trial_folder
from raypipe.training.proposals import PEERS, RUNGS, Proposals, bars
from raypipe.training.space import Space
from raypipe.training.trainer import STEPS

SPACE = Space.of(Search([models.LightGBM(), models.Network(), models.Linear()], trials=40))


def outcome(point, value=None, curve=()):
    trial = Trial(
        number=point.number, algorithm=point.algorithm, params=point.params, status="finished", metrics={}, seconds=1.0
    )
    return Outcome(trial=trial, goodness=value, curve=curve)


def truth(point):
    """Something that depends on the parameters, as a fit would."""
    return {"lightgbm": 0.8, "network": 0.7, "linear": 0.6}[point.algorithm] + 0.1 / (1 + len(repr(point.params)))


def played(seed, order, side_by_side, trials=40, lag=8):
    """A search whose trials end in an order drawn from ``order``; returns its points."""
    proposals, rng = Proposals(SPACE, seed, lag), random.Random(order)
    points, running = [], []
    while len(points) < trials or running:
        given = proposals.suggest(f"t{len(points)}") if len(points) < trials and len(running) < side_by_side else None
        if given is not None:
            points.append(given["point"])
            running.append(points[-1])
            continue
        assert running, "it waits for a trial that is not under way"
        done = running.pop(rng.randrange(len(running)))
        if done.number == 5:
            proposals.on_trial_complete(f"t{done.number}", error=True)
        else:
            told = {"outcome": outcome(done, truth(done), ((3, truth(done)),)).to_json()}
            proposals.on_trial_complete(f"t{done.number}", told)
    return points


@pytest.mark.parametrize("side_by_side", [1, 2, 4, 8])
def test_the_seed_settles_the_trials_in_whatever_order_they_end(side_by_side):
    assert played(0, order=side_by_side, side_by_side=side_by_side) == played(0, order=99, side_by_side=3)


def test_another_seed_tries_others_but_the_defaults_first():
    one, other = played(0, 0, 2), played(1, 0, 2)
    assert one[:3] == other[:3]
    assert [point.algorithm for point in one[:3]] == ["lightgbm", "network", "linear"]
    assert one[3:] != other[3:]


def test_what_is_known_directs_the_search():
    """Of the last trials of 40, which draw on many, most are of the best algorithm; at random a third would be."""
    late = [point.algorithm for point in played(0, 0, 2)[25:]]
    assert late.count("lightgbm") > len(late) / 2


def test_a_proposal_waits_for_the_trials_it_draws_on():
    proposals = Proposals(SPACE, seed=0, lag=2)
    first = proposals.suggest("a")["point"]
    assert proposals.suggest("b") is not None
    assert proposals.suggest("c") is None
    proposals.on_trial_complete("a", {"outcome": outcome(first, 0.7).to_json()})
    assert proposals.suggest("c") is not None


def test_a_bar_is_the_median_of_enough_peers_of_the_same_algorithm():
    rung = RUNGS[0]
    points = played(0, 0, 1)
    trees = [point for point in points if point.algorithm == "lightgbm"]
    nets = [point for point in points if point.algorithm == "network"]
    settled = [
        outcome(point, 0.7, ((1, 0.5), (rung, value))) for point, value in zip(trees[:3], [0.6, 0.8, 0.7], strict=True)
    ]
    assert bars(settled[: PEERS - 1], "lightgbm") == {}
    assert bars([*settled, outcome(nets[0], 0.9, ((rung, 0.9),)), None], "lightgbm") == {rung: 0.7}
    assert bars(settled, "network") == {}


def test_bars_are_those_of_asha_as_ray_computes_them():
    """Of the results of one algorithm that have settled; Ray's own asks who came first."""
    bracket = _Bracket(min_t=RUNGS[0], max_t=STEPS, reduction_factor=2, s=0)
    trees = [point for point in played(0, 0, 1) if point.algorithm == "lightgbm"][:7]
    rng, settled = np.random.default_rng(0), []
    for point in trees:
        curve = tuple((step, float(rng.random())) for step in range(1, STEPS + 1))
        settled.append(outcome(point, curve[-1][1], curve))
        for milestone, recorded in bracket._rungs:
            recorded[str(point.number)] = dict(curve)[milestone]
        told = {milestone: float(bracket.cutoff(recorded)) for milestone, recorded in bracket._rungs}
        if len(settled) >= PEERS:
            assert bars(settled, "lightgbm") == pytest.approx(told)


def test_a_search_that_ran_before_goes_on_with_the_points_that_it_would_have_asked(tmp_path):
    whole = played(0, order=0, side_by_side=2, trials=16)
    proposals = Proposals(SPACE, 0)
    for point in whole[:12]:
        if point.number != 5:  # of which nothing was kept: its worker died
            keep(
                trial_folder(tmp_path, point.algorithm, point.params),
                outcome(point, truth(point), ((3, truth(point)),)),
            )
    told = list(proposals.answered(tmp_path, 16))
    assert [point for point, _ in told] == whole[:5]
    assert [known.goodness for _, known in told] == [truth(point) for point in whole[:5]]
    assert proposals.next == whole[5]
    assert proposals.suggest("again")["point"] == whole[5]
    proposals.on_trial_complete("again", error=True)
    assert [point for point, _ in proposals.answered(tmp_path, 16)] == whole[6:12]
    assert proposals.suggest("new")["point"] == whole[12]


def test_nothing_is_asked_where_all_is_known(tmp_path):
    proposals = Proposals(SPACE, 0)
    for point in played(0, order=0, side_by_side=2, trials=5):
        keep(trial_folder(tmp_path, point.algorithm, point.params), outcome(point, 0.5))
    assert len(list(proposals.answered(tmp_path, 5))) == 5
    assert proposals.next is None
