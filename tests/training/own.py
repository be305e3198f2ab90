"""A trainer as a user would write one."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Means:
    """The share of trues above and below the middle of each column, added up as odds."""

    def fit(self, task, params):
        x = np.nan_to_num(task.train.x)
        self.weights = float(params["strength"]) * np.corrcoef(x.T, task.train.y)[-1, :-1].astype(np.float32)
        return {}

    def predict(self, x):
        odds = np.nan_to_num(x) @ self.weights
        return (1 / (1 + np.exp(-odds))).astype(np.float32)

    def save(self, folder):
        (folder / "model.json").write_text(json.dumps(self.weights.tolist()))
        nodes = [
            helper.make_node("IsNaN", ["x"], ["gap"]),
            helper.make_node("Where", ["gap", "zero", "x"], ["filled"]),
            helper.make_node("MatMul", ["filled", "w"], ["odds"]),
            helper.make_node("Sigmoid", ["odds"], ["score"]),
        ]
        rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", len(self.weights)])
        score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"])
        held = [numpy_helper.from_array(self.weights, "w"), numpy_helper.from_array(np.float32(0), "zero")]
        graph = helper.make_graph(nodes, "means", [rows], [score], held)
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
        )


class Unsteady(Means):
    """Every fit gives another model."""

    def fit(self, task, params):
        super().fit(task, params)
        self.weights = self.weights * np.float32(1 + 0.01 * np.random.default_rng().random())
        return {}


class Lazy(Means):
    def predict(self, x):
        return np.full(len(x), 0.5, dtype=np.float32)


class Leaky(Means):
    def save(self, folder):
        super().save(folder)
        (folder / "model.pkl").write_bytes(b"")


class Signs(Means):
    """Leaves a note of the process that it works in."""

    def fit(self, task, params):
        Path(params["folder"], str(os.getpid())).touch()
        return super().fit(task, params)


class Stumbles(Means):
    def fit(self, task, params):
        raise ValueError("too few rows")


class Late(Means):
    """Does well in a trial, and otherwise in the last fits, of more than ``rows`` rows; or never does well."""

    def fit(self, task, params):
        how = params["how"]
        if how == "always":
            os._exit(3)
        last = task.tune is None and len(task.train.y) > params.get("rows", 0)
        self.nan = last and how == "nan"
        if last and how == "raise":
            raise ValueError("too many rows")
        if last and how == "hang":
            time.sleep(600)
        if last and how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().fit(task, params)

    def predict(self, x):
        return np.full(len(x), np.nan, dtype=np.float32) if self.nan else super().predict(x)
