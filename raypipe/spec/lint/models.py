"""Rules about the algorithms of a search: that they are there, and take what they are given."""

import ast
import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from math import isfinite, isinf
from pathlib import Path

from raypipe.errors import Fault, did_you_mean
from raypipe.spec.parameters import LIMITS, PARAMETERS
from raypipe.spec.search import Choice, Model, Parameter, Range

ALGORITHMS = frozenset({"lightgbm", "network", "linear"})
OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def model_faults(model: Model) -> Iterator[Fault]:
    """What is wrong with an algorithm of a search and its parameters."""
    if model.algorithm not in ALGORITHMS and not OWN.fullmatch(model.algorithm):
        yield Fault(model.where, f"unknown algorithm `{model.algorithm}`", did_you_mean(model.algorithm, ALGORITHMS))
    if OWN.fullmatch(model.algorithm):
        yield from own_faults(model.algorithm, model.where)
    if not (model.cpus > 0 and model.gpus >= 0):
        what = f"a trial of {model.algorithm} on {model.cpus:g} cores and {model.gpus:g} GPUs cannot run"
        yield Fault(model.where, what, "Give `cpus` above 0, and `gpus` of 0 or more")
    workers = model.params.get("workers", 1)
    if model.algorithm == "network" and not isinstance(workers, int):
        yield Fault(model.where, "the number of a network's `workers` is not searched", "Give a whole number from 1 on")
    known = PARAMETERS.get(model.algorithm)
    for name, value in model.params.items():
        if known is not None:
            yield from _parameter(model, name, value, known)
        if isinstance(value, Range) and (isinf(value.low) or isinf(value.high)):
            cure = "Give two numbers that can be reached"
            yield Fault(value.where, f"{model.algorithm}: the range of `{name}` has no end", cure)
        elif isinstance(value, Range) and not (value.low < value.high and (value.low > 0 or not value.log)):
            why = "Give low < high; on a logarithmic scale low > 0"
            yield Fault(value.where, f"{model.algorithm}: the range of `{name}` holds nothing", why)
        if isinstance(value, Choice) and not value.options:
            yield Fault(value.where, f"{model.algorithm}: `{name}` has nothing to choose from", "Give an option")


def _parameter(model: Model, name: str, value: Parameter, known: Mapping[str, str]) -> Iterator[Fault]:
    """A parameter is one that the algorithm has, and a number where it takes one."""
    if name not in known:
        # One of its main names, where one is near: of the others there are many.
        near = did_you_mean(name, known.values())
        cure = near if near.startswith("Did") else did_you_mean(name, known)
        yield Fault(model.where, f"{model.algorithm} takes no parameter `{name}`", cure)
        return
    if sum(known.get(other) == known[name] for other in model.params) > 1 and name != known[name]:
        yield Fault(model.where, f"{model.algorithm}: `{known[name]}` is given twice, by two names", "Keep one of them")
    bounds = (value.low, value.high) if isinstance(value, Range) else ()
    tried = value.options if isinstance(value, Choice) else bounds or (value,)
    where = getattr(value, "where", model.where)
    limits = LIMITS.get(known[name])
    if limits is None:
        return
    if wrong := [one for one in tried if isinstance(one, bool | str)]:
        yield Fault(where, f"{model.algorithm}: `{name}` is a number, not {wrong[0]!r}", "Give numbers")
    elif limits.whole and (
        (isinstance(value, Range) and not value.whole) or any(isfinite(one) and one != int(one) for one in tried)  # type: ignore[arg-type]
    ):
        yield Fault(where, f"{model.algorithm}: `{name}` is a whole number", "Write a range as `integer(low, high)`")
    elif beyond := [one for one in tried if not limits.hold(one)]:  # type: ignore[arg-type]
        yield Fault(where, f"{model.algorithm}: `{name}` cannot be {beyond[0]:g}", f"It is {limits}")


def own_faults(own: str, where: str) -> Iterator[Fault]:
    """A user's own trainer or metric is in a module that Python finds; the module itself is read, and not run."""
    module, _, name = own.partition(":")
    try:
        there = find_spec(module)
    except (ImportError, ValueError):  # a package in its path is not there, or is broken
        there = None
    if there is not None:
        names = _names(Path(there.origin or ""))
        if names is not None and name not in names:
            yield Fault(where, f"`{module}` has no `{name}`", did_you_mean(name, names) or "Write it there")
    else:
        cure = "Install it, or put its folder into PYTHONPATH: here, and wherever trials run"
        yield Fault(where, f"the module of `{own}` is not found", cure)


def _names(file: Path) -> set[str] | None:
    """What a module defines or imports at its top, by name; None where only running it would tell."""
    if file.suffix != ".py" or not file.is_file():
        return None
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return None
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            stored = (part for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))
            names |= {part.id for part in stored}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif not isinstance(node, ast.Expr):
            return None  # a name may be set in a branch or a loop
    return None if names & {"*", "__getattr__"} else names
