"""Gradient-boosted trees. Categories are split natively; the ONNX file decides exactly as LightGBM does."""

from collections.abc import Callable
from pathlib import Path

import lightgbm
import numpy as np
import onnx
from lightgbm.basic import _ConfigAliases
from lightgbm.callback import CallbackEnv
from numpy.typing import NDArray
from scipy.special import expit, logit

from raypipe.contracts.bundle import MODEL
from raypipe.contracts.target import Target
from raypipe.spec.search import more_is_better
from raypipe.training.metrics import measure
from raypipe.training.trainer import STEPS, Examples, Matrix, Params, Scores, Task
from raypipe.training.trainers.trees import as_onnx

NATIVE = "model.txt"
#: Our metrics by LightGBM's names, by task; its ``l2`` of a probability is the Brier score. We compute the others.
METRICS = {
    "binary": {"auc": "auc", "log_loss": "binary_logloss", "average_precision": "average_precision", "brier": "l2"},
    "multiclass": {"log_loss": "multi_logloss"},
    "regression": {"rmse": "rmse", "mae": "l1"},
    "quantile": {"pinball": "quantile", "mae": "l1"},
    "count": {"rmse": "rmse", "mae": "l1"},
}
OBJECTIVES = {
    "binary": "binary",
    "multiclass": "multiclass",
    "regression": "regression",
    "quantile": "quantile",
    "count": "poisson",
}


#: From an answer to the sum of the leaves, and back; for numbers they are the same.
SUMS = {"binary": (logit, expit), "count": (np.log, np.exp)}

#: What a trainer's contract settles: one thread, the same bits for the same seed, a probability.
SETTLED: Params = {
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
#: Every name that a parameter goes by, and its main name. LightGBM would ignore a name that it does not know, and one
#: of two names for the same parameter.
PARAMETERS = {
    name: main
    for main, others in _ConfigAliases._get_all_param_aliases().items()
    if main not in {*SETTLED, "objective", "num_class", "alpha", "metric", "seed"}
    for name in (main, *others)
}


class LightGBM:
    """A LightGBM booster; parameters by LightGBM's own names."""

    def fit(self, task: Task, params: Params) -> Params:
        """Boost, and stop when the metric on ``tune`` has not improved for ``early_stopping_round`` rounds."""
        params = dict(params)
        rounds, patience = int(params.pop("num_iterations")), int(params.pop("early_stopping_round"))
        known = METRICS[task.target.task].get(task.metric)
        own: Params = {**params, **SETTLED, **_goal(task.target), "metric": known or "None", "seed": task.seed}
        train = _dataset(task.train, task, own)
        if task.tune is None:
            booster = lightgbm.train(own, train, rounds)
        else:
            stop = lightgbm.early_stopping(patience, verbose=False)
            valid = train.create_valid(task.tune.x, task.tune.y, weight=task.tune.w)
            watch: list[Callable[[CallbackEnv], None]] = [_reporter(task, rounds), stop]
            gain = None if known else _own(task)
            booster = lightgbm.train(
                own, train, rounds, valid_sets=[valid], feval=gain, callbacks=watch, keep_training_booster=True
            )
            if not task.target.classes:
                task.scored(_of_tune(booster, valid, task))
        self._text = booster.model_to_string(num_iteration=booster.best_iteration)
        self._booster = lightgbm.Booster(model_str=self._text)
        return {"num_iterations": self._booster.num_trees() // max(1, len(task.target.classes))}

    def predict(self, x: Matrix) -> Scores:
        """The scores by LightGBM itself."""
        return np.asarray(self._booster.predict(x, num_threads=1), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write ``model.txt``, LightGBM's own text, and ``model.onnx``."""
        (folder / NATIVE).write_text(self._text, encoding="utf-8")
        onnx.save(as_onnx(self._text), folder / MODEL)


def _dataset(examples: Examples, task: Task, params: Params) -> lightgbm.Dataset:
    categories = list(task.signature.categories)
    return lightgbm.Dataset(examples.x, examples.y, weight=examples.w, categorical_feature=categories, params=params)


def _goal(target: Target) -> Params:
    goal: Params = {"objective": OBJECTIVES[target.task]}
    if target.task == "multiclass":
        goal["num_class"] = len(target.classes)
    if target.quantile is not None:
        goal["alpha"] = target.quantile
    return goal


def _own(task: Task) -> Callable[[NDArray[np.float64], lightgbm.Dataset], tuple[str, float, bool]]:
    """A metric that LightGBM does not know, as it wants it."""
    assert task.tune is not None  # noqa: S101  # without rows to stop on nothing is measured
    y = task.tune.y

    def gain(scores: NDArray[np.float64], _: lightgbm.Dataset) -> tuple[str, float, bool]:
        value = measure(task.metric, y, np.asarray(scores, dtype=np.float32), task.target)
        return task.metric, value, more_is_better(task.metric)

    return gain


def _of_tune(booster: lightgbm.Booster, valid: lightgbm.Dataset, task: Task) -> Scores:
    """What the trees up to the best one say of ``tune``.

    Boosting knows what all of them say. To take away what the few after the best add is less work than to ask all.
    """
    assert task.tune is not None  # noqa: S101  # there was something to stop on
    last: list[NDArray[np.float64]] = []

    def take(scores: NDArray[np.float64], _: lightgbm.Dataset) -> tuple[str, float, bool]:
        last.append(np.array(scores))
        return "taken", 0.0, True

    booster.eval(valid, "tune", take)
    after = booster.current_iteration() - booster.best_iteration
    if booster.best_iteration < 1 or not after:
        return last[0].astype(np.float32)
    added = booster.predict(task.tune.x, booster.best_iteration, num_iteration=after, raw_score=True, num_threads=1)
    to_sum, to_answer = SUMS.get(task.target.task, (np.asarray, np.asarray))
    return np.asarray(to_answer(to_sum(last[0]) - added), dtype=np.float32)


def _reporter(task: Task, rounds: int) -> Callable[[CallbackEnv], None]:
    every = max(1, rounds // STEPS)

    def after_round(env: CallbackEnv) -> None:
        done = env.iteration + 1
        if done % every == 0 and env.evaluation_result_list:
            task.report(done // every, float(env.evaluation_result_list[0][2]))

    return after_round
