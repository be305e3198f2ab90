"""Definitions as JSON and back. Reading one runs no code: only the classes named here can come out."""

import json
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeVar

from raypipe.errors import RaypipeError
from raypipe.spec import (
    agg,
    checks,
    expressions,
    features,
    files,
    finish,
    functions,
    live,
    log,
    pipeline,
    retrain,
    search,
    sources,
    split,
)
from raypipe.spec.values import FrozenMap, micros

T = TypeVar("T")

_CLASSES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        agg.Aggregate, checks.Check, expressions.Expression, features.Derived, features.Request, files.Files,
        finish.Finish, functions.RowFunction, live.Live, log.Log, pipeline.AtLeast, pipeline.Pipeline, search.Choice,
        search.Model, search.Range, search.Search, sources.Ask, sources.FeatureGroup, sources.Label, sources.Lookup,
        sources.Moment, sources.Stream, sources.Table, sources.TableFeatures, split.Periods, split.Shares,
        retrain.Age, retrain.AllOf, retrain.Drift, retrain.Errors, retrain.EstimatedLoss, retrain.Freeze,
        retrain.NewRows, retrain.Regret, retrain.Retrain, retrain.Rollout, retrain.Schedule, retrain.Slower,
        retrain.Failing, retrain.Worse, retrain.Relearn,
    )
}  # fmt: skip
_TYPES = {kind.__name__: kind for kind in files.POLARS_TYPES}


def to_json(value: object) -> str:
    """A definition as canonical JSON: equal definitions give equal texts, wherever they were written."""
    return json.dumps(_encode(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def from_json(text: str, kind: type[T]) -> T:
    """Read a definition back.

    Raises:
        RaypipeError: the text is not a definition of that kind, or it holds code.
    """
    try:
        value = _decode(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RaypipeError(f"is not one: {type(error).__name__} {error}", where="stored definition") from None
    if not isinstance(value, kind):
        raise RaypipeError(f"expected a {kind.__name__}, found a {type(value).__name__}", where="stored definition")
    return value


def fingerprint(value: object) -> str:
    """The first 16 hex digits of the SHA-256 of a definition's JSON: its name among all definitions.

    >>> from raypipe.spec import agg, hours
    >>> fingerprint(agg.mean("delay", hours(1))) == fingerprint(agg.mean("delay", hours(1)))
    True
    """
    return sha256(to_json(value).encode()).hexdigest()[:16]


def _encode(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        own = {f.name: _encode(getattr(value, f.name)) for f in fields(value) if f.name != "where"}
        return {"is": type(value).__name__, **own}
    if isinstance(value, FrozenMap):
        return {"is": "map", "items": [[key, _encode(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if isinstance(value, timedelta):
        return {"is": "duration", "us": micros(value)}
    if isinstance(value, datetime):
        return {"is": "time", "utc": value.isoformat()}
    if isinstance(value, type):
        return {"is": "type", "name": value.__name__}
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)  # 1.0 equals 1, so they have one text
    return value


def _decode(node: object) -> object:
    if isinstance(node, list):
        return tuple(_decode(item) for item in node)
    if not isinstance(node, dict):
        return node
    match node.pop("is"):
        case "map":
            return FrozenMap({key: _decode(item) for key, item in node["items"]})
        case "duration":
            return timedelta(microseconds=node["us"])
        case "time":
            return datetime.fromisoformat(node["utc"])
        case "type":
            return _TYPES[node["name"]]
        case name:
            return _build(name, {key: _decode(item) for key, item in node.items()})


def _build(name: str, content: dict[str, object]) -> object:
    """Make a value without its constructor: what was stored has been through it already."""
    kind = _CLASSES.get(name)
    if kind is not None:
        # A field that came later means, for what was stored before, what it means to those who leave it out.
        content = {f.name: f.default for f in fields(kind) if f.default is not MISSING} | content
    if kind is None or content.keys() != {field.name for field in fields(kind)} - {"where"}:
        what = f"unknown kind `{name}`" if kind is None else f"a {name} with other fields"
        raise RaypipeError(what, where="stored definition", cure="It was written by another version")
    value: object = object.__new__(kind)
    for key, item in (content | {"where": "stored"}).items():
        object.__setattr__(value, key, item)
    if isinstance(value, expressions.Expression) and value.has_python:
        raise RaypipeError("an expression holds code", where="stored definition", cure="It was not written by raypipe")
    if isinstance(value, functions.RowFunction):
        value.read_back()
    return value
