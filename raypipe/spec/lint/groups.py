"""Rules about features over past events: keys and columns that can be asked, and aggregates that can be computed."""

from collections.abc import Iterator

import polars as pl
from polars.exceptions import PolarsError

from raypipe.errors import Fault, did_you_mean, nearest
from raypipe.spec.agg import Aggregate
from raypipe.spec.features import Request
from raypipe.spec.lint.sources import TIME, Columns, beyond, columns, same_type, type_of, unknown
from raypipe.spec.pipeline import Pipeline
from raypipe.spec.shape import is_known_at, known_from
from raypipe.spec.sources import FeatureGroup
from raypipe.spec.values import days, in_words

NUMERIC_OPS = frozenset({"sum", "mean", "std", "min", "max", "percentile", "decayed_sum", "decayed_mean"})
#: They take values as they are, which are kept as doubles, 64-bit integers or texts.
VALUE_OPS = frozenset({"first", "last", "distinct"})
_WIDER = (pl.UInt64, pl.Int128, pl.UInt128, pl.Binary)
#: Further back than any event, and still counted in microseconds of 64 bits.
LONGEST = days(1_000_000)


def group_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Aggregates read columns that exist and are known at the moment of their events; keys can be asked."""
    for group in pipeline.groups:
        if not pipeline.ask.timed:
            what = (
                f"features over past events need a time of asking, but rows of `{pipeline.ask.stream.name}` have none"
            )
            yield Fault(group.where, what, "Ask about a stream: `stream.before(...)`")
        stream, moment = group.moment.stream, group.moment.at
        known = columns(stream)
        yield from unknown(moment, known, group.moment.where, stream.name)
        if moment in known and known[moment] != TIME:
            yield Fault(group.moment.where, f"`{stream.name}.{moment}` is {known[moment]}, not a time")
        elif moment in known and not is_known_at(stream, moment, moment):
            since = known_from(stream)[moment]
            what = f"`{stream.name}.{moment}` is only known from `{since}`: events at it would be news from the future"
            yield Fault(group.moment.where, what, f"List `{moment}` under `reveals`, after `{since}`")
        yield from _key(pipeline, group, known)
        if not group.features:
            yield Fault(group.where, f"nothing is asked of `{stream.name}.{moment}`", "Name a feature, or leave it out")
        for name, aggregate in group.features.items():
            yield from _aggregate(group, name, aggregate, known)
            yield from _own_row(pipeline, group, name, aggregate)


def _key(pipeline: Pipeline, group: FeatureGroup, known: Columns) -> Iterator[Fault]:
    stream, moment = group.moment.stream, group.moment.at
    if not group.key:
        cure = "Name a column in `by(...)`; for all events together, derive one that is the same in each row"
        yield Fault(group.where, f"features of `{stream.name}.{moment}` have no key", cure)
    for key in group.key:
        yield from unknown(key, known, group.where, stream.name)
        if moment in known and key in known and not is_known_at(stream, key, moment):
            what = f"key `{key}` is only known from `{known_from(stream)[key]}`, after `{moment}`"
            yield Fault(group.where, what, f"Take it from `{stream.name}.at('{known_from(stream)[key]}')`")
    if len(group.key) != len(group.asked):
        yield Fault(group.where, f"{len(group.key)} key columns, but {len(group.asked)} asked fields")
    for key, field in zip(group.key, group.asked, strict=False):
        yield from same_type(field, columns(pipeline.ask.stream), key, known, group.where, f"stream {stream.name}")
    for field in group.asked:
        # A key that the stream lacks is told already.
        if not (field in group.key and known.lacks(field)):
            yield from asked_field(pipeline, field, group.where)


def asked_field(pipeline: Pipeline, field: str, where: str) -> Iterator[Fault]:
    """A fault when a key is looked up by a field that nobody sends."""
    requests = [item for item in pipeline.inputs if isinstance(item, Request)]
    fields = [name for asked in requests for name in asked.fields]
    known = columns(pipeline.ask.stream)
    if fields and field not in fields and not any(field in meant(asked, known) for asked in requests):
        yield Fault(where, f"key `{field}` is not a request field", did_you_mean(field, fields))


def meant(asked: Request, known: Columns) -> set[str]:
    """The columns that fields were to be which the stream lacks: each is told once, where it is asked for."""
    near = {nearest(name, known) for name in asked.fields if known.lacks(name)}
    return {name for name in near if name is not None}


def _aggregate(group: FeatureGroup, name: str, aggregate: Aggregate, known: Columns) -> Iterator[Fault]:
    stream, moment = group.moment.stream, group.moment.at
    reader = f"feature `{name}`"
    for root in aggregate.value.roots if aggregate.value else ():
        if known.lacks(root):
            hint = did_you_mean(root, known)
            yield Fault(aggregate.where, f"{reader} reads `{root}`, which stream {stream.name} does not have", hint)
        elif moment in known and not is_known_at(stream, root, moment):
            since = known_from(stream)[root]
            what = f"{reader} reads `{root}` at `{moment}`, but it is only known from `{since}`: news from the future"
            yield Fault(aggregate.where, what, f"Take it from `{stream.name}.at('{since}')`")
    if aggregate.value and not aggregate.value.is_elementwise:
        what, cure = beyond(aggregate.value)
        yield Fault(aggregate.where, f"{reader} {what}", cure)
    yield from _value(reader, aggregate, known)
    lengths = {"window": aggregate.window, "half-life": aggregate.half_life, "greatest age": aggregate.max_age}
    for what, length in {**lengths, "tail": aggregate.tail}.items():
        if length is None:
            continue
        told = f"{reader} has a {what} of {in_words(length)}"
        if length > LONGEST:
            yield Fault(aggregate.where, told, f"Give at most {in_words(LONGEST)}")
        elif length.total_seconds() < 0 or (not length and what != "tail"):
            yield Fault(aggregate.where, told, "Give zero or more" if what == "tail" else "Give a positive length")
    if aggregate.rank is not None and not 0 < aggregate.rank <= 1:
        yield Fault(aggregate.where, f"{reader} asks for percentile {aggregate.rank:g}", "Give a rank in (0, 1]")


def _value(reader: str, aggregate: Aggregate, known: dict[str, pl.DataType]) -> Iterator[Fault]:
    if aggregate.value is None or aggregate.value.has_python or not known.keys() >= set(aggregate.value.roots):
        return
    try:
        kind = type_of(aggregate.value, known)
    except PolarsError as error:
        yield Fault(aggregate.where, f"{reader} does not fit its events: {str(error).splitlines()[0]}")
        return
    if aggregate.op in NUMERIC_OPS and not (kind.is_numeric() or kind == pl.Boolean):
        yield Fault(aggregate.where, f"{reader} takes the {aggregate.op} of {kind}", "Aggregate a number")
    if aggregate.op in VALUE_OPS and (kind.is_nested() or kind.is_decimal() or kind in _WIDER):
        cure = "Make a text, a time or a number of it that fits into `pl.Int64` or `pl.Float64`"
        yield Fault(aggregate.where, f"{reader} takes the {aggregate.op} of {kind}", cure)


def _own_row(pipeline: Pipeline, group: FeatureGroup, name: str, aggregate: Aggregate) -> Iterator[Fault]:
    """What sees events at the very time that is asked would see the asked row in history, and never in a request."""
    ask, stream = pipeline.ask, group.moment.stream
    as_of = aggregate.op in ("since", "tenure") or (aggregate.op == "last" and aggregate.window is None)
    # When a row was published, it may say itself that it was at once.
    at_once = not ask.lead and not stream.delay
    its_own = (stream, group.moment.at, group.key) == (ask.stream, ask.moment, group.asked)
    if as_of and at_once and its_own:
        what = f"feature `{name}` would see the asked row itself, which no request finds among the events yet"
        before = f'`{stream.name}.before("{ask.moment}", seconds(1))`'
        window = ", or give `last` a window, which ends before the time asked" if aggregate.op == "last" else ""
        yield Fault(aggregate.where, what, f"Ask before it, as in {before}{window}")
