"""A model as it will serve: its ONNX file in onnxruntime, compared with the original."""

from pathlib import Path
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
    check_scores(own, len(x), "the trainer", algorithm, target)
    check_scores(served, len(x), "the ONNX file", algorithm, target)
    # Of large numbers float32 has the first seven digits.
    gaps = np.abs(own - served) / np.maximum(1, np.abs(own))
    largest = float(gaps.max())
    if largest > TOLERANCE:
        at = np.unravel_index(int(gaps.argmax()), gaps.shape)
        what = f"the ONNX file answers {served[at]:.6f} where the trainer answers {own[at]:.6f} (row {at[0]})"
        raise TrainingError(what, where=algorithm, cure="They must agree: the ONNX file is what serves")
    return largest


def check_scores(scores: Scores, rows: int, which: str, algorithm: str, target: Target) -> None:
    """Hold what ``which`` of an algorithm gave for so many rows to the target's shape, without gaps.

    Raises:
        TrainingError: it is of another, or NaN is among it.
    """
    shape = (rows, len(target.classes)) if target.classes else (rows,)
    if scores.shape != shape or not np.isfinite(scores).all():
        what = f"{which} gave scores of shape {scores.shape}, {int((~np.isfinite(scores)).sum())} of them NaN"
        kind = "numbers" if target.numeric else "probabilities"
        raise TrainingError(what, where=algorithm, cure=f"A trainer gives {rows} {kind} for as many rows")


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
