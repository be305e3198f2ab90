"""The Open Inference Protocol v2 on the wire, REST and gRPC: every call, binary tensors, raw outputs, errors."""

import asyncio
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray import cloudpickle

from raypipe.serving.app import App
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from raypipe.serving.oip_messages import message
from tests.serving.grpc_caller import COLUMNS, PIECES, QUESTION, grpc_inputs, over_grpc
from tests.serving.test_parse import GOOD

Open = Callable[[], httpx.AsyncClient]
INFER = "/late/v2/models/late/infer"
ROWS = [GOOD, GOOD | {"carrier": "AA", "flight": 2, "origin": "JFK", "charter": True, "distance": None}]


def send(client: Open, method: str, path: str, **kwargs: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with client() as http:
            return await http.request(method, path, **kwargs)

    return asyncio.run(ask())


def inputs(**changed: dict[str, Any]) -> list[dict[str, Any]]:
    made = [
        {"name": name, "datatype": kind, "shape": [2], "data": [None if v != v else v for v in values]}
        for name, (kind, values) in COLUMNS.items()
        if name != "distance"
    ]
    made.append({"name": "distance", "datatype": "FP32", "shape": [2, 1], "data": [[100.5], [50]]})
    return [one | changed.get(one["name"], {}) for one in made]


def binary(head: dict[str, Any], tail: bytes) -> dict[str, Any]:
    text = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"}
    return {"content": text + tail, "headers": headers}


def raw_request(**more: Any) -> dict[str, Any]:
    told = [
        {"name": n, "datatype": k, "shape": [2], "parameters": {"binary_data_size": len(PIECES[n])}}
        for n, (k, _) in COLUMNS.items()
    ]
    return binary({"inputs": told} | more, b"".join(PIECES.values()))


@pytest.fixture
def wanted(client: Open) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = send(client, "POST", "/late/predict", json={"rows": ROWS}).json()["predictions"]
    return found


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"live": True, "ready": True}),
        ("/v2/models/late/ready", {"name": "late", "ready": True}),
        ("/v2/models/late/versions/1/ready", {"name": "late", "ready": True}),
    ],
)
def test_health(client: Open, path: str, told: dict[str, object]) -> None:
    answer = send(client, "GET", f"/late{path}")
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (200, told, "application/json")


def test_metadata(client: Open) -> None:
    for path in ("/late/v2", "/late/v2/"):
        told = send(client, "GET", path).json()
        assert (told["name"], told["extensions"]) == ("raypipe", ["binary_tensor_data"])
    told = send(client, "GET", "/late/v2/models/late").json()
    assert told == send(client, "GET", "/late/v2/models/late/versions/1").json()
    assert (told["name"], told["versions"]) == ("late", ["1"])
    assert {"name": "scheduled_at", "datatype": "INT64", "shape": [-1]} in told["inputs"]
    assert [output["name"] for output in told["outputs"]] == ["probability", "label"]


def test_json_tensors(client: Open, wanted: list[dict[str, Any]]) -> None:
    told = send(client, "POST", INFER, json={"id": "mine", "inputs": inputs()}).json()
    assert (told["model_name"], told["model_version"], told["id"]) == ("late", "1", "mine")
    probability, label = told["outputs"]
    assert (probability["name"], probability["datatype"], probability["shape"]) == ("probability", "FP64", [2])
    assert probability["data"][0] == wanted[0]["probability"]
    assert label["data"] == [p >= 0.5 for p in probability["data"]]


@pytest.mark.parametrize("whole", [True, False])
def test_binary_tensors_in_and_out(client: Open, wanted: list[dict[str, Any]], whole: bool) -> None:
    outputs = [{"name": "label"}, {"name": "probability", "parameters": {"binary_data": True}}]
    more: dict[str, Any] = {"parameters": {"binary_data_output": True}} if whole else {"outputs": outputs}
    answer = send(client, "POST", INFER, **raw_request(**more))
    length = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    told, tail = json.loads(answer.content[:length]), answer.content[length:]
    scores = np.frombuffer(tail[:16], "<f8")
    assert scores.tolist() == [one["probability"] for one in wanted]
    if whole:
        assert np.frombuffer(tail[16:], "?").tolist() == [one["label"] for one in wanted]
    else:
        assert told["outputs"][0] == {
            "name": "label",
            "datatype": "BOOL",
            "shape": [2],
            "data": [one["label"] for one in wanted],
        }


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no inputs": ({"inputs": []}, "5 inputs are missing"),
    "nothing": ({}, "lacks `inputs`"),
    "unknown key": ({"inputs": [], "x": 1}, "does not belong there"),
    "unknown input": ({"inputs": [*inputs(), inputs()[0] | {"name": "x"}]}, "not an input"),
    "twice": ({"inputs": [*inputs(), inputs()[0]]}, "stands twice"),
    "unknown output": ({"inputs": inputs(), "outputs": [{"name": "x"}]}, "not an output"),
    "datatype": ({"inputs": inputs(flight={"datatype": "INT65"})}, "not a datatype"),
    "other datatype": ({"inputs": inputs(flight={"datatype": "FP64"})}, "must be INT"),
    "huge shape": ({"inputs": inputs(flight={"shape": [2**62]})}, "4096 are allowed"),
    "beyond 64 bits": ({"inputs": inputs(flight={"shape": [2**70]})}, "shape"),
    "negative shape": ({"inputs": inputs(flight={"shape": [-1]})}, "must be [rows]"),
    "zero shape": ({"inputs": inputs(flight={"shape": [0]})}, "must be [rows]"),
    "two columns": ({"inputs": inputs(flight={"shape": [1, 2]})}, "must be [rows]"),
    "too few": ({"inputs": inputs(flight={"data": [1]})}, "must hold 2 elements"),
    "ragged": ({"inputs": inputs(flight={"data": [[1], 2]})}, "must be flat"),
    "text for number": ({"inputs": inputs(flight={"data": ["1", 2]})}, "must be a whole number"),
    "other length": ({"inputs": inputs(flight={"shape": [1], "data": [1]})}, "another number of rows"),
    "time beyond": ({"inputs": inputs(scheduled_at={"data": [2**62, 0]})}, "out of range"),
    "long text": ({"inputs": inputs(carrier={"data": ["x" * 1_001, ""]})}, "at most 1000"),
    "naive time": (
        {"inputs": inputs(scheduled_at={"datatype": "BYTES", "data": ["2013-06-01T10:00:00", ""]})},
        "with a zone",
    ),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_request_is_one_text(client: Open, case: str) -> None:
    body, said = WRONG[case]
    answer = send(client, "POST", INFER, json=body)
    assert answer.status_code in (400, 413)
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


def test_other_models_versions_paths_and_bodies(client: Open) -> None:
    for path in (
        "models/other",
        "models/other/ready",
        "models/late/versions/2",
        "models/late/versions/x/ready",
        "nope",
    ):
        answer = send(client, "GET", f"/late/v2/{path}")
        assert (answer.status_code, list(answer.json())) == (404, ["error"])
    assert (
        send(client, "POST", INFER.replace("infer", "versions/7/infer"), json={"inputs": inputs()}).status_code == 404
    )
    assert send(client, "GET", INFER).status_code == 405
    for content in (
        b"{",
        b"[" * 60_000,
        b'{"inputs":[],"inputs":[]}',
        b'{"inputs": NaN}',
        b'{"id": "\\ud800"}',
        b"\xff",
    ):
        answer = send(client, "POST", INFER, content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
    deep = b'{"inputs":[{"name":"carrier","shape":[1],"datatype":"BYTES","data":' + b"[" * 9_000 + b"]" * 9_000 + b"}]}"
    assert send(client, "POST", INFER, content=deep, headers={"Content-Type": "application/json"}).status_code == 400
    assert send(client, "POST", INFER, content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    for length in ("9999999", "-1", "x", "9" * 400):
        headers = {"Inference-Header-Content-Length": length}
        assert send(client, "POST", INFER, content=b"{}", headers=headers).status_code == 400
    assert send(client, "POST", INFER, **raw_request(), params={}).status_code == 200
    longer = raw_request()
    assert send(client, "POST", INFER, **(longer | {"content": longer["content"] + b"x"})).status_code == 400


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_raw_bytes_of_any_kind_are_answered_or_refused(app: App, data: st.DataObject) -> None:
    whole = bytearray(raw_request()["content"])
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    length = data.draw(
        st.integers(0, len(whole) + 3) | st.just(int(raw_request()["headers"]["Inference-Header-Content-Length"]))
    )
    headers = {"Inference-Header-Content-Length": str(length)}
    open_ = lambda: httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")  # noqa: E731
    answer = send(open_, "POST", INFER, content=bytes(whole), headers=headers)
    assert answer.status_code in (200, 400, 404, 413)


def test_grpc_health_and_metadata(app: App, meter: Meter, client: Open) -> None:
    assert over_grpc(app, meter, "ServerLive").live
    assert over_grpc(app, meter, "ServerReady").ready
    assert over_grpc(app, meter, "ModelReady", name="late", version="1").ready
    assert over_grpc(app, meter, "ServerMetadata").extensions == ["binary_tensor_data"]
    told = over_grpc(app, meter, "ModelMetadata", name="late")
    rest = send(client, "GET", "/late/v2/models/late").json()
    assert [(one.name, one.datatype, list(one.shape)) for one in told.inputs] == [
        (one["name"], one["datatype"], one["shape"]) for one in rest["inputs"]
    ]
    assert not over_grpc(App("late", meter), meter, "ServerReady").ready
    assert over_grpc(App("late", meter), meter, "ModelMetadata", name="late").code() is grpc.StatusCode.UNAVAILABLE


def test_grpc_raw_and_typed_contents(app: App, meter: Meter, wanted: list[dict[str, Any]]) -> None:
    told = over_grpc(app, meter, "ModelInfer", **QUESTION, id="x")
    assert (told.model_name, told.model_version, told.id) == ("late", "1", "x")
    assert np.frombuffer(told.raw_output_contents[0], "<f8").tolist() == [one["probability"] for one in wanted]
    assert np.frombuffer(told.raw_output_contents[1], "?").tolist() == [one["label"] for one in wanted]
    kinds = {"BYTES": "bytes_contents", "INT64": "int64_contents", "BOOL": "bool_contents", "FP32": "fp32_contents"}
    typed = [
        one | {"contents": {kinds[kind]: [v.encode() if kind == "BYTES" else v for v in values]}}
        for one, (kind, values) in zip(grpc_inputs(), COLUMNS.values(), strict=True)
    ]
    asked = {"model_name": "late", "inputs": typed, "outputs": [{"name": "probability"}]}
    again = over_grpc(app, meter, "ModelInfer", **asked)
    assert list(again.raw_output_contents) == [told.raw_output_contents[0]]
    both = over_grpc(app, meter, "ModelInfer", **asked, raw_input_contents=list(PIECES.values()))
    assert both.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_request_goes_from_serves_own_proxy_to_a_replica_in_another_process() -> None:
    """That proxy answers while HAProxy knows of no replica: it pickles what it was sent."""
    asked = message("ModelInferRequest")(**QUESTION)
    assert pickle.loads(cloudpickle.dumps(asked)) == asked


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"model_name": "other"}, "NOT_FOUND", "is not a model here"),
        ({"model_name": "late", "model_version": "9"}, "NOT_FOUND", "not the version"),
        ({"model_name": "late"}, "INVALID_ARGUMENT", "5 inputs are missing"),
        ({"model_name": "late", "inputs": grpc_inputs(), "raw_input_contents": [b""]}, "INVALID_ARGUMENT", "1 pieces"),
        (
            {"model_name": "late", "inputs": grpc_inputs(carrier={"shape": [2**40]}), "raw_input_contents": [b""] * 6},
            "INVALID_ARGUMENT",
            "4096 are allowed",
        ),
        (
            {"model_name": "late", "inputs": grpc_inputs(), "raw_input_contents": [b"\xff\xff\xff\xff"] * 6},
            "INVALID_ARGUMENT",
            "inputs.carrier",
        ),
    ],
)
def test_grpc_errors(app: App, meter: Meter, fields: dict[str, Any], code: str, said: str) -> None:
    error = over_grpc(app, meter, "ModelInfer", **fields)
    assert (error.code().name, said in error.details()) == (code, True), error.details()
    assert sum(meter.counts()["refused"].values()) == 1


def test_a_fault_inside_tells_nothing(app: App, meter: Meter, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_scorer", replace(engine._scorer, score=lambda _: 1 / 0))
    error = over_grpc(app, meter, "ModelInfer", **QUESTION)
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "server: failed to answer")
