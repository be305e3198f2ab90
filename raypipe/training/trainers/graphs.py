"""Several ONNX models in one file: what serves, exports and checks one model does the same for them."""

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, version_converter
from onnx.compose import add_prefix

from raypipe.contracts.bundle import SCORE
from raypipe.contracts.target import Target
from raypipe.training.onnx_model import IR, OPSET

ML = "ai.onnx.ml"


def mean(models: Sequence[onnx.ModelProto], shares: Sequence[float], target: Target) -> onnx.ModelProto:
    """A model whose score is the sum of the others' scores, each times its share."""
    parts = [_named(model, number) for number, model in enumerate(models)]
    nodes = [helper.make_node("Identity", ["x"], [f"p{number}_x"]) for number in range(len(parts))]
    nodes += [node for part in parts for node in part.graph.node]
    constants = [constant for part in parts for constant in part.graph.initializer]
    for number, share in enumerate(shares):
        constants.append(numpy_helper.from_array(np.array(share, dtype=np.float32), f"share{number}"))
        nodes.append(helper.make_node("Mul", [f"p{number}_{SCORE}", f"share{number}"], [f"weighed{number}"]))
    nodes.append(helper.make_node("Sum", [f"weighed{number}" for number in range(len(parts))], [SCORE]))
    return _model(nodes, constants, parts, target)


def route(models: Sequence[onnx.ModelProto], column: int, codes: Sequence[int], target: Target) -> onnx.ModelProto:
    """A model that hands each row to one of the others.

    Rows whose value in ``column`` is ``codes[i]`` go to ``models[i + 1]``, all others to the first. Models that no row
    goes to do not run, so a single row costs what its own model costs.
    """
    parts = [_named(model, number) for number, model in enumerate(models)]
    width = len(target.classes)
    numbers: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.int64]]] = {
        "column": np.array(column, dtype=np.int64),
        "codes": np.array(codes, dtype=np.float32),
        "last": np.array([1], dtype=np.int64),
        "rows_only": np.array([0], dtype=np.int64),
        "width": np.array([width] if width else [], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["x", "column"], ["value"], axis=1),
        helper.make_node("Unsqueeze", ["value", "last"], ["values"]),
        helper.make_node("Equal", ["values", "codes"], ["is_own"]),  # (rows, codes)
        helper.make_node("Cast", ["is_own"], ["is_own_number"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["is_own_number", "last"], ["has_own"], keepdims=0),
        helper.make_node("ArgMax", ["is_own_number"], ["which"], axis=1, keepdims=0),
        helper.make_node("Add", ["which", "last"], ["own_model"]),
        helper.make_node("Mul", ["own_model", "has_own"], ["model"]),
        helper.make_node("Shape", ["values"], ["all"], start=0, end=1),
        helper.make_node("Concat", ["all", "width"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["scores0"]),
    ]
    for number, part in enumerate(parts):
        numbers[f"number{number}"] = np.array(number, dtype=np.int64)
        nodes += _hand_over(part, number, SCORE if number == len(parts) - 1 else f"scores{number + 1}", target)
    constants = [numpy_helper.from_array(value, name) for name, value in numbers.items()]
    return _model(nodes, constants, parts, target)


def _hand_over(part: onnx.ModelProto, number: int, output: str, target: Target) -> list[onnx.NodeProto]:
    """Put a part's scores of its own rows into the scores so far, if it has any rows."""
    before, rows = f"scores{number}", f"rows{number}"
    inside = [
        helper.make_node("Squeeze", [rows, "rows_only"], [f"places{number}"]),
        helper.make_node("Gather", ["x", f"places{number}"], [f"p{number}_x"], axis=0),
        *part.graph.node,
        helper.make_node("Transpose", [rows], [f"indices{number}"]),
        helper.make_node("ScatterND", [before, f"indices{number}", f"p{number}_{SCORE}"], [f"then{number}"]),
    ]
    then = helper.make_graph(inside, f"own{number}", [], [_scores(f"then{number}", target)], part.graph.initializer)
    nobody = [helper.make_node("Identity", [before], [f"else{number}"])]
    otherwise = helper.make_graph(nobody, f"other{number}", [], [_scores(f"else{number}", target)])
    return [
        helper.make_node("Equal", ["model", f"number{number}"], [f"mine{number}"]),
        helper.make_node("NonZero", [f"mine{number}"], [rows]),  # (1, rows of its own)
        helper.make_node("Size", [rows], [f"count{number}"]),
        helper.make_node("Cast", [f"count{number}"], [f"any{number}"], to=TensorProto.BOOL),
        helper.make_node("If", [f"any{number}"], [output], then_branch=then, else_branch=otherwise),
    ]


def _named(model: onnx.ModelProto, number: int) -> onnx.ModelProto:
    """A model whose names are its own; its input is ``p{number}_x``."""
    version = next(o.version for o in model.opset_import if o.domain == "")
    if version != OPSET:
        model = version_converter.convert_version(model, OPSET)
    model = inliner.inline_local_functions(model)
    return add_prefix(model, f"p{number}_")


def _model(
    nodes: Iterable[onnx.NodeProto],
    constants: Iterable[onnx.TensorProto],
    parts: Sequence[onnx.ModelProto],
    target: Target,
) -> onnx.ModelProto:
    versions = {o.domain: o.version for part in parts for o in sorted(part.opset_import, key=lambda o: o.version)}
    newest = {
        domain: max(o.version for part in parts for o in part.opset_import if o.domain == domain) for domain in versions
    }
    columns = parts[0].graph.input[0].type.tensor_type.shape.dim[1].dim_value or "columns"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", columns])
    graph = helper.make_graph(list(nodes), "models", [x], [_scores(SCORE, target)], list(constants))
    imports = [helper.make_opsetid(domain, version) for domain, version in sorted(newest.items())]
    model = helper.make_model(graph, opset_imports=imports, ir_version=IR)
    onnx.checker.check_model(model)
    return model


def _scores(name: str, target: Target) -> onnx.ValueInfoProto:
    shape: list[str | int | None] = ["rows", len(target.classes)] if target.classes else ["rows"]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
