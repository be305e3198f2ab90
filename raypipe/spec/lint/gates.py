"""Rules about gates: checks that can be made, and actions that mean something."""

import re
from collections.abc import Iterator

import polars as pl
from polars.exceptions import PolarsError

from raypipe.errors import Fault
from raypipe.spec.checks import ROW_KINDS, Check
from raypipe.spec.features import Request
from raypipe.spec.lint.sources import columns, same_type, type_of, unknown
from raypipe.spec.pipeline import Pipeline
from raypipe.spec.questions import PREDICTION, answer_columns, training_columns
from raypipe.spec.sources import Lookup, Source, Stream


def check_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Checks name columns that exist, and bounds that can be met."""
    for source in pipeline.sources:
        known = columns(source)
        for check in source.gate:
            yield from _makes_sense(check, known, source.name)
            if check.kind in ("fresh", "lag") and not isinstance(source, Stream):
                yield Fault(check.where, f"table `{source.name}` has no time to be fresh by", "Check a stream instead")
            yield from _acts(check, source, pipeline)


def model_check_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Checks before training and before promotion can be made of what there is then."""
    if not (pipeline.before_training or pipeline.before_promotion):
        return
    if sum(isinstance(item, Request) for item in pipeline.inputs) != 1:
        return  # another rule says so
    for checks, kinds, what in (
        (pipeline.before_training, training_columns(pipeline), "the training set"),
        (pipeline.before_promotion, answer_columns(pipeline), "the candidate's answers"),
    ):
        known = {name: kind for name, kind in kinds.items() if kind is not None}
        for check in checks:
            yield from _makes_sense(check, {name: known.get(name, pl.Null()) for name in kinds}, what)
            if check.kind == "lag":
                yield Fault(check.where, f"{what} is not known later than asked", "Check `lag` at the stream")
    for check in pipeline.before_promotion:
        if check.action == "quarantine":
            what = f"check {check.name} judges answers, and no answer can be set aside from a model"
            yield Fault(check.where, what, "Let it stop or warn")
        if check.kind == "rows_like_before" or (check.kind == "drift" and check.columns != (PREDICTION,)):
            what = f"check {check.name} compares the holdout with itself: the champion answers the same questions"
            yield Fault(check.where, what, f"Compare `{PREDICTION}`, or move it to `before_training`")
    for check in pipeline.before_training:
        if check.action == "quarantine" and check.kind not in ROW_KINDS:
            yield _judges_the_whole(check)


def _makes_sense(check: Check, known: dict[str, pl.DataType], reader: str) -> Iterator[Fault]:
    for name in check.columns:
        yield from unknown(name, known, check.where, f"check {check.kind} of {reader}")
    if not 0 <= check.at_least <= 1:
        yield Fault(check.where, f"check {check.name} asks for a share of {check.at_least}", "Give 0 to 1")
    if check.low is not None and check.high is not None and check.low > check.high:
        yield Fault(check.where, f"check {check.name} has its bounds the wrong way round", "Give low, then high")
    if check.pattern and (why := _bad_pattern(check.pattern)):
        yield Fault(check.where, f"check {check.name}: the pattern is not a regular expression: {why}")
    yield from _fits(check, {name: kind for name, kind in known.items() if kind != pl.Null()})
    if check.within is not None and check.within.total_seconds() <= 0:
        yield Fault(check.where, f"check {check.name} allows no age", "Give a positive length")
    if check.share is not None and not 0 <= check.share <= 1:
        yield Fault(check.where, f"check {check.name} has a share of {check.share}", "Give 0 to 1")


def _judges_the_whole(check: Check) -> Fault:
    what = f"check {check.name} judges the table, so it has no rows to set aside"
    return Fault(check.where, what, "Let it stop or warn")


def _acts(check: Check, source: Source, pipeline: Pipeline) -> Iterator[Fault]:
    """Rows can be set aside when there are rows to tell, and nobody has used them before the gate."""
    if check.action != "quarantine":
        return
    if check.kind not in ROW_KINDS:
        yield _judges_the_whole(check)
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
