"""Bundles with code in them, all well sealed: none of it is run, whatever it hides behind."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import numpy as np
import onnx
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from raypipe.contracts import bundle
from raypipe.errors import RaypipeError
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served
from raypipe.spec import Pipeline
from tests.serving.conftest import make_bundle
from tests.serving.reader import FakeReader

GOOD_ROW = np.zeros((1, 4), dtype=np.float32)


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, (f"open({str(self.mark)!r}, 'w').close()",))


def pickled(mark: Path, protocol: int = 4) -> bytes:
    return pickle.dumps(Bomb(mark), protocol)


def put(name: str, protocol: int = 4) -> Callable[[Path, Path], None]:
    return lambda folder, mark: (folder / name).write_bytes(pickled(mark, protocol)) and None


def hidden_in_json(name: str) -> Callable[[Path, Path], None]:
    """A pickle as a list of bytes or a text, wherever a value can stand."""

    def change(folder: Path, mark: Path) -> None:
        told = json.loads((folder / name).read_text())
        (folder / name).write_text(
            json.dumps(told | {"__reduce__": list(pickled(mark)), "extra": pickled(mark, 0).hex()})
        )

    return change


def expression(folder: Path, mark: Path) -> None:
    """A feature whose expression holds a Python function."""
    text = (folder / bundle.PIPELINE).read_text()
    calls = pl.col("carrier").map_elements(lambda _: mark.touch(), return_dtype=pl.String)
    told = json.dumps(calls.meta.serialize(format="json"))
    column = json.dumps(pl.col("carrier").meta.serialize(format="json"))
    assert column in text
    (folder / bundle.PIPELINE).write_text(text.replace(column, told))


def parquet(schema_metadata: dict[str, bytes], column_metadata: dict[str, bytes]) -> Callable[[Path, Path], None]:
    def change(folder: Path, mark: Path) -> None:
        table = pq.read_table(folder / bundle.GOLDEN)
        code = cloudpickle.dumps(Bomb(mark))
        fields = [f.with_metadata({k: v or code for k, v in column_metadata.items()} or None) for f in table.schema]
        schema = pa.schema(fields, metadata={k: v or code for k, v in schema_metadata.items()} or None)
        pq.write_table(table.cast(schema).append_column("more", pa.array([code] * len(table))), folder / bundle.GOLDEN)

    return change


def outside(location: str) -> Callable[[Path, Path], None]:
    def change(folder: Path, mark: Path) -> None:
        model = onnx.load(folder / bundle.MODEL)
        weights = model.graph.initializer[1]
        weights.ClearField("float_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=location)
        (folder / bundle.MODEL).write_bytes(model.SerializeToString())

    return change


def operator(domain: str, name: str) -> Callable[[Path, Path], None]:
    def change(folder: Path, mark: Path) -> None:
        model = onnx.load(folder / bundle.MODEL)
        model.opset_import.append(helper.make_opsetid(domain, 1))
        node = helper.make_node(name, ["x"], ["y"], domain=domain, code=pickled(mark))
        model.graph.node.insert(0, node)
        (folder / bundle.MODEL).write_bytes(model.SerializeToString())

    return change


def link(folder: Path, mark: Path) -> None:
    target = folder.parent / "elsewhere.onnx"
    target.write_bytes(pickled(mark))
    (folder / bundle.MODEL).unlink()
    (folder / bundle.MODEL).symlink_to(target)


BUNDLES: dict[str, Callable[[Path, Path], None]] = {
    "pickle as the model": put(bundle.MODEL),
    "old pickle as the model": put(bundle.MODEL, 0),
    "pickle as the golden rows": put(bundle.GOLDEN),
    "pickle as the signature": put(bundle.SIGNATURE),
    "pickle as the card": put(bundle.CARD),
    "pickle as the definition": put(bundle.PIPELINE),
    "a pickle beside it": put("model.pkl"),
    "joblib": put("model.joblib"),
    "torch": put("model.pt"),
    "a module": lambda folder, mark: (folder / "__init__.py").write_text(f"open({str(mark)!r}, 'w')") and None,
    "a library": put("model.so"),
    "MLflow's own file": lambda folder, mark: (
        (folder / "MLmodel").write_text("flavors: {python_function: {loader_module: os}}") and None
    ),
    "a path": lambda folder, mark: (folder / "start.pth").write_text(f"import os; open({str(mark)!r}, 'w')") and None,
    "a pickle in the signature": hidden_in_json(bundle.SIGNATURE),
    "a pickle in the card": hidden_in_json(bundle.CARD),
    "a Python function in an expression": expression,
    "weights elsewhere": outside("../../../../etc/passwd"),
    "weights at an address": outside("http://127.0.0.1:9/x"),
    "an operator that runs Python": operator("ai.onnx.contrib", "PyOp"),
    "an operator of torch": operator("org.pytorch.aten", "ATen"),
    "a link": link,
    "tensors pickled in Parquet": parquet({}, {"ARROW:extension:name": b"ray.data.arrow_pickled_object", "m": b""}),
    "pandas in Parquet": parquet({"pandas": b"", "ARROW:schema:x": b""}, {}),
}
#: Where nobody reads it: the bundle answers, and what lies there is not run.
UNREAD = {"a pickle in the signature", "a pickle in the card"}


def load(folder: Path, pipeline: Pipeline, change: Callable[[Path, Path], None], mark: Path) -> Engine:
    made = make_bundle(folder, pipeline)
    (folder / bundle.MANIFEST).unlink()
    change(folder, mark)
    try:
        digest = bundle.seal(folder)
    except RaypipeError:
        # What cannot even be sealed comes with a manifest of its own making.
        names = [path for path in folder.iterdir() if path.is_file()]
        stamps = {path.name: bundle._stamp(folder, path.name) for path in names if not path.is_symlink()}
        (folder / bundle.MANIFEST).write_text(bundle.Manifest(files=stamps).to_json())
        digest = bundle.Manifest(files=stamps).digest
    return Engine(Served(folder=made.folder, digest=digest, version=1), FakeReader, Meter())


@pytest.mark.parametrize("case", list(BUNDLES))
def test_nothing_in_it_is_run(tmp_path: Path, pipeline: Pipeline, case: str) -> None:
    mark, refused = tmp_path / "executed", False
    try:
        load(tmp_path / "bundle", pipeline, BUNDLES[case], mark).explain(GOOD_ROW)
    except RaypipeError:
        refused = True
    assert not mark.exists()
    assert refused == (case not in UNREAD)


def test_the_bomb_works(tmp_path: Path) -> None:
    pickle.loads(pickled(tmp_path / "executed"))
    assert (tmp_path / "executed").exists()
