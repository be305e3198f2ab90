"""Small, complete bundles for tests: a logistic model over one category and two numbers."""

from pathlib import Path

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from raypipe.contracts import bundle
from raypipe.contracts.signature import Signature
from raypipe.spec import Pipeline
from tests.spec.rides import pipeline_of

FEATURES = ("zone", "fare", "hour")
ROWS = pl.DataFrame(
    {
        "zone": ["a", "b", None, "unseen", "a"],
        "fare": [1.5, None, -3.0, 0.25, float("nan")],
        "hour": [1, 23, None, 12, 0],
    },
    schema={"zone": pl.String, "fare": pl.Float64, "hour": pl.Int8},
)
SIGNATURE = Signature.fit(ROWS.filter(pl.col("zone").is_in(["a", "b"])), FEATURES)


def expected_scores(weight: float = 1.0) -> np.ndarray:
    """What the model answers for ROWS, computed by hand: missing values count as 0."""
    x = np.array([[1, 1.5, 1], [2, 0, 23], [0, -3, 0], [0, 0.25, 12], [1, 0, 0]])
    return 1 / (1 + np.exp(-x @ np.array([0.5, 0.25, -0.125]) * weight))


def write_onnx(path: Path, weight: float = 1.0) -> None:
    weights = np.array([[0.5], [0.25], [-0.125]], dtype=np.float32) * np.float32(weight)
    nodes = [
        helper.make_node("IsNaN", ["x"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "x"], ["filled"]),
        helper.make_node("MatMul", ["filled", "w"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], ["score"]),
    ]
    constants = {"w": weights, "zero": np.float32(0), "axis": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "logistic",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(FEATURES)])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def make_bundle(folder: Path, weight: float = 1.0, metrics: dict[str, float] | None = None) -> tuple[Pipeline, str]:
    """Write a sealed bundle into ``folder``; gives the pipeline it is of and its digest."""
    folder.mkdir(parents=True)
    (folder.parent / "definition").mkdir(exist_ok=True)
    pipeline = pipeline_of(folder.parent / "definition")
    write_onnx(folder / bundle.MODEL, weight)
    (folder / "model.txt").write_text(f"logistic {weight}")
    bundle.write(
        folder,
        signature=SIGNATURE,
        pipeline=pipeline,
        card=bundle.Card(
            algorithm="linear", params={"weight": weight}, metrics=metrics or {"auc": 0.7}, threshold=0.5, seed=7
        ),
        golden=ROWS.with_columns(score=pl.Series(expected_scores(weight))),
    )
    return pipeline, bundle.seal(folder)
