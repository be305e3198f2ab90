import pytest

from raypipe import Search
from raypipe.contracts.records import Trial
from raypipe.errors import TrainingError
from raypipe.training.choice import choose
from raypipe.training.metrics import goodness
from raypipe.training.outcome import Outcome


def outcome(number, algorithm, value, p99=1.0, metric="auc", status="finished", error=""):
    metrics = {metric: value, "p99_ms_1": p99} if status == "finished" else {}
    trial = Trial(
        number=number,
        algorithm=algorithm,
        params={},
        status=status,
        metrics=metrics,
        seconds=1.0,
        error=error,
    )
    return Outcome(trial=trial, goodness=goodness(metric, value) if metrics else None)


def test_the_best_of_those_that_are_fast_enough_wins_and_the_sentence_says_so():
    tried = [
        outcome(0, "lightgbm", 0.77),
        outcome(1, "network", 0.79, p99=9.0),
        outcome(2, "linear", 0.72),
        outcome(3, "lightgbm", 0.75),
        outcome(4, "lightgbm", 0, status="failed", error="x"),
    ]
    winner, reason = choose(tried, Search([], metric="auc", p99_ms=5), "flights")
    assert winner.trial.number == 0
    assert reason == (
        "lightgbm (trial 0) 0.7700 has the highest auc on the tuning period among models that answer one row within "
        "p99 5 ms (1 did not); after it lightgbm (trial 3) 0.7500, linear (trial 2) 0.7200"
    )


def test_less_is_better_for_a_loss():
    tried = [outcome(0, "a", 0.5, metric="log_loss"), outcome(1, "b", 0.4, metric="log_loss")]
    winner, reason = choose(tried, Search([], metric="log_loss"), "flights")
    assert winner.trial.number == 1
    assert reason == "b (trial 1) 0.4000 has the lowest log_loss on the tuning period; after it a (trial 0) 0.5000"


def test_the_earlier_of_two_equal_trials_wins():
    tried = [outcome(1, "a", 0.5), outcome(0, "b", 0.5)]
    assert choose(tried, Search([]), "flights")[0].trial.number == 0


def test_a_search_in_which_nothing_finished_names_the_reasons():
    tried = [outcome(n, "network", 0, status="failed", error="ValueError: no") for n in range(3)]
    with pytest.raises(TrainingError, match=r"flights: search: no trial of 3 finished: network: ValueError: no"):
        choose(tried, Search([]), "flights")


def test_a_search_in_which_nothing_is_fast_enough_names_the_fastest():
    tried = [outcome(0, "a", 0.9, p99=8.0), outcome(1, "b", 0.8, p99=6.0)]
    with pytest.raises(TrainingError, match=r"within p99 5 ms; the fastest is b \(trial 1\) with 6 ms"):
        choose(tried, Search([], p99_ms=5), "flights")
