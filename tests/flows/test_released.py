"""What a person released: judged by the policy where it says so, and by nobody else."""

from dataclasses import replace

import pytest

from raypipe.errors import GateError, ServingError
from raypipe.flows import released, rollout
from raypipe.flows.experiment import Experiment, Standing
from raypipe.flows.retrain import drive
from raypipe.registry import Registry
from raypipe.spec.retrain import NewRows, Retrain, Rollout
from raypipe.stats.sequential import Difference
from tests.flows.test_retrain import home, jobs, swaps  # noqa: F401  # fixtures

BETTER = Difference(-0.05, -0.08, -0.02, 0.001)
STANDING = Standing("challenger/2", 0.3, 600, 600, 500, 0.1, BETTER, 20.0, 0.0, ())


@pytest.fixture
def told(monkeypatch):
    """The versions that the replicas were told of by the judge, what is seen of the arms, and a service."""
    told = []
    monkeypatch.setattr(released, "swap_where_served", lambda _, version, __: told.append(version.version))
    monkeypatch.setattr(released, "served", lambda *_: True)
    monkeypatch.setattr(rollout, "served", lambda *_: True)
    return told


def give(home, monkeypatch, *, judged=True, where=None, spread=0.3, **change):  # noqa: F811
    """A person lets version 2 answer for 30 %; what became of it is seen; the policy looks."""
    policy = Retrain((NewRows(10**9),), rollout=Rollout(least=500, released=judged))
    home.registry.release("rides", 2, role="challenger", share=0.3, where=where or {}, why="a try", who="Ada")
    monkeypatch.setattr(rollout, "compare", lambda *_: Experiment((replace(STANDING, **change),), spread))
    pipeline = home.rides(policy)
    drive(home.platform, pipeline)
    return pipeline


def standing(home):  # noqa: F811
    return home.registry.champion("rides").version, [
        (arm.role, arm.version, arm.share) for arm in home.registry.arms("rides").arms
    ]


ANSWERS = (1, [("challenger", 2, 0.3)])


@pytest.mark.parametrize(
    "change",
    [
        {"judged": False},
        {"judged": False, "faults": ("its error is larger",)},
        {"spread": 0.001},
        {"spread": 0.001, "faults": ("its error is larger",)},
        {"predictions": 499},
        {"against": None},
        {"against": Difference(-0.05, -0.11, 0.01, 0.2)},
        {"where": {"town": "A"}},
    ],
)
def test_it_answers_on_where_nothing_is_for_certain(home, told, monkeypatch, change):  # noqa: F811
    give(home, monkeypatch, **change)
    assert standing(home) == ANSWERS


def test_for_certain_better_it_takes_over_once(home, told, swaps, monkeypatch):  # noqa: F811
    pipeline = give(home, monkeypatch)
    drive(home.platform, pipeline)
    assert standing(home) == (2, [("shadow", 1, 1.0)])
    change = home.registry.history("rides")[-1][1]
    assert (change.who, change.why) == (
        "the retraining policy",
        "its error is smaller than that of version 1, by at least 0.0200",
    )
    assert swaps == [2]


@pytest.mark.parametrize("where", [None, {"town": "A"}])
def test_at_fault_it_backs_off_and_the_replicas_know(home, told, monkeypatch, where):  # noqa: F811
    pipeline = give(home, monkeypatch, faults=("its error is larger", "it is slow"), where=where)
    assert standing(home) == (1, [])
    assert home.ledger.entries("model.released", "rides")[-1].body.count("its error is larger; it is slow") == 1
    told.clear()
    drive(home.platform, pipeline)
    assert told == []


def test_who_was_killed_before_the_replicas_knew_is_helped_by_the_next(home, told, monkeypatch):  # noqa: F811
    def away(place):
        if place == "released.after_back_off":
            raise ServingError("does not answer", where="rides")

    monkeypatch.setattr(released, "failpoint", away)
    with pytest.raises(ServingError):
        give(home, monkeypatch, faults=("its error is larger",))
    monkeypatch.setattr(released, "failpoint", lambda _: None)
    told.clear()
    drive(home.platform, home.rides(Retrain((NewRows(10**9),), rollout=Rollout(released=True))))
    assert told == [1]


def test_a_closed_gate_holds_for_the_policy_too(home, told, monkeypatch):  # noqa: F811
    def closed(*_, **__):
        raise GateError("is closed", where="rides/2")

    monkeypatch.setattr(Registry, "promote", closed)
    give(home, monkeypatch)
    assert standing(home) == ANSWERS
