"""Models of every task over the Open Inference Protocol: what the metadata states comes, as `/predict` says it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from raypipe.contracts.arms import Arm
from raypipe.errors import ServingError
from raypipe.serving.app import App
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from raypipe.serving.outputs import Outputs
from raypipe.serving.routing import Router
from raypipe.spec import Pipeline
from tests.serving.grpc_caller import QUESTION, over_grpc
from tests.serving.reader import FakeReader
from tests.serving.tasks import CLASSES, TARGETS, make_of_task
from tests.serving.test_oip import INFER, ROWS, inputs, raw_request

NUMBER = [("value", "FP64", [-1])]
#: By the protocol's own words: name, datatype and shape of each output.
STATED: dict[str, list[tuple[str, str, list[int]]]] = {
    "binary": [("probability", "FP64", [-1]), ("label", "BOOL", [-1])],
    "multiclass": [("label", "BYTES", [-1]), ("probability", "FP64", [-1]), ("probabilities", "FP64", [-1, 3])],
    "regression": NUMBER,
    "quantile": NUMBER,
    "count": NUMBER,
}


@pytest.fixture(params=list(TARGETS))
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(task: str, tmp_path: Path, pipeline: Pipeline, meter: Meter) -> App:
    app = App("late", meter)
    app.hold(Engine(make_of_task(tmp_path / "1", pipeline, TARGETS[task]), FakeReader, meter))
    return app


def send(app: App, method: str, path: str, **kwargs: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            return await http.request(method, path, **kwargs)

    return asyncio.run(ask())


def wanted(app: App, **changed: Any) -> dict[str, list[Any]]:
    """What `/predict` says, as columns in row order; the second row may be changed."""
    rows = [ROWS[0], ROWS[1] | changed]
    told = send(app, "POST", "/late/predict", json={"rows": rows}).json()["predictions"]
    found = {name: [one[name] for one in told] for name in told[0]}
    if "probabilities" in found:
        found["probabilities"] = [one[name] for one in found["probabilities"] for name in CLASSES]
    return found


def texts(raw: bytes) -> list[str]:
    found = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        found.append(raw[4 : 4 + size].decode())
        raw = raw[4 + size :]
    return found


def elements(datatype: str, raw: bytes) -> list[Any]:
    return texts(raw) if datatype == "BYTES" else np.frombuffer(raw, {"FP64": "<f8", "BOOL": "?"}[datatype]).tolist()


def test_json_gives_what_the_metadata_states(app: App, task: str) -> None:
    stated = send(app, "GET", "/late/v2/models/late").json()["outputs"]
    assert [(one["name"], one["datatype"], one["shape"]) for one in stated] == STATED[task]
    told = send(app, "POST", INFER, json={"inputs": inputs()}).json()["outputs"]
    said = wanted(app, distance=50.0)
    for one, (name, datatype, shape) in zip(told, STATED[task], strict=True):
        assert (one["name"], one["datatype"], one["shape"]) == (name, datatype, [2, *shape[1:]])
        assert one["data"] == said[name]


def test_binary_tensors_say_the_same(app: App, task: str) -> None:
    answer = send(app, "POST", INFER, **raw_request(parameters={"binary_data_output": True}))
    length = int(answer.headers["inference-header-content-length"])
    told, tail, said = json.loads(answer.content[:length])["outputs"], answer.content[length:], wanted(app)
    for one, (name, datatype, _) in zip(told, STATED[task], strict=True):
        size = one["parameters"]["binary_data_size"]
        assert elements(datatype, tail[:size]) == said[name]
        tail = tail[size:]
    assert tail == b""


def test_grpc_says_the_same(app: App, task: str, meter: Meter) -> None:
    stated = over_grpc(app, meter, "ModelMetadata", name="late").outputs
    assert [(one.name, one.datatype, list(one.shape)) for one in stated] == STATED[task]
    answer, said = over_grpc(app, meter, "ModelInfer", **QUESTION), wanted(app)
    for one, raw, (name, datatype, shape) in zip(answer.outputs, answer.raw_output_contents, STATED[task], strict=True):
        assert (one.name, one.datatype, list(one.shape)) == (name, datatype, [2, *shape[1:]])
        assert elements(datatype, raw) == said[name]


def test_one_output_may_be_asked_for_and_that_of_another_task_is_none(app: App, task: str, meter: Meter) -> None:
    last = STATED[task][-1][0]
    told = send(app, "POST", INFER, json={"inputs": inputs(), "outputs": [{"name": last}]}).json()
    assert [one["name"] for one in told["outputs"]] == [last]
    over = over_grpc(app, meter, "ModelInfer", **QUESTION, outputs=[{"name": last}])
    assert [one.name for one in over.outputs] == [last]
    other = "probability" if task in ("regression", "quantile", "count") else "value"
    refused = send(app, "POST", INFER, json={"inputs": inputs(), "outputs": [{"name": other}]})
    assert (refused.status_code, "is not an output" in refused.json()["error"]) == (400, True)


@pytest.mark.parametrize("task", ["multiclass"])
def test_the_order_of_the_classes_is_told(app: App, meter: Meter) -> None:
    told = send(app, "POST", INFER, json={"inputs": inputs()}).json()["outputs"][-1]
    assert json.loads(told["parameters"]["classes"]) == list(CLASSES)
    over = over_grpc(app, meter, "ModelInfer", **QUESTION).outputs[-1]
    assert json.loads(over.parameters["classes"].string_param) == list(CLASSES)


@pytest.mark.parametrize("task", ["multiclass"])
def test_a_class_that_another_version_does_not_know_has_no_probability(app: App) -> None:
    assert app.engine is not None
    rows, _ = app.engine.parser.parse(json.dumps({"rows": ROWS}).encode())
    fewer = [one._replace(other={"probabilities": {"late": 0.75, "early": 0.25}}) for one in app.engine.predict(rows)]
    assert Outputs(TARGETS["multiclass"]).values("probabilities", fewer) == [0.75, 0.0, 0.0] * 2


@pytest.mark.parametrize("task", ["multiclass"])
def test_who_predicts_something_else_does_not_stand_beside_the_champion(
    app: App, tmp_path: Path, pipeline: Pipeline
) -> None:
    assert app.engine is not None
    other = Engine(make_of_task(tmp_path / "2", pipeline, TARGETS["regression"]), FakeReader, Meter())
    arm = Arm(version=2, role="challenger", ranges=())
    with pytest.raises(ServingError, match="predicts something else than the champion"):
        Router(app.engine, [(arm, other)])
    assert Router(other).champion is other
