"""Values of the wrong kind, such as a bare expression where a label belongs: told as a fault, with the line."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

from raypipe.errors import Fault
from raypipe.spec import sources
from raypipe.spec.pipeline import Pipeline
from raypipe.spec.values import FrozenMap

#: How a value of a kind is written, where the kind's own name does not say it.
WRITTEN = {
    "Ask": "stream.before(column, hours(1))",
    "Check": 'checks.not_null("column")',
    "Derived": "derived(ratio=pl.col(…) / pl.col(…))",
    "FeatureGroup": 'moment.by("key").features(…)',
    "Files": 'csv("data/*.csv")',
    "Label": "stream.label(pl.col(…) > 15, settled_after=days(2))",
    "Model": "models.LightGBM()",
    "Periods": 'periods(train="2013-01..2013-04", tune="2013-05", holdout="2013-06")',
    "Request": 'request("column", …)',
    "Retrain": "retrain.hybrid()",
    "Search": "Search([models.LightGBM()])",
    "Shares": "shares()",
    "TableFeatures": 'table.columns_by("key", "column")',
}


def kind_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Every value is of a kind that its field takes."""
    yield from _of_fields(pipeline, pipeline.where, set())


def _of_fields(value: object, where: str, seen: set[int]) -> Iterator[Fault]:
    # A source stands in every feature that reads it, and is judged once.
    if id(value) in seen:
        return
    seen.add(id(value))
    where = getattr(value, "where", "") or where
    hints = _hints(type(value))  # type: ignore[arg-type]  # every class is hashable
    for field in fields(value):  # type: ignore[arg-type]  # its callers have looked
        if field.name != "where":
            yield from _of(getattr(value, field.name), hints[field.name], field.name, where, seen)


@cache
def _hints(kind: type) -> dict[str, object]:
    return get_type_hints(kind, localns=vars(sources))


def _of(value: object, hint: object, name: str, where: str, seen: set[int]) -> Iterator[Fault]:
    if isinstance(value, tuple) and (kinds := _items(hint)):
        for item in value:
            yield from _of(item, kinds[0], name, where, seen)
    elif isinstance(value, FrozenMap) and get_origin(hint) is FrozenMap:
        for key, item in value.items():
            yield from _of(item, get_args(hint)[0], f"{name}: {key}", where, seen)
    elif not _fits(value, hint):
        found = type(value).__name__
        ways = [way for kind in _kinds(hint) for way in _written(kind, value)]
        yield Fault(where, f"`{name}` is {_with_article(found)}", f"Write it as {' or '.join(f'`{w}`' for w in ways)}")
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _of_fields(value, where, seen)


def _written(kind: str, value: object) -> list[str]:
    """How a value of a kind is written; a number where a time belongs has lost its unit alone."""
    if kind != "timedelta":
        return [WRITTEN.get(kind, kind)]
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else 2
    return [f"days({number})", f"hours({number})"]


def _items(hint: object) -> tuple[object, ...]:
    """What a tuple of any length holds, where the hint is of one."""
    arms = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    found = [get_args(arm) for arm in arms if get_origin(arm) is tuple]
    return found[0] if len(found) == 1 and found[0][-1] is Ellipsis else ()


def _fits(value: object, hint: object) -> bool:
    """Whether a value is of a kind; of what is no plain class, such as a function, nothing is said."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, arm) for arm in get_args(hint))
    if origin is Literal:
        return isinstance(value, str)  # which one is for the rules to judge
    kind = origin or hint
    if kind is float:
        return isinstance(value, int | float)
    return not isinstance(kind, type) or isinstance(value, kind)


def _kinds(hint: object) -> list[str]:
    if get_origin(hint) in (Union, UnionType):
        return [name for arm in get_args(hint) if arm is not NoneType for name in _kinds(arm)]
    return [getattr(get_origin(hint) or hint, "__name__", str(hint))]


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} `{name}`"
