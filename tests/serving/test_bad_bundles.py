"""Bundles that must never answer: each is refused with the reason, and the version before answers every request."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from onnx import TensorProto, helper

from raypipe.contracts import bundle
from raypipe.serving import model as module
from raypipe.serving.app import Limits
from raypipe.serving.model import Served
from raypipe.serving.pointer import Pointer
from raypipe.serving.replica import Holding, Replica
from raypipe.spec import Pipeline
from tests.serving.conftest import make_bundle
from tests.serving.reader import FakeReader
from tests.serving.test_parse import GOOD


def write(path: Path, nodes: list[object], constants: list[object]) -> None:
    """A model from x (rows, 4) to a score a row."""
    tensors = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4]),
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"]),
    ]
    total = helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0)
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    graph = helper.make_graph([total, *nodes], "bad", tensors[:1], tensors[1:], [axis, *constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def hangs(path: Path) -> None:
    """A loop of 2^60 turns."""
    kinds = [("go", TensorProto.BOOL, []), ("kept", TensorProto.FLOAT, ["rows"])]
    inputs = [helper.make_tensor_value_info("turn", TensorProto.INT64, [])]
    inputs += [helper.make_tensor_value_info(f"{name}_in", kind, shape) for name, kind, shape in kinds]
    outputs = [helper.make_tensor_value_info(f"{name}_out", kind, shape) for name, kind, shape in kinds]
    nodes = [helper.make_node("Identity", [f"{name}_in"], [f"{name}_out"]) for name, _, _ in kinds]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    trips = helper.make_tensor("trips", TensorProto.INT64, [], [2**60])
    write(path, [helper.make_node("Loop", ["trips", "", "sum"], ["score"], body=body)], [trips])


def raises(path: Path) -> None:
    """Reads beyond the end of its input."""
    far = helper.make_tensor("far", TensorProto.INT64, [1], [10_000])
    write(path, [helper.make_node("Gather", ["sum", "far"], ["score"])], [far])


def altered(folder: Path, change: Callable[[Path], None]) -> None:
    """Another model under a manifest of its own, as a broken trainer would leave it."""
    change(folder / bundle.MODEL)
    (folder / bundle.MANIFEST).unlink()


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda f: (f / bundle.MODEL).write_bytes((f / bundle.MODEL).read_bytes()[:-9]), "is truncated"),
    "wrong digest": (lambda f: (f / bundle.MANIFEST).write_text("{}"), "its digest is not"),
    "raises": (lambda f: altered(f, raises), "cannot score its golden rows"),
    "hangs": (lambda f: altered(f, hangs), "does not score its golden rows within 0.5 seconds"),
}


@pytest.fixture
def replica(tmp_path: Path, served: Served) -> Replica:
    pointer = Pointer(tmp_path / "serving", "late")
    pointer.write(served)
    return Replica("late", FakeReader, pointer, Limits())


async def taken_under_load(replica: Replica, bad: Served) -> tuple[Holding, list[tuple[int, int]]]:
    """Take a version while others ask; what came of it, and status and version of each answer."""
    answers: list[tuple[int, int]] = []
    done = asyncio.Event()

    async def load() -> None:
        transport = httpx.ASGITransport(replica.__serve_build_asgi_app__())
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            while not done.is_set():
                answer = await client.post("/late/predict", json=GOOD)
                answers.append((answer.status_code, answer.json().get("version")))

    asking = asyncio.create_task(load())
    holding = Holding.from_json(await replica.take(bad.to_json()))
    done.set()
    await asking
    return holding, answers


@pytest.mark.parametrize("case", [*CASES, "NaN on golden rows"])
def test_it_is_refused_with_the_reason_and_the_old_one_answers(
    replica: Replica, served: Served, tmp_path: Path, pipeline: Pipeline, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GOLDEN_SECONDS", 0.5)
    nan = float("nan") if case == "NaN on golden rows" else 0.0
    bad = make_bundle(tmp_path / "bad", pipeline, bias=nan)
    spoil, reason = CASES.get(case, (lambda _: None, "4 of 4 golden rows get another score"))
    spoil(tmp_path / "bad")
    if not (tmp_path / "bad" / bundle.MANIFEST).exists():
        bad = Served(folder=bad.folder, digest=bundle.seal(tmp_path / "bad"), version=2)
    holding, answers = asyncio.run(taken_under_load(replica, bad))
    assert (holding.served, holding.refused) == (served, bad)
    assert reason in holding.reason
    assert set(answers) == {(200, served.version)}
