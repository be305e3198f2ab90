"""Models of every task over the small pipeline: the same weights, as a probability, as classes and as numbers."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper

from raypipe.contracts import bundle
from raypipe.contracts.target import Target
from raypipe.serving.model import Served
from raypipe.spec import Pipeline
from tests.serving.conftest import GOLDEN, make_bundle

CLASSES = ("late", "on time", "zürich")
TARGETS = {
    "binary": Target(),
    "multiclass": Target(task="multiclass", classes=CLASSES),
    "regression": Target(task="regression"),
    "quantile": Target(task="quantile", quantile=0.9),
    "count": Target(task="count"),
}
WEIGHTS = np.array([[0.3, -0.2, 0.1], [0.01, 0.05, -0.02], [0.001, 0.0005, -0.001], [0.02, 0.01, 0.03]], np.float32)


def scores_of(matrix: np.ndarray, target: Target) -> np.ndarray:
    """The same model in numpy: a softmax over classes, or the first column as it is."""
    product = np.nan_to_num(matrix.astype(np.float64)) @ WEIGHTS.astype(np.float64)
    if target.numeric:
        return product[:, 0]
    shares = np.exp(product - product.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def make_of_task(folder: Path, pipeline: Pipeline, target: Target) -> Served:
    """A sealed bundle of a model that predicts this."""
    made = make_bundle(folder, pipeline)
    if target.task == "binary":
        return made
    _write(folder / bundle.MODEL, target)
    signature, card = bundle.signature(folder), bundle.card(folder)
    scores = scores_of(signature.encode(GOLDEN), target)
    kind = pl.Array(pl.Float64, len(target.classes)) if target.classes else pl.Float64
    bundle.write(
        folder,
        signature=signature,
        pipeline=pipeline,
        card=msgspec.structs.replace(card, target=target),
        golden=GOLDEN.with_columns(score=pl.Series(scores.tolist(), dtype=kind)),
    )
    return Served(folder=str(folder), digest=bundle.seal(folder), version=1)


def _write(path: Path, target: Target) -> None:
    weights = WEIGHTS[:, :1] if target.numeric else WEIGHTS
    last = (
        helper.make_node("Squeeze", ["product", "axis"], ["score"])
        if target.numeric
        else helper.make_node("Softmax", ["product"], ["score"], axis=1)
    )
    graph = helper.make_graph(
        [
            helper.make_node("IsNaN", ["x"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "x"], ["filled"]),
            helper.make_node("MatMul", ["filled", "weights"], ["product"]),
            last,
        ],
        "of_task",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"] + ["classes"] * (not target.numeric))],
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel()),
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
