"""A LightGBM model as an ONNX graph that decides exactly as LightGBM does, made from the model's own text.

LightGBM compares in double precision, ONNX in single: a threshold that is rounded up lets a value pass that did not
before. The largest float32 that is not above a threshold parts the float32 numbers exactly as the threshold does. And
a column without gaps in training takes NaN for zero, which ONNX does not know: here such nodes say where zero goes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from raypipe.contracts.bundle import SCORE
from raypipe.errors import TrainingError
from raypipe.training.onnx_model import IR, OPSET

#: The first opset of trees in which a node can ask for membership in a set of categories.
ML_OPSET = 5
AT_MOST, MEMBER = 0, 6

Ints = NDArray[np.int64]

#: From the sum of the leaves to the answer. Softmax takes the last axis, which is that of the classes.
_ENDS = {
    "binary": "Sigmoid",
    "multiclass": "Softmax",
    "regression": "Identity",
    "quantile": "Identity",
    "poisson": "Exp",
}


@dataclass
class _Ensemble:
    """The attributes of ONNX's TreeEnsemble, tree after tree; ids count over all trees."""

    roots: list[int] = field(default_factory=list)
    columns: list[Ints] = field(default_factory=list)
    kinds: list[Ints] = field(default_factory=list)
    splits: list[NDArray[np.float32]] = field(default_factory=list)
    sets: list[NDArray[np.float32]] = field(default_factory=list)
    missing: list[Ints] = field(default_factory=list)
    left: list[Ints] = field(default_factory=list)
    right: list[Ints] = field(default_factory=list)
    weights: list[NDArray[np.float64]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    nodes: int = 0
    leaves: int = 0

    def add(self, tree: dict[str, str]) -> None:
        """Take one tree of LightGBM's text: arrays over its nodes, where a negative child is a leaf's complement."""
        weights = _floats(tree["leaf_value"])
        if int(tree["num_leaves"]) == 1:
            # ONNX has no tree without a node: one whose two sides are the same leaf.
            tree = {
                "split_feature": "0",
                "threshold": "0",
                "decision_type": "8",
                "left_child": "-1",
                "right_child": "-1",
            }
        bits, thresholds = _ints(tree["decision_type"]), _floats(tree["threshold"])
        is_category, goes_left, knows_missing = bits & 1, bits >> 1 & 1, bits >> 2 & 3
        if (knows_missing == 1).any() or tree.get("is_linear", "0") != "0":
            what = "zero_as_missing and linear_tree cannot be expressed in ONNX"
            raise TrainingError(what, where="lightgbm", cure="Leave them out: the ONNX file is what serves")
        self.roots.append(self.nodes)
        self.columns.append(_ints(tree["split_feature"]))
        self.kinds.append(np.where(is_category, MEMBER, AT_MOST))
        self.splits.append(np.where(is_category, np.float32(0), _rounded_down(thresholds)))
        # A category is never NaN: what is missing has a code of its own.
        zero_goes_left = (thresholds >= 0.0).astype(np.int64)
        self.missing.append(np.where(is_category, 0, np.where(knows_missing, goes_left, zero_goes_left)))
        for number in thresholds[is_category == 1].astype(int):
            self.sets.append(_members(tree, number))
        for side, name in ((self.left, "left_child"), (self.right, "right_child")):
            child = _ints(tree[name])
            side.append(np.where(child < 0, child - self.leaves, child + self.nodes))
        self.weights.append(weights)
        self.sizes.append(len(weights))
        self.nodes, self.leaves = self.nodes + len(bits), self.leaves + len(weights)

    def node(self, scale: float, targets: int) -> onnx.NodeProto:
        """The operator: from ``x`` to ``odds``, the sum of one leaf of each tree, (rows, targets); trees by turns."""
        left, right = np.concatenate(self.left), np.concatenate(self.right)
        weights = np.concatenate(self.weights) * scale
        members = np.concatenate(self.sets) if self.sets else None
        sets = {} if members is None else {"membership_values": numpy_helper.from_array(members)}
        return helper.make_node(
            "TreeEnsemble",
            ["x"],
            ["odds"],
            domain="ai.onnx.ml",
            n_targets=targets,
            tree_roots=self.roots,
            nodes_featureids=np.concatenate(self.columns).tolist(),
            nodes_modes=numpy_helper.from_array(np.concatenate(self.kinds).astype(np.uint8)),
            nodes_splits=numpy_helper.from_array(np.concatenate(self.splits)),
            nodes_missing_value_tracks_true=np.concatenate(self.missing).tolist(),
            nodes_truenodeids=np.where(left < 0, ~left, left).tolist(),
            nodes_trueleafs=(left < 0).astype(int).tolist(),
            nodes_falsenodeids=np.where(right < 0, ~right, right).tolist(),
            nodes_falseleafs=(right < 0).astype(int).tolist(),
            leaf_weights=numpy_helper.from_array(weights.astype(np.float32)),
            leaf_targetids=np.repeat(np.arange(len(self.sizes)) % targets, self.sizes).tolist(),
            **sets,
        )


def as_onnx(text: str) -> onnx.ModelProto:
    """The graph of a booster, from `Booster.model_to_string`: ``x`` (rows, columns) to ``score``.

    Of classes the score is (rows, classes), else (rows,).

    Raises:
        TrainingError: the model uses something that ONNX cannot express.
    """
    head, *_ = text.partition("\nTree=")
    about = dict(line.partition("=")[::2] for line in head.split("\n"))
    if "average_output" in about:
        what = "a random forest cannot be expressed in ONNX"
        raise TrainingError(what, where="lightgbm", cure="Leave `boosting` as it is")
    ensemble = _Ensemble()
    for tree in _trees(text):
        ensemble.add(tree)
    objective, targets = about["objective"].split()[0], int(about["num_class"])
    steepness = float(about["objective"].partition("sigmoid:")[2].split()[0]) if objective == "binary" else 1.0
    shape: list[str | int] = ["rows"] if targets == 1 else ["rows", targets]
    columns = int(about["max_feature_idx"]) + 1
    graph = helper.make_graph(
        [
            ensemble.node(steepness, targets),
            helper.make_node(_ENDS[objective], ["odds"], ["answers" if targets == 1 else SCORE]),
            *([helper.make_node("Squeeze", ["answers", "last"], [SCORE])] if targets == 1 else []),
        ],
        "lightgbm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array([1]), "last")],
    )
    versions = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=IR)
    onnx.checker.check_model(model)
    return model


def _trees(text: str) -> Iterator[dict[str, str]]:
    for block in text.split("\nTree=")[1:]:
        lines = block.partition("\n\n")[0].split("\n")[1:]
        yield dict(line.partition("=")[::2] for line in lines)


def _ints(values: str) -> Ints:
    return np.array(values.split(), dtype=np.int64)


def _floats(values: str) -> NDArray[np.float64]:
    return np.array(values.split(), dtype=np.float64)


def _rounded_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each value."""
    single = values.astype(np.float32)
    return np.where(single > values, np.nextafter(single, np.float32(-np.inf)), single)


def _members(tree: dict[str, str], number: int) -> NDArray[np.float32]:
    """The categories of a tree's set, ended by NaN; the text holds them as the bits of 32-bit words."""
    bounds = _ints(tree["cat_boundaries"])
    words = np.array(tree["cat_threshold"].split(), dtype="<u4")[bounds[number] : bounds[number + 1]]
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")
    return np.append(np.flatnonzero(bits), np.nan).astype(np.float32)
