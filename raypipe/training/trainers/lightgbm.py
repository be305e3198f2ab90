"""Gradient-boosted trees. Categories are split natively; the ONNX file decides exactly as LightGBM does."""

from collections.abc import Callable
from pathlib import Path

import lightgbm
import numpy as np
import onnx
from lightgbm.basic import _ConfigAliases
from lightgbm.callback import CallbackEnv

from raypipe.contracts.bundle import MODEL
from raypipe.training.trainer import STEPS, Examples, Matrix, Params, Task, Vector
from raypipe.training.trainers.trees import as_onnx

NATIVE = "model.txt"
#: Our metrics by LightGBM's names; its ``l2`` of a probability is the Brier score.
METRICS = {"auc": "auc", "log_loss": "binary_logloss", "average_precision": "average_precision", "brier": "l2"}


#: What a trainer's contract settles: one thread, the same bits for the same seed, a probability.
SETTLED: Params = {
    "objective": "binary",
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
    if main not in {*SETTLED, "metric", "seed"}
    for name in (main, *others)
}


class LightGBM:
    """A LightGBM booster; parameters by LightGBM's own names."""

    def fit(self, task: Task, params: Params) -> Params:
        """Boost, and stop when the metric on ``tune`` has not improved for ``early_stopping_round`` rounds."""
        params = dict(params)
        rounds, patience = int(params.pop("num_iterations")), int(params.pop("early_stopping_round"))
        own: Params = {**params, **SETTLED, "metric": METRICS[task.metric], "seed": task.seed}
        train = _dataset(task.train, task, own)
        if task.tune is None:
            booster = lightgbm.train(own, train, rounds)
        else:
            stop = lightgbm.early_stopping(patience, verbose=False)
            valid = train.create_valid(task.tune.x, task.tune.y)
            booster = lightgbm.train(own, train, rounds, valid_sets=[valid], callbacks=[_reporter(task, rounds), stop])
        self._text = booster.model_to_string(num_iteration=booster.best_iteration)
        self._booster = lightgbm.Booster(model_str=self._text)
        return {"num_iterations": self._booster.num_trees()}

    def predict(self, x: Matrix) -> Vector:
        """The probability by LightGBM itself."""
        return np.asarray(self._booster.predict(x, num_threads=1), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write ``model.txt``, LightGBM's own text, and ``model.onnx``."""
        (folder / NATIVE).write_text(self._text, encoding="utf-8")
        onnx.save(as_onnx(self._text), folder / MODEL)


def _dataset(examples: Examples, task: Task, params: Params) -> lightgbm.Dataset:
    categories = list(task.signature.categories)
    return lightgbm.Dataset(examples.x, examples.y, categorical_feature=categories, params=params)


def _reporter(task: Task, rounds: int) -> Callable[[CallbackEnv], None]:
    every = max(1, rounds // STEPS)

    def after_round(env: CallbackEnv) -> None:
        done = env.iteration + 1
        if done % every == 0 and env.evaluation_result_list:
            task.report(done // every, float(env.evaluation_result_list[0][2]))

    return after_round
