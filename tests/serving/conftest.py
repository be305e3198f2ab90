"""A small pipeline, a bundle of it with a real ONNX model, and an application over both, in this process."""

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from raypipe.contracts import bundle
from raypipe.contracts.bundle import Card
from raypipe.contracts.signature import Signature
from raypipe.serving.app import App, Limits
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served
from raypipe.spec import Pipeline
from tests.serving.pipeline import pipeline as example_pipeline
from tests.serving.reader import FakeReader

GOLDEN = pl.DataFrame(
    {
        "carrier": ["UA", "AA", None, "UA"],
        "hour": [7, 12, 23, 0],
        "distance": [100.0, 2_500.5, None, 731.0],
        "origin_delay_1h": [None, 3.5, -2.0, 41.0],
    },
    schema_overrides={"hour": pl.Int8},
)


def linear(path: Path, weights: list[float], bias: float) -> None:
    """Write sigmoid(x @ weights + bias) as ONNX; a missing number counts as zero."""
    graph = helper.make_graph(
        [
            helper.make_node("IsNaN", ["x"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "x"], ["filled"]),
            helper.make_node("MatMul", ["filled", "weights"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["column"]),
            helper.make_node("Squeeze", ["column", "axis"], ["score"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", len(weights)])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"])],
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("weights", TensorProto.FLOAT, [len(weights), 1], weights),
            helper.make_tensor("bias", TensorProto.FLOAT, [], [bias]),
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def expected(matrix: np.ndarray, weights: list[float], bias: float) -> np.ndarray:
    """The same model in numpy."""
    return 1 / (1 + np.exp(-(np.nan_to_num(matrix.astype(np.float64)) @ np.array(weights) + bias)))


def make_bundle(folder: Path, pipeline: Pipeline, *, bias: float = 0.0, wrong_by: float = 0.0) -> Served:
    """A sealed bundle of the linear model; ``wrong_by`` shifts the golden scores."""
    folder.mkdir(parents=True)
    features = pipeline.feature_names
    signature = Signature.fit(GOLDEN, features)
    weights = [0.3, 0.01, 0.0001, 0.02]
    linear(folder / bundle.MODEL, weights, bias)
    scores = expected(signature.encode(GOLDEN), weights, bias) + wrong_by
    card = Card(algorithm="linear", params={}, metrics={"auc": 0.75}, threshold=0.5, seed=0)
    bundle.write(folder, signature=signature, pipeline=pipeline, card=card, golden=GOLDEN.with_columns(score=scores))
    return Served(folder=str(folder), digest=bundle.seal(folder), version=1)


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    return example_pipeline


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline) -> Served:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "1", pipeline)


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def engine(served: Served, meter: Meter) -> Engine:
    return Engine(served, FakeReader, meter)


@pytest.fixture
def app(engine: Engine, meter: Meter) -> App:
    app = App("late", meter, Limits(body_bytes=64 * 1024, body_seconds=0.2))
    app.hold(engine)
    return app


@pytest.fixture
def client(app: App) -> Callable[[], httpx.AsyncClient]:
    """Opens an HTTP client that talks to the application in this process."""
    return lambda: httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
