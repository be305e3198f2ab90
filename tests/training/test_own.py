"""Trainers of users: named in a pipeline, searched, and held against the contract."""

import numpy as np
import pytest

from raypipe import models
from raypipe.contracts.signature import Signature
from raypipe.errors import TrainingError
from raypipe.spec import Search
from raypipe.spec.search import uniform
from raypipe.training.contract import check
from raypipe.training.data import examples
from raypipe.training.space import Space
from raypipe.training.trainers import trainer
from raypipe.training.trial import Data, Plan, Point, answer
from tests.training.data import FEATURES, frame
from tests.training.own import Lazy, Leaky, Means, Unsteady

OWN = "tests.training.own:Means"


def test_a_good_trainer_keeps_the_contract():
    check(Means, {"strength": 3.0})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Lazy, "it learns"),
        (Leaky, "only formats that run no code, not model.pkl"),
        (Unsteady, "the same seed gives the same bytes"),
    ],
)
def test_what_a_trainer_does_not_keep_is_said(make, said):
    with pytest.raises(TrainingError, match=said):
        check(make, {"strength": 3.0})


@pytest.mark.parametrize(
    ("algorithm", "params"),
    [
        ("lightgbm", {"num_iterations": 30, "early_stopping_round": 5, "num_leaves": 7}),
        ("linear", {"C": 1.0, "max_iter": 200}),
    ],
)
def test_ours_keep_it_too(algorithm, params):
    check(lambda: trainer(algorithm), params)


@pytest.mark.parametrize("task", ["multiclass", "regression", "quantile", "count"])
def test_the_contract_is_for_each_task(task):
    params = {"num_iterations": 40, "early_stopping_round": 5, "num_leaves": 15, "learning_rate": 0.2}
    check(lambda: trainer("lightgbm"), params, task)
    said = "one a row and class" if task == "multiclass" else "it learns"
    with pytest.raises(TrainingError, match=said):
        check(Lazy, {"strength": 3.0}, task)


@pytest.mark.parametrize(("task", "said"), [("count", "never below zero"), ("multiclass", "add up to one")])
def test_what_answers_of_a_task_must_be_is_said(task, said):
    class Wrong:
        def fit(self, asked, params):
            self.shape = (len(asked.target.classes),) if asked.target.classes else ()
            return {}

        def predict(self, x):
            return np.full((len(x), *self.shape), 0.5 if self.shape else -1.0, dtype=np.float32)

    with pytest.raises(TrainingError, match=said):
        check(Wrong, {}, task)


def test_it_is_searched_and_tried_as_any_other(tmp_path):
    space = Space.of(Search([models.Own(OWN, strength=uniform(1.0, 5.0)), models.Linear()], trials=2))
    assert space.first()[0] == {"algorithm": OWN, f"{OWN}.strength": 3.0}
    train = frame(800, 0)
    signature = Signature.fit(train, FEATURES)
    data = Data(examples(train, signature), examples(frame(400, 1), signature), signature)
    outcome = answer(Point(0, OWN, {"strength": 0.01}, {}), data, Plan(tmp_path, "auc", 0))
    assert outcome.trial.status == "finished", outcome.trial.error
    assert outcome.trial.metrics["auc"] > 0.6


def test_one_that_is_not_there_is_told():
    with pytest.raises(TrainingError, match=r"tests.training.own:Nobody: the trainer cannot be used: .*Nobody"):
        trainer("tests.training.own:Nobody")
