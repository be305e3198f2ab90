"""Gradient-boosted trees. Categories are split natively; the ONNX file decides exactly as LightGBM does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import lightgbm
import numpy as np
import onnx
from lightgbm.basic import _ConfigAliases
from lightgbm.callback import CallbackEnv
from onnxmltools.convert.common.data_types import FloatTensorType
from onnxmltools.convert.lightgbm.convert import convert

from raypipe.contracts.bundle import MODEL
from raypipe.training.onnx_model import with_score
from raypipe.training.trainer import STEPS, Examples, Matrix, Params, Task, Vector

NATIVE = "model.txt"
#: The newest that onnxmltools converts to.
OPSET = 15
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
        text = booster.model_to_string(num_iteration=booster.best_iteration)
        self._booster = lightgbm.Booster(model_str=decide_in_float32(text))
        return {"num_iterations": self._booster.num_trees()}

    def predict(self, x: Matrix) -> Vector:
        """The probability by LightGBM itself."""
        return np.asarray(self._booster.predict(x, num_threads=1), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write ``model.txt``, LightGBM's own text, and ``model.onnx``."""
        (folder / NATIVE).write_text(self._booster.model_to_string(), encoding="utf-8")
        inputs = [("x", FloatTensorType([None, self._booster.num_feature()]))]
        converted = convert(self._booster, "lightgbm", inputs, target_opset=OPSET, zipmap=False)
        onnx.save(with_score(converted, "probabilities"), folder / MODEL)


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


def decide_in_float32(text: str) -> str:
    """A LightGBM model that decides the same on float32 inputs, with nothing left that ONNX would decide otherwise.

    LightGBM compares in double precision, ONNX in single: a threshold that is rounded up lets a value pass that did
    not before. The largest float32 below the threshold parts the float32 numbers exactly as the double does. And a
    column that had no missing value in training takes NaN for zero, which ONNX does not know: here its nodes say
    where NaN goes.
    """
    return "\n".join(_rewritten(text.split("\n")))


def _rewritten(lines: list[str]) -> Iterator[str]:
    thresholds = np.empty(0)
    for line in lines:
        name, _, values = line.partition("=")
        if name == "threshold":
            thresholds = _rounded_down(np.array(values.split(), dtype=np.float64))
            yield f"threshold={' '.join(map(repr, thresholds.tolist()))}"
        elif name == "decision_type":
            kinds = zip(values.split(), thresholds.tolist(), strict=True)
            yield f"decision_type={' '.join(str(_decision(int(kind), threshold)) for kind, threshold in kinds)}"
        elif name != "tree_sizes":  # an index of bytes, which are no longer where it says; LightGBM reads on without
            yield line


def _rounded_down(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    single = values.astype(np.float32)
    above = single.astype(np.float64) > values
    single[above] = np.nextafter(single[above], np.float32(-np.inf))
    return single.astype(np.float64)


def _decision(kind: int, threshold: float) -> int:
    """LightGBM's bits: 1 category, 2 missing goes left, 4 and 8 what counts as missing (none of them: nothing)."""
    is_category, knows_missing = kind & 1, kind & 12
    if is_category or knows_missing:
        return kind
    return 8 | (2 if threshold >= 0.0 else 0)
