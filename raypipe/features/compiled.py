"""Row logic for single rows: a Polars expression as a Python function of a row, where both certainly agree.

Polars plans each call anew, which takes about 30 microseconds an expression, whatever the number of rows. The
expression stays the only definition: its own JSON is what is translated, Polars is asked for the type of every step,
and what came of it is only used once it has given the same as Polars for a few hundred rows of awkward values. Whatever
has no counterpart here, or does not agree, is left to Polars.
"""

import io
import json
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import polars as pl
from polars.exceptions import PolarsError

from raypipe.features.clocks import DAY, offsets, parts
from raypipe.features.probes import agrees
from raypipe.features.scalars import (
    INTEGERS,
    Function,
    Made,
    UnknownError,
    alike,
    as_float,
    both,
    calculated,
    cast,
    clipped,
    compared,
    constant,
    divided,
    first_there,
    is_time,
    joined,
    of,
    to,
    unless_null,
    wrapped,
    wrapping,
)
from raypipe.features.single import Value
from raypipe.spec import Expression, RowFunction
from raypipe.spec.files import POLARS_TYPES

#: A part of an expression's JSON.
Node: TypeAlias = Any

_COMPARE = {
    "Eq": operator.eq, "NotEq": operator.ne, "Lt": operator.lt, "LtEq": operator.le, "Gt": operator.gt,
    "GtEq": operator.ge,
}  # fmt: skip
_CALCULATE = {"Plus": operator.add, "Minus": operator.sub, "Multiply": operator.mul}
_OF_DATES = ("WeekDay", "OrdinalDay", "Day", "Month", "Year")
#: Both call the C library; what Python refuses is left to Polars.
_BY_LIBRARY = {"Sqrt": math.sqrt, "Exp": math.exp, "Log1p": math.log1p, "Sin": math.sin, "Cos": math.cos}
#: How many microseconds the parts of a length of time have.
_LENGTHS = {
    "TotalMicroseconds": 1, "TotalMilliseconds": 1_000, "TotalSeconds": 1_000_000, "TotalMinutes": 60_000_000,
    "TotalHours": 3_600_000_000, "TotalDays": 86_400_000_000,
}  # fmt: skip


def compiled(expression: Expression, kinds: Mapping[str, pl.DataType], places: Mapping[str, int]) -> Function | None:
    """A function of a row that gives what the expression gives, or None.

    Args:
        expression: elementwise.
        kinds: the types of the columns that it may read.
        places: where in a row they are.
    """
    if isinstance(expression, RowFunction):
        return _called(expression, kinds, places)
    try:
        made, _ = _Translator(kinds, places).node(json.loads(expression.text))
        ok = agrees(made, expression.polars, {root: kinds[root] for root in expression.roots}, places)
    except (UnknownError, PolarsError, LookupError, TypeError):
        return None
    return made if ok else None


def _called(function: RowFunction, kinds: Mapping[str, pl.DataType], places: Mapping[str, int]) -> Function | None:
    """A Python function of a row, if it takes and gives plain values; times are made for it by Polars."""
    if any(kinds[name].is_temporal() for name in function.columns) or POLARS_TYPES[function.returns].is_temporal():
        return None
    wanted = [places[name] for name in function.columns]
    return lambda row: function(*[row[place] for place in wanted])


class _Translator:
    """Turns the nodes of an expression's JSON into functions, from the inside out."""

    def __init__(self, kinds: Mapping[str, pl.DataType], places: Mapping[str, int]) -> None:
        self._schema, self._places = pl.LazyFrame(schema=kinds), places

    def node(self, node: Node) -> Made:
        """One node, and its type."""
        name, content = next(iter(node.items()))
        match name:
            case "Column":
                return operator.itemgetter(self._places[content]), self._kind(node)
            case "Alias":
                return self.node(content[0])
            case "Literal":
                return constant(_literal(content)), self._kind(node)
            case "BinaryExpr":
                return self._binary(content, self._kind(node))
            case "Cast":
                return cast(self.node(content["expr"]), self._kind(node))
            case "Ternary":
                return self._ternary(content, self._kind(node))
            case "Function":
                return self._function(content, self._kind(node))
            case _:
                raise UnknownError

    def _kind(self, node: Node) -> pl.DataType:
        return self._schema.select(_expression(node).alias("it")).collect_schema()["it"]

    def _binary(self, content: Node, kind: pl.DataType) -> Made:
        op, (left, right) = content["op"], (self.node(content["left"]), self.node(content["right"]))
        if op in ("And", "Or"):
            return both(op, of(left, pl.Boolean()), of(right, pl.Boolean())), kind
        if op in _COMPARE:
            return compared(_COMPARE[op], *alike(left, right)), kind
        if kind == pl.Float64():
            a, b = as_float(left), as_float(right)
            if op == "TrueDivide" and "Literal" in content["right"]:
                # Polars multiplies a column by what one over the number is.
                return calculated(operator.mul, a, constant(divided(1.0, b(())))), kind
            return calculated(divided if op == "TrueDivide" else _CALCULATE[op], a, b), kind
        if (bits := INTEGERS.get(kind)) and left[1] in INTEGERS and right[1] in INTEGERS:
            return calculated(wrapping(_CALCULATE[op], bits), left[0], right[0]), kind
        if is_time(kind) and is_time(left[1]) and is_time(right[1]) and op in ("Plus", "Minus"):
            return calculated(wrapping(_CALCULATE[op], 64), left[0], right[0]), kind
        raise UnknownError

    def _ternary(self, content: Node, kind: pl.DataType) -> Made:
        asked = of(self.node(content["predicate"]), pl.Boolean())
        yes, no = (to(self.node(content[name]), kind) for name in ("truthy", "falsy"))
        return (lambda row: yes(row) if asked(row) else no(row)), kind

    def _function(self, content: Node, kind: pl.DataType) -> Made:
        named = content["function"]
        pair: tuple[str, Node] = (named, None) if isinstance(named, str) else next(iter(named.items()))
        name, detail = pair
        if detail == {"IsIn": {"nulls_equal": False}}:
            return self._among(*content["input"]), kind
        inputs = [self.node(one) for one in content["input"]]
        if name in ("FillNull", "Coalesce"):
            return first_there([to(one, kind) for one in inputs]), kind
        if name == "Abs" and (kind == pl.Float64() or kind in INTEGERS):
            bits = INTEGERS.get(kind)
            return unless_null(lambda v: wrapped(abs(v), bits) if bits else abs(v), of(inputs[0], kind)), kind
        if name == "Negate" and kind == pl.Float64():
            return unless_null(operator.neg, of(inputs[0], kind)), kind
        if (work := _BY_LIBRARY.get(name if detail is None else str(detail))) and inputs[0][1] == pl.Float64():
            return unless_null(work, inputs[0][0]), kind
        if name == "Clip" and kind == pl.Float64():
            return clipped(detail, [as_float(one) for one in inputs]), kind
        if name == "Boolean":
            return self._truth(detail, inputs), kind
        if name == "TemporalExpr":
            return _temporal(detail, inputs[0]), kind
        if name == "StringExpr" and "ConcatHorizontal" in detail and not detail["ConcatHorizontal"]["ignore_nulls"]:
            return joined(detail["ConcatHorizontal"]["delimiter"], [of(one, pl.String()) for one in inputs]), kind
        raise UnknownError

    def _among(self, asked: Node, among: Node) -> Function:
        value, kind = self.node(asked)
        if "Literal" not in among or kind == pl.Float64():
            raise UnknownError
        listed = pl.select(_expression(among).alias("it"))["it"].explode()
        if listed.dtype != kind or listed.null_count():
            raise UnknownError
        return unless_null(frozenset(listed.to_physical().to_list()).__contains__, value)

    def _truth(self, detail: Node, inputs: list[Made]) -> Function:
        value, kind = inputs[0]
        if detail == "IsNull":
            return lambda row: value(row) is None
        if detail == "IsNotNull":
            return lambda row: value(row) is not None
        if detail == "Not":
            return unless_null(operator.not_, of(inputs[0], pl.Boolean()))
        if kind == pl.Float64() and isinstance(detail, str):
            tests: dict[str, Callable[[float], bool]] = {
                "IsNan": math.isnan,
                "IsNotNan": lambda v: v == v,
                "IsFinite": math.isfinite,
                "IsInfinite": math.isinf,
            }
            return unless_null(tests[detail], value)
        if isinstance(detail, dict) and "IsBetween" in detail:
            closed = detail["IsBetween"]["closed"]
            low = _COMPARE["GtEq" if closed in ("Both", "Left") else "Gt"]
            high = _COMPARE["LtEq" if closed in ("Both", "Right") else "Lt"]
            return both(
                "And", compared(low, *alike(inputs[0], inputs[1])), compared(high, *alike(inputs[0], inputs[2]))
            )
        raise UnknownError


def _expression(node: Node) -> pl.Expr:
    return pl.Expr.deserialize(io.StringIO(json.dumps(node)), format="json")


def _literal(content: Node) -> Value:
    name, value = next(iter(content.items()))
    if name == "Dyn":
        (value,) = value.values()
    elif name == "Scalar" and isinstance(value, dict):
        ((name, value),) = value.items()
        if name == "Null":
            return None
    if isinstance(value, bool | int | float | str):
        return value
    raise UnknownError


def _temporal(detail: Node, made: Made) -> Function:
    value, kind = made
    if kind == pl.Date() and detail in _OF_DATES:
        part = parts[detail]
        return unless_null(lambda day: part(day * DAY), value)
    if not is_time(kind):
        raise UnknownError
    if isinstance(kind, pl.Datetime) and isinstance(detail, dict) and "ConvertTimeZone" in detail:
        return value
    if isinstance(kind, pl.Datetime) and detail in parts:
        part = parts[detail]
        if kind.time_zone in (None, "UTC"):
            return unless_null(part, value)
        offset = offsets(kind.time_zone)
        return unless_null(lambda time: part(time + offset(time)), value)
    if isinstance(kind, pl.Duration) and isinstance(detail, dict):
        name, said = next(iter(detail.items()))
        if said == {"fractional": False}:
            length = _LENGTHS[name]
            return unless_null(lambda span: span // length if span >= 0 else -(-span // length), value)
    raise UnknownError
