"""Rules about sources: columns that exist, times that are times."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import polars as pl
from polars.exceptions import PolarsError

from raypipe.errors import Fault, did_you_mean
from raypipe.spec.elsewhere import NAMED
from raypipe.spec.expressions import Expression
from raypipe.spec.files import POLARS_TYPES
from raypipe.spec.pipeline import Pipeline
from raypipe.spec.sources import FeatureGroup, Lookup, Source, Stream, TableFeatures

NAME = re.compile(r"[a-z][a-z0-9_]*")
TABLE = re.compile(r"[A-Za-z_][\w$-]*(\.[\w$-]+)*")
TIME = pl.Datetime("us", "UTC")


class Columns(dict[str, pl.DataType]):
    """Column types by name.

    Attributes:
        untold: columns that are declared and whose type cannot be told; why is told where they are declared.
    """

    untold: frozenset[str] = frozenset()

    def lacks(self, name: str) -> bool:
        """Neither is its type known, nor has it a fault of its own that is told already."""
        return name not in self and name not in self.untold

    def with_types(self, names: Iterable[str], types: Mapping[str, pl.DataType]) -> "Columns":
        """The same and some more, of which some may have no type that can be told."""
        more = Columns({**self, **types})
        more.untold = self.untold | (set(names) - types.keys())
        return more


def columns(source: Source) -> Columns:
    """Column types as far as the derivations can be followed; a faulty one is left out, and its fault is told."""
    known, untold, _ = _followed(source)
    found = Columns(known)
    found.untold = untold
    return found


def source_name_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Table names are plain words, and one name means one source."""
    used: dict[str, Source] = {}
    for source in _mentioned(pipeline):
        if not NAME.fullmatch(source.name):
            yield Fault(source.where, f"table name `{source.name}` is not a plain word", "Use a-z, 0-9 and _")
        if used.setdefault(source.name, source) != source:
            yield Fault(source.where, f"two sources are called `{source.name}`", "Give each its own name")


def column_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Keys, ids, derivations and look-ups name columns that exist; moments are UTC times."""
    for source in pipeline.sources:
        known = columns(source)
        yield from _followed(source)[2]
        named = (*source.id, *source.reveals) if isinstance(source, Stream) else (source.key,)
        revealed = [name for names in source.reveals.values() for name in names] if isinstance(source, Stream) else []
        for name in (*named, *revealed):
            yield from unknown(name, known, source.where, f"{source.name}")


def time_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """The time of a stream is a column; its delay is not negative."""
    for stream in pipeline.streams:
        known = columns(stream)
        yield from unknown(stream.time, known, stream.where, stream.name)
        published = () if stream.published is None else (stream.published,)
        for name in published:
            yield from unknown(name, known, stream.where, stream.name)
        if stream.delay.total_seconds() < 0:
            yield Fault(
                stream.where, f"stream `{stream.name}` has a negative delay", "Nothing is known before it happens"
            )


def elsewhere_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Tables of other systems have plain names: they become part of a query."""
    for source in pipeline.sources:
        files = source.source
        if files is not None and files.format in NAMED and not TABLE.fullmatch(files.path):
            cure = "Write it as the system names it, without quotes"
            yield Fault(files.where, f"`{files.path}` is no name of a table", cure)


def upkeep_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """What a source says of its upkeep can be done."""
    for source in pipeline.sources:
        if source.retain is not None and source.retain.total_seconds() <= 0:
            yield Fault(source.where, f"`{source.name}` retains nothing", "Give a length of time, such as days(90)")
        for name in source.rescales:
            yield from unknown(name, columns(source), source.where, f"`rescales` of {source.name}")


def live_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """A stream comes from somewhere, and what it says of its log can be."""
    for stream in pipeline.streams:
        if stream.history is None and stream.live is None:
            what = f"stream `{stream.name}` comes from nowhere"
            yield Fault(stream.where, what, "Give it a `history` of files, a `live` log, or both")
        if stream.late_by is not None and stream.late_by.total_seconds() < 0:
            yield Fault(stream.where, f"stream `{stream.name}` has a negative `late_by`", "Give a length of time")
        if (live := stream.live) is not None and live.kind == "sql":
            yield from unknown(live.by, columns(stream), live.where, f"stream {stream.name}")
            if live.shards < 1:
                yield Fault(live.where, f"{live.shards} shards read nothing", "Give at least one")
        if live is not None and not 0 <= live.at_most_bad <= 1:
            yield Fault(live.where, f"`at_most_bad` is {live.at_most_bad}", "Give a share of messages, 0 to 1")
    for source in pipeline.sources:
        if (files := source.source) is not None and not 0 <= files.at_most_bad <= 1:
            yield Fault(files.where, f"`at_most_bad` is {files.at_most_bad}", "Give a share of lines, 0 to 1")


def unknown(name: str, known: Mapping[str, pl.DataType], where: str, reader: str) -> Iterator[Fault]:
    """A fault when ``name`` is not among the known columns; none when it is declared and has a fault of its own."""
    if known.lacks(name) if isinstance(known, Columns) else name not in known:
        yield Fault(where, f"{reader} has no column `{name}`", did_you_mean(name, known))


def same_type(
    name: str, known: dict[str, pl.DataType], key: str, keyed: dict[str, pl.DataType], where: str, reader: str
) -> Iterator[Fault]:
    """A fault when ``name`` could never equal ``key``, being of another type."""
    if name in known and key in keyed and known[name] != keyed[key]:
        what = f"{reader}: `{name}` is {known[name]}, but the key `{key}` is {keyed[key]}"
        yield Fault(where, what, "Declare or derive them as one type")


def type_of(expression: Expression, known: dict[str, pl.DataType]) -> pl.DataType:
    """The type of an expression over columns of these types.

    It is computed over no rows at all: Polars infers a type for much that it then refuses to compute.

    Raises:
        polars.exceptions.PolarsError: it does not fit the columns.
    """
    return pl.DataFrame(schema=known).with_columns(value=expression.polars).schema["value"]


def beyond(expression: Expression) -> tuple[str, str]:
    """Why an expression is not elementwise, and the cure."""
    if expression.unsteady:
        return expression.unsteady
    if expression.has_python:
        what = "holds a Python function, which cannot be stored without running code"
        return what, "Use elementwise Polars expressions"
    return "looks beyond its own row", "Use elementwise Polars expressions"


@cache
def _followed(source: Source) -> tuple[Mapping[str, pl.DataType], frozenset[str], tuple[Fault, ...]]:
    # Each rule asks this of each source it meets; to work it out takes a frame for each derived column.
    known = {name: POLARS_TYPES[kind] for name, kind in source.columns.items() if kind in POLARS_TYPES}
    untold = source.columns.keys() - known.keys()
    faults = [
        Fault(source.where, f"`{source.name}.{name}` has the type {kind!r}", "Use str, int, float, bool or datetime")
        for name, kind in source.columns.items()
        if kind not in POLARS_TYPES
    ]
    # What reads a time that is none would be told of it again, in words of Polars.
    untold |= _without_times_that_are_none(source, known, faults)
    for name, way in source.derive.items():
        reader = f"`{source.name}.{name}`"
        if isinstance(way, Expression):
            roots, there = way.roots, known
            missing = [
                fault for root in roots if root not in untold for fault in unknown(root, known, way.where, reader)
            ]
        else:
            roots, there = (way.column,), columns(way.table)
            missing = [] if way.by in untold else [*unknown(way.by, known, way.where, reader)]
            missing += unknown(way.column, there, way.where, f"table {way.table.name}")
            faults += same_type(way.by, known, way.table.key, there, way.where, reader)
        faults += missing
        if missing or not there.keys() >= set(roots):
            untold |= {name}
            continue
        if isinstance(way, Lookup):
            known[name] = there[way.column]
            continue
        if not way.is_elementwise:
            what, cure = beyond(way)
            faults.append(Fault(way.where, f"{reader} {what}", cure))
        try:
            known[name] = type_of(way, known)
        except PolarsError as error:
            faults.append(Fault(way.where, f"{reader} does not fit its columns: {str(error).splitlines()[0]}"))
            untold |= {name}
    untold |= _without_times_that_are_none(source, known, faults)
    return known, frozenset(untold), tuple(faults)


def _without_times_that_are_none(source: Source, known: dict[str, pl.DataType], faults: list[Fault]) -> set[str]:
    """Tell of moments of a stream that are no times in UTC, and take them out of what is known."""
    if not isinstance(source, Stream):
        return set()
    times = (source.time, *source.reveals, *filter(None, (source.published,)))
    wrong = {name: known.pop(name) for name in times if name in known and known[name] != TIME}
    for name, kind in wrong.items():
        cure = "Derive it with `to_utc`, or `.dt.convert_time_zone('UTC')`"
        if kind == pl.String and name in source.columns:
            cure = f'Declare it as `datetime: "{name}"` if its texts name their zone; else derive it with `to_utc`'
        faults.append(Fault(source.where, f"`{source.name}.{name}` is {kind}, not a time in UTC", cure))
    return set(wrong)


def _mentioned(pipeline: Pipeline) -> list[Source]:
    """Every source that the definition mentions, also where another of the same name hides it."""
    found: list[Source] = []
    waiting: list[Source] = [pipeline.ask.stream, pipeline.label.stream]
    for item in pipeline.inputs:
        waiting += [item.moment.stream] if isinstance(item, FeatureGroup) else []
        waiting += [item.table] if isinstance(item, TableFeatures) else []
    while waiting:
        source = waiting.pop(0)
        if source not in found:
            found.append(source)
            waiting += [way.table for way in source.derive.values() if isinstance(way, Lookup)]
            waiting += [check.to for check in source.gate if check.to is not None]
    return found
