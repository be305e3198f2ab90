"""Rules about what the model sees: columns that exist, that are known in time, and that can be computed alike twice."""

from collections.abc import Iterator

import polars as pl
from polars.exceptions import PolarsError

from raypipe.errors import Fault, did_you_mean
from raypipe.spec.agg import Aggregate
from raypipe.spec.expressions import Expression
from raypipe.spec.features import Derived, Request
from raypipe.spec.lint.groups import asked_field, meant
from raypipe.spec.lint.sources import Columns, beyond, columns, same_type, type_of, unknown
from raypipe.spec.pipeline import Inputs, Pipeline
from raypipe.spec.shape import is_known_at, known_from
from raypipe.spec.sources import FeatureGroup, TableFeatures
from raypipe.spec.values import in_words

#: Columns that stand beside features in files: the label of a training row, the score of a golden row.
RESERVED = frozenset({"label", "score"})


def request_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """There is one request; its fields are known when a prediction is asked; its features read them alone."""
    requests = [item for item in pipeline.inputs if isinstance(item, Request)]
    if len(requests) != 1:
        what = f"pipeline `{pipeline.name}` declares {len(requests)} requests"
        yield Fault(pipeline.where, what, "Declare exactly one `request(...)` among the inputs")
        return
    ask, asked, known = pipeline.ask, requests[0], columns(pipeline.ask.stream)
    if ask.timed:
        yield from unknown(ask.moment, known, ask.where, ask.stream.name)
    for name in asked.fields:
        yield from unknown(name, known, asked.where, f"stream {ask.stream.name}")
        if name in known:
            yield from _from_the_future(pipeline, name, asked.where, f"request field `{name}`")
    if ask.moment in known and ask.moment not in {*asked.fields, *meant(asked, known)}:
        what = f"the request lacks `{ask.moment}`, by which the time of asking is told"
        yield Fault(asked.where, what, f"Add `{ask.moment}` to `request(...)`")
    for name, expression in asked.features.items():
        fields = _fields(asked, known)
        yield from _expression(name, expression, fields, "a request field")


def table_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Table features name columns of their table, found by something that is asked."""
    for item in pipeline.inputs:
        if isinstance(item, TableFeatures):
            yield from asked_field(pipeline, item.by, item.where)
            if item.table == pipeline.ask.stream:
                what = f"features are looked up in `{item.table.name}`, the table whose rows are predicted"
                yield Fault(item.where, what, "Name what is known when asked in `request(...)`")
            asked, table = columns(pipeline.ask.stream), columns(item.table)
            yield from same_type(item.by, asked, item.table.key, table, item.where, f"table {item.table.name}")
            for column in item.features.values():
                yield from unknown(column, table, item.where, f"table {item.table.name}")


def derived_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Derived features read request fields, or features declared before them, elementwise."""
    known = Columns() if not any(isinstance(i, Request) for i in pipeline.inputs) else _request_types(pipeline)
    for item in pipeline.inputs:
        if isinstance(item, Derived):
            for name, expression in item.features.items():
                yield from _expression(name, expression, known, "an earlier feature or request field")
                known = known.with_types([name], _type_of(name, expression, known))
        elif not isinstance(item, Request):
            known = known.with_types(item.features, _types_of(item))


def feature_types(pipeline: Pipeline) -> Columns:
    """Request fields and features with their types, as far as these can be told."""
    known = _request_types(pipeline)
    for item in pipeline.inputs:
        if isinstance(item, Derived):
            for name, expression in item.features.items():
                known = known.with_types([name], _type_of(name, expression, known))
        elif not isinstance(item, Request):
            known = known.with_types(item.features, _types_of(item))
    return known


def name_clash_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """A name means one feature; a feature called like a request field is that field."""
    first: dict[str, str] = {}
    for item in pipeline.inputs:
        for name, content in item.features.items():
            where = content.where if isinstance(content, (Aggregate, Expression)) else item.where
            if name in RESERVED or name.startswith("__"):
                yield Fault(where, f"feature name `{name}` is taken by raypipe", "Give it another name")
            if name in first:
                what = f"feature name `{name}` is used twice, first at {first[name]}"
                yield Fault(where, what, "Give each feature its own name")
            elif any(name in i.fields for i in pipeline.inputs if isinstance(i, Request)) and not (
                isinstance(content, Expression) and content.polars.meta.eq(pl.col(name))
            ):
                yield Fault(where, f"feature `{name}` has the name of a request field", "Give it a name of its own")
            first.setdefault(name, where)


def _expression(name: str, expression: Expression, known: Columns, kinds: str) -> Iterator[Fault]:
    missing = [root for root in expression.roots if known.lacks(root)]
    for root in missing:
        yield Fault(
            expression.where, f"feature `{name}` reads `{root}`, which is not {kinds}", did_you_mean(root, known)
        )
    if not expression.is_elementwise:
        what, cure = beyond(expression)
        yield Fault(expression.where, f"feature `{name}` {what}", cure)
    if known.keys() >= set(expression.roots) and not expression.has_python:
        try:
            type_of(expression, known)
        except PolarsError as error:
            yield Fault(expression.where, f"feature `{name}` does not fit its inputs: {str(error).splitlines()[0]}")


def _from_the_future(pipeline: Pipeline, column: str, where: str, reader: str) -> Iterator[Fault]:
    ask = pipeline.ask
    since = known_from(ask.stream).get(column)
    known_when_asked = ask.lead.total_seconds() <= 0 and is_known_at(ask.stream, column, ask.moment)
    if since is not None and not known_when_asked:
        asked = f"{in_words(pipeline.ask.lead)} before `{pipeline.ask.moment}`"
        what = f"{reader} is only known from `{since}`, but predictions are asked {asked}: news from the future"
        yield Fault(where, what, "Remove it, or ask later")


def _types_of(item: Inputs) -> dict[str, pl.DataType]:
    """The types of features that need no other feature."""
    if isinstance(item, FeatureGroup):
        return {name: _aggregate_type(a, columns(item.moment.stream)) for name, a in item.features.items()}
    if isinstance(item, TableFeatures):
        table = columns(item.table)
        return {name: table[column] for name, column in item.features.items() if column in table}
    return {}


def _fields(asked: Request, known: Columns) -> Columns:
    # A field that the stream lacks is told once, and not again by each feature that reads it, as written or as meant.
    names = {*asked.fields, *meant(asked, known)}
    return Columns().with_types(names, {field: known[field] for field in names if field in known})


def _request_types(pipeline: Pipeline) -> Columns:
    types = _fields(pipeline.request, columns(pipeline.ask.stream))
    for name, expression in pipeline.request.features.items():
        types = types.with_types([name], _type_of(name, expression, types))
    return types


def _type_of(name: str, expression: Expression, known: dict[str, pl.DataType]) -> dict[str, pl.DataType]:
    try:
        return {name: type_of(expression, known)}
    except PolarsError:
        return {}  # its own rule has told the fault


def _aggregate_type(aggregate: Aggregate, known: dict[str, pl.DataType]) -> pl.DataType:
    if aggregate.op in ("count", "distinct"):
        return pl.Int64()
    if aggregate.op in ("first", "last") and aggregate.value is not None:
        return _type_of("value", aggregate.value, known).get("value", pl.Float64())
    return pl.Float64()
