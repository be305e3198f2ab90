"""Walking forward: each part of the tuning period is forecast by what had settled before it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from raypipe import models, periods
from raypipe.errors import TrainingError
from raypipe.training.data import folds
from raypipe.training.search import prepare
from raypipe.training.trainer import Task
from raypipe.training.trainers.linear import Linear
from raypipe.training.trial import Plan, Point, answer
from tests.training.data import frame, pipeline, training_set

STEPS, ROWS = 3, 840
FEBRUARY = datetime(2013, 2, 1, tzinfo=UTC)


def forward(steps=STEPS):
    made = pipeline(models.Linear())
    object.__setattr__(made, "split", periods(train="2013-01", tune="2013-02", holdout="2013-03", walk_forward=steps))
    return made


def tuning() -> pl.DataFrame:
    """A row each 48 minutes of February."""
    times = [FEBRUARY + timedelta(minutes=48 * i) for i in range(ROWS)]
    return frame(ROWS, 5).with_columns(pl.Series("asked_at", times, dtype=pl.Datetime("us", "UTC")))


def test_each_step_learns_what_had_settled_before_it(tmp_path):
    data = prepare(forward(), training_set(tmp_path, tune=tuning()))
    length = timedelta(days=28) / STEPS
    for number, fold in enumerate(data.folds):
        start = FEBRUARY + number * length
        times = tuning()["asked_at"]
        judged = times.is_between(start, start + length, closed="left")
        assert (fold.start, fold.end - fold.start) == (judged.arg_max(), judged.sum())
        # A label takes a day to settle.
        assert fold.known == (times <= start - timedelta(days=1)).sum()
    assert data.folds[-1].end == ROWS


def test_a_trial_is_the_mean_of_its_steps(tmp_path):
    data = prepare(forward(), training_set(tmp_path, tune=tuning()))
    params = {"C": 0.1, "max_iter": 200}
    outcome = answer(Point(0, "linear", params, {}), data, Plan(tmp_path / "search", "auc", 0))
    expected = []
    for fold in data.folds:
        both = np.concatenate([data.train.x, data.tune.x[: fold.known]])
        labels = np.concatenate([data.train.y, data.tune.y[: fold.known]])
        model = Linear()
        model.fit(Task(replace(data.train, x=both, y=labels), None, data.signature, "auc"), dict(params))
        x, y = (part[fold.start : fold.end] for part in (data.tune.x, data.tune.y))
        expected.append(roc_auc_score(y, model.predict(x)))
    assert outcome.trial.metrics["auc"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert max(expected) - min(expected) > 1e-3


def test_a_step_that_cannot_be_judged_is_named():
    one_label = tuning().with_columns(label=pl.when(pl.int_range(pl.len()) < 300).then(pl.lit(True)).otherwise("label"))
    with pytest.raises(TrainingError, match="step 1 of the tuning period"):
        folds(forward(), one_label)
