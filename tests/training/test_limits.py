"""The limits of a search: time, money, a trial that hangs; and what it takes over from earlier ones."""

from dataclasses import replace
from threading import Event

import pytest

from raypipe import models
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Trial
from raypipe.errors import TrainingError
from raypipe.spec import Finish, Search
from raypipe.spec.search import log
from raypipe.training import limits, search
from raypipe.training.again import refit
from raypipe.training.budget import Budget
from raypipe.training.outcome import Outcome, keep, kept, kept_count, trial_folder
from raypipe.training.proposals import Proposals
from raypipe.training.space import Space
from raypipe.training.trial import Plan, Point, hung, watched
from raypipe.training.warm import warm_points
from tests.training.data import pipeline, training_set

ALGORITHM = "tests.training.own:Late"
LINEAR = models.Linear(C=log(0.01, 10.0))
SPACE = Space.of(Search([models.LightGBM(), LINEAR], trials=12))


def outcome(algorithm="linear", value=0.7, seconds=1.0, status="finished", **params):
    made = Trial(number=0, algorithm=algorithm, params=params, status=status, metrics={}, seconds=seconds)
    return Outcome(trial=made, goodness=value)


def asked(budget):
    """How many trials are proposed when each ends at once and takes an hour."""
    proposals = Proposals(SPACE, 0, budget=budget)
    for number in range(8):
        if proposals.suggest(str(number)) == "FINISHED":
            return number
        proposals.on_trial_complete(str(number), {"outcome": outcome(seconds=3_600.0).to_json()})
    return 8


def budget(folder, model=LINEAR, cpu_hour=0.0, gpu_hour=0.0, **limits):
    wish = Search([model], **limits)
    return Budget.of(wish, Plan(folder, "auc", 0, cpu_hour=cpu_hour, models=(model,), gpu_hour=gpu_hour))


def test_a_budget_ends_the_search_but_every_algorithm_is_tried_once(tmp_path):
    assert asked(Budget()) == 8
    assert asked(budget(tmp_path, seconds=1e-9)) == 2
    assert asked(budget(tmp_path, LINEAR.on(cpus=1), 0.25, money=1.0)) == 4
    assert asked(budget(tmp_path, LINEAR.on(cpus=1), 0.25, money=0.01)) == 2


def test_money_pays_for_every_core_and_gpu_that_a_trial_held(tmp_path):
    assert asked(budget(tmp_path, LINEAR.on(cpus=8), 0.125, money=3.0)) == 3
    assert asked(budget(tmp_path, LINEAR.on(cpus=0.5), 0.5, money=1.0)) == 4
    assert asked(budget(tmp_path, LINEAR.on(cpus=1, gpus=2), 0.5, 1.0, money=10.0)) == 4
    hour = outcome(seconds=3_600.0, workers=4)
    plan = Plan(tmp_path, "auc", 0, cpu_hour=0.25, models=(LINEAR.on(cpus=2),))
    assert plan.cost(hour) == 2.0


def test_a_search_that_was_killed_has_used_the_time_that_it_had_used(tmp_path, monkeypatch):
    now = iter([0.0, 100.0, 0.0, 60.0, 70.0])  # a run of 100 seconds, then one of which 60 and 70 have gone
    monkeypatch.setattr("raypipe.training.budget.perf_counter", lambda: next(now))
    first = budget(tmp_path, seconds=165.0)
    assert not first.spent([])
    again = budget(tmp_path, seconds=165.0)
    assert not again.spent([])
    assert again.spent([])


def test_what_was_tried_before_is_told_again_though_the_budget_is_used_up(tmp_path):
    proposals = Proposals(SPACE, 0)
    for number in range(5):
        point = proposals.suggest(str(number))["point"]
        answered = outcome(point.algorithm, seconds=3_600.0, **point.params)
        keep(trial_folder(tmp_path, point.algorithm, point.params), answered)
        proposals.on_trial_complete(str(number), {"outcome": answered.to_json()})
    again = Proposals(SPACE, 0, budget=budget(tmp_path, seconds=1e-9, money=0.1, cpu_hour=1.0))
    assert len(list(again.answered(tmp_path, 12))) == 5
    assert again.next is None


def test_the_limits_and_prices_of_a_pipeline_reach_its_trials(tmp_path, monkeypatch):
    def asked_for(*given):
        raise Asked(given[3], given[-1])

    monkeypatch.setattr("raypipe.training.tuning.try_all", asked_for)
    wish = pipeline(LINEAR, trials=3)
    limits = {"seconds": 50.0, "money": 2.0, "cpu_hour": 0.25, "gpu_hour": 1.5, "trial_seconds": 9.0}
    object.__setattr__(wish, "search", _with(wish.search, **limits))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setattr("raypipe.training.tracking.Tracking", Untracked)
    with pytest.raises(Asked) as told:
        search(wish, training_set(tmp_path / "set", 300), tmp_path / "searches", uri, 1, Silent())
    plan, limit = told.value.args
    assert (plan.cpu_hour, plan.gpu_hour, plan.longest, plan.models) == (0.25, 1.5, 9.0, (LINEAR,))
    assert not limit.spent([outcome(seconds=15.9 * 3_600)])
    assert limit.spent([outcome(seconds=16 * 3_600)])
    monkeypatch.setattr("raypipe.training.budget.perf_counter", lambda: float("inf"))
    assert limit.spent([])


class Asked(Exception):  # noqa: N818  # not an error
    """What the trials of a search were asked with."""


class Untracked:
    """What a search takes for MLflow."""

    def __init__(self, *about):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_warm_points_come_after_the_defaults():
    warm = {"algorithm": "linear", "linear.C": 0.5}
    proposals = Proposals(SPACE, 0, warm=[warm])
    points = [proposals.suggest(str(number))["point"] for number in range(3)]
    assert [point.algorithm for point in points] == ["lightgbm", "linear", "linear"]
    assert points[2].params["C"] == 0.5


def test_what_earlier_searches_found_is_tried_where_the_space_holds_it(tmp_path):
    wish = pipeline(LINEAR)
    for name, points in {"old": {"C": 0.3}, "new": {"C": 0.9}, "beyond": {"C": 55.0}}.items():
        folder = tmp_path / name
        folder.mkdir()
        warm_points(wish, SPACE, folder)  # as a search does that is not warm: it says what it is about
        for value, params in ((0.6, {"C": 2.0}), (0.8, points), (0.9, {"C": 7.0})):
            status = "failed" if params["C"] == 7.0 else "finished"
            keep(trial_folder(folder, "linear", params), outcome(value=value, status=status, **params))
    object.__setattr__(wish, "search", Search([LINEAR], warm_start=True))
    mine = tmp_path / "mine"
    mine.mkdir()
    assert warm_points(wish, SPACE, mine) == [{"algorithm": "linear", "linear.C": 0.9}]
    (tmp_path / "new" / "warm.json").unlink()
    assert warm_points(wish, SPACE, mine) == [{"algorithm": "linear", "linear.C": 0.9}], "a killed search asks the same"
    object.__setattr__(wish, "search", Search([LINEAR], warm_start=True, metric="log_loss"))
    other = tmp_path / "other"
    other.mkdir()
    assert warm_points(wish, SPACE, other) == []


def test_kept_trials_are_counted(tmp_path):
    assert kept_count(tmp_path) == 0
    keep(trial_folder(tmp_path, "linear", {"C": 1.0}), outcome(C=1.0))
    keep(trial_folder(tmp_path, "linear", {"C": 2.0}), outcome(C=2.0, status="failed"))
    assert kept_count(tmp_path) == 1


def test_a_trial_that_was_ended_says_so_once_and_then_gets_another_try(tmp_path, monkeypatch):
    plan, point = Plan(tmp_path, "auc", 0, 5.0), Point(3, "linear", {"C": 1.0}, {})
    folder, ended = trial_folder(tmp_path, "linear", {"C": 1.0}), Event()
    monkeypatch.setattr(limits.os, "_exit", lambda code: ended.set())
    assert hung(point, plan) is None
    with watched(point, replace(plan, longest=0.0)):
        assert ended.wait(10)
    told = hung(point, plan)
    assert told.trial.error == "it was ended after 5 s: it hangs, or needs more than `trial_seconds`"
    assert (told.trial.status, told.trial.number) == ("failed", 3)
    assert hung(point, plan) is None
    assert kept(folder) is None


def own(how: str) -> models.Own:
    return models.Own(ALGORITHM, how=how, strength=1.0)


#: Of 300 rows to train on half as many are for tuning, and half as many held out.
WITH_HOLDOUT = 450


@pytest.mark.parametrize(
    ("how", "rows", "seconds", "said"),
    [
        ("hang", WITH_HOLDOUT, 0.4, r"^tests.training.own:Late: its last fits were ended after 2 s: it hangs there"),
        ("nan", 0, 60.0, r"^tests.training.own:Late: without rows to tune on the trainer gave .* 162 of them NaN"),
        (
            "segfault",
            0,
            60.0,
            r"in its last fits its process \(pid \d+\) ended .*: Segmentation fault; what it wrote: /",
        ),
    ],
)
def test_what_goes_wrong_only_when_the_winner_is_fitted_again(ray_local, tmp_path, how, rows, seconds, said):
    again(tmp_path, {"how": how, "strength": 1.0, "rows": rows}, said, seconds)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("nan", r"^tests.training.own:Late: fitted with the holdout too the trainer gave .* \d+ of them NaN"),
        ("raise", r"the winner could not be fitted again with the holdout: ValueError: too many rows"),
    ],
)
def test_what_goes_wrong_only_with_the_holdout(tmp_path, monkeypatch, how, said):
    monkeypatch.setattr("raypipe.training.finish.ray.is_initialized", lambda: False)
    again(tmp_path, {"how": how, "strength": 1.0, "rows": WITH_HOLDOUT}, said)


def again(folder, params, said, seconds=60.0):
    """Fit a winner again whose last fit, with the holdout, fails; no bundle may be left of it."""
    wish = pipeline(own("late"), trials=1)
    object.__setattr__(wish, "search", _with(wish.search, trial_seconds=seconds))
    object.__setattr__(wish, "finish", Finish(whole=True))
    with pytest.raises(TrainingError, match=said):
        refit(wish, training_set(folder / "set", 300), ALGORITHM, params, {}, folder / "made")
    assert not (folder / "made").exists()


def test_the_winner_is_told_with_what_it_costs(tmp_path):
    wish = pipeline(LINEAR, trials=1)
    object.__setattr__(wish, "search", _with(wish.search, cpu_hour=0.36))
    found = refit(
        wish, training_set(tmp_path / "set", 300), "linear", {"C": 1.0, "max_iter": 50}, {}, tmp_path / "made"
    )
    assert found["money_per_million"] == pytest.approx(found["p50_ms_1"] * 0.1)


@pytest.mark.long
def test_a_trainer_that_ends_its_process_is_named_with_its_log(ray_local, tracking_uri, tmp_path):
    said = r"no trial of 1 finished: tests.training.own:Late: its process \(pid \d+\) ended without a word: .*/worker-"
    wish = pipeline(own("always"), trials=1)
    with pytest.raises(TrainingError, match=said):
        search(wish, training_set(tmp_path / "set", 300), tmp_path / "searches", tracking_uri, 1, Silent())


@pytest.mark.slow
def test_a_search_whose_trials_hang_ends_and_says_which(ray_local, tracking_uri, tmp_path):
    wish = pipeline(LINEAR, trials=1, metric="tests.training.hanging:for_ever")
    object.__setattr__(wish, "search", _with(wish.search, trial_seconds=4.0))
    with pytest.raises(TrainingError, match=r"no trial of 1 finished: linear: it was ended after 4 s: it hangs"):
        search(wish, training_set(tmp_path / "set", 300), tmp_path / "searches", tracking_uri, 1, Silent())


def _with(search, **changed):
    return Search(search.models, trials=search.trials, metric=search.metric, **changed)
