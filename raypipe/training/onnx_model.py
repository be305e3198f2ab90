"""A model as it will serve: its ONNX file in onnxruntime, compared with the original and timed."""

from pathlib import Path
from time import thread_time
from typing import Protocol

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.utils import Extractor

from raypipe.contracts.bundle import MODEL, SCORE
from raypipe.contracts.target import BINARY, Target
from raypipe.errors import TrainingError
from raypipe.training.trainer import Matrix, Scores

#: What every ONNX file is written in, so that several can become one.
OPSET, IR = 20, 10
#: A larger difference between a model and its ONNX file, as probabilities, is not float32 rounding.
TOLERANCE = 1e-5
#: Calls in each round that are timed, for one row and for a thousand.
MANY = 1_000
CALLS = {1: 100, MANY: 7}
ROUNDS = 3


class OnnxModel:
    """A saved ONNX file in one thread, as a Serve replica runs it."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.bytes = (folder / MODEL).stat().st_size
        self._session = onnxruntime.InferenceSession(folder / MODEL, options, providers=["CPUExecutionProvider"])

    def predict(self, x: Matrix) -> Scores:
        """The scores of ``x`` float32 (rows, columns), as `Trainer.predict` gives them."""
        scores: Scores = self._session.run([SCORE], {"x": x})[0]
        return scores

    def speed(self, x: Matrix) -> dict[str, float]:
        """Milliseconds for one row and for 1,000, median and 99th percentile, over rows of ``x``.

        CPU time of the one thread that computes, which on an idle core is what a caller waits. Waiting for a core that
        other work holds, such as the next trial, must not decide which model is fast enough. The lowest of some rounds:
        cold caches can only add to it.
        """
        return {name: value for rows in CALLS for name, value in self._speed(x, rows).items()}

    def timed(self, x: Matrix) -> tuple[Scores, dict[str, float]]:
        """The scores of ``x`` and the `speed`; of many rows, where there are, it is that of the answers themselves."""
        answers = [self._timed(x[start : start + MANY]) for start in range(0, len(x), MANY)]
        scores, seconds = np.concatenate([found for found, _ in answers]), [took for _, took in answers]
        full = seconds[: len(x) // MANY]
        many = _quantiles([full], MANY) if len(full) >= CALLS[MANY] else self._speed(x, MANY)
        return scores, self._speed(x, 1) | many

    def _speed(self, x: Matrix, rows: int) -> dict[str, float]:
        batches = [np.resize(np.roll(x, -rows * i, axis=0), (rows, x.shape[1])) for i in range(CALLS[rows])]
        return _quantiles([[self._timed(batch)[1] for batch in batches] for _ in range(ROUNDS)], rows)

    def _timed(self, batch: Matrix) -> tuple[Scores, float]:
        began = thread_time()
        scores = self.predict(batch)
        return scores, thread_time() - began


def _quantiles(seconds: list[list[float]], rows: int) -> dict[str, float]:
    """Median and 99th percentile in milliseconds, each of the best round."""
    shares = (("p50", 0.5), ("p99", 0.99))
    return {f"{name}_ms_{rows}": float(np.quantile(seconds, share, axis=1).min()) * 1e3 for name, share in shares}


class Predicts(Protocol):
    """What gives scores: a trainer, or a finished model."""

    def predict(self, x: Matrix) -> Scores:
        """The scores of ``x`` float32 (rows, columns)."""
        ...


def difference(trainer: Predicts, model: OnnxModel, x: Matrix, algorithm: str, target: Target = BINARY) -> float:
    """The largest difference between a trainer's scores and its ONNX file's; of numbers beyond 1 as a share of them.

    Raises:
        TrainingError: they differ by more than rounding, or are not of the target's shape.
    """
    own, served = trainer.predict(x), model.predict(x)
    shape = (len(target.classes),) if target.classes else ()
    kind = "numbers" if target.numeric else "probabilities"
    for which, scores in (("the trainer", own), ("the ONNX file", served)):
        if scores.shape != (len(x), *shape) or not np.isfinite(scores).all():
            what = f"{which} gave scores of shape {scores.shape}, {int((~np.isfinite(scores)).sum())} of them NaN"
            raise TrainingError(what, where=algorithm, cure=f"A trainer gives {len(x)} {kind} for as many rows")
    # Of large numbers float32 has the first seven digits.
    gaps = np.abs(own - served) / np.maximum(1, np.abs(own))
    largest = float(gaps.max())
    if largest > TOLERANCE:
        at = np.unravel_index(int(gaps.argmax()), gaps.shape)
        what = f"the ONNX file answers {served[at]:.6f} where the trainer answers {own[at]:.6f} (row {at[0]})"
        raise TrainingError(what, where=algorithm, cure="They must agree: the ONNX file is what serves")
    return largest


def with_score(model: onnx.ModelProto, output: str, target: Target = BINARY) -> onnx.ModelProto:
    """A converted model that gives ``score`` and nothing else.

    Of probabilities (rows, 2) it is the second, of classes all of them; of a column of numbers (rows, 1) the numbers,
    and of the logarithms of counts the counts.
    """
    model = Extractor(model).extract_model(["x"], [output])
    graph = model.graph
    shape: list[str | int] = ["rows"]
    if target.task == "binary":
        graph.initializer.append(helper.make_tensor("second", TensorProto.INT64, [], [1]))
        graph.node.append(helper.make_node("Gather", [output, "second"], [SCORE], axis=1))
    elif target.task == "multiclass":
        graph.node.append(helper.make_node("Identity", [output], [SCORE]))
        shape.append(len(target.classes))
    else:
        graph.initializer.append(helper.make_tensor("last", TensorProto.INT64, [1], [1]))
        kind = "Exp" if target.task == "count" else "Identity"
        graph.node.append(helper.make_node("Squeeze", [output, "last"], ["number"]))
        graph.node.append(helper.make_node(kind, ["number"], [SCORE]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    return model
