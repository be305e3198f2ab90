"""Rules about gates: checks that can be made, and actions that mean something."""

import re
from collections.abc import Iterator

import polars as pl
from polars.exceptions import PolarsError

from raypipe.errors import Fault
from raypipe.spec.checks import ROW_KINDS, Check
from raypipe.spec.lint.sources import columns, same_type, type_of, unknown
from raypipe.spec.pipeline import Pipeline
from raypipe.spec.sources import Lookup, Source, Stream


def check_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Checks name columns that exist, and bounds that can be met."""
    for source in pipeline.sources:
        known = columns(source)
        for check in source.gate:
            for name in check.columns:
                yield from unknown(name, known, check.where, f"check {check.kind} of {source.name}")
            if not 0 <= check.at_least <= 1:
                yield Fault(check.where, f"check {check.name} asks for a share of {check.at_least}", "Give 0 to 1")
            if check.low is not None and check.high is not None and check.low > check.high:
                yield Fault(
                    check.where, f"check {check.name} has its bounds the wrong way round", "Give low, then high"
                )
            if check.pattern and (why := _bad_pattern(check.pattern)):
                yield Fault(check.where, f"check {check.name}: the pattern is not a regular expression: {why}")
            yield from _fits(check, known)
            if check.within is not None and check.within.total_seconds() <= 0:
                yield Fault(check.where, f"check {check.name} allows no age", "Give a positive length")
            if check.kind in ("fresh", "lag") and not isinstance(source, Stream):
                yield Fault(check.where, f"table `{source.name}` has no time to be fresh by", "Check a stream instead")
            if check.share is not None and not 0 <= check.share <= 1:
                yield Fault(check.where, f"check {check.name} has a share of {check.share}", "Give 0 to 1")
            yield from _acts(check, source, pipeline)


def _acts(check: Check, source: Source, pipeline: Pipeline) -> Iterator[Fault]:
    """Rows can be set aside when there are rows to tell, and nobody has used them before the gate."""
    if check.action != "quarantine":
        return
    if check.kind not in ROW_KINDS:
        what = f"check {check.name} judges the table, so it has no rows to set aside"
        yield Fault(check.where, what, "Let it stop or warn")
    ways = (way for reader in pipeline.sources for way in reader.derive.values())
    if any(isinstance(way, Lookup) and way.table == source for way in ways):
        what = f"check {check.name} sets rows of `{source.name}` aside, which others look up before the gate"
        yield Fault(check.where, what, "Let it stop or warn")


def _fits(check: Check, known: dict[str, pl.DataType]) -> Iterator[Fault]:
    """The check can be made of columns of these types."""
    needs_text = check.kind in ("matches", "one_of")
    for name in check.columns:
        kind = known.get(name)
        if kind is not None and needs_text and kind != pl.String:
            yield Fault(
                check.where, f"check {check.name} reads text, but `{name}` is {kind}", "Use `between` or `holds`"
            )
        if kind is not None and check.kind in ("between", "quantile") and not kind.is_numeric():
            yield Fault(check.where, f"check {check.name} reads a number, but `{name}` is {kind}", "Use `holds`")
        if check.kind == "drift" and kind is not None and not (kind.is_numeric() or kind in (pl.String, pl.Boolean)):
            yield Fault(check.where, f"check {check.name} compares numbers, texts and truths; `{name}` is {kind}")
        if check.to is not None:
            yield from same_type(name, known, check.to.key, columns(check.to), check.where, f"check {check.kind}")
    if check.rule is not None and all(root in known for root in check.rule.roots):
        try:
            kind = type_of(check.rule, known)
        except PolarsError as error:
            yield Fault(check.where, f"check {check.kind} does not fit its columns: {str(error).splitlines()[0]}")
            return
        if kind != pl.Boolean:
            yield Fault(check.where, f"check {check.name} is {kind}, not true or false", "Compare it with something")


def _bad_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""
