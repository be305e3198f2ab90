"""Each kind of check as Polars expressions: how many rows it is about, and which of those fail it.

NaN is no value: ``not_null`` fails on it, and so does ``between``, which no NaN lies in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from raypipe.spec.checks import Check, Kind

#: The keys of tables by their names; by the name of a check ``unique``, values that are taken by rows not judged.
Keys = Mapping[str, pl.Series]
#: Up to so many texts, one comparison each is quicker than a look into a set.
FEW = 8


@dataclass(frozen=True)
class Rule:
    """What a check that judges row by row asks of a table.

    Attributes:
        about: how many rows it is about, an aggregate.
        fails: true for each of those that does not satisfy it, false for every other row; never null.
    """

    about: pl.Expr
    fails: pl.Expr


def row_rule(check: Check, schema: pl.Schema, keys: Keys) -> Rule:
    """The rule of a check that judges row by row.

    Args:
        check: of a kind in ``ROW_KINDS``.
        schema: the table's column types.
        keys: by table name, the keys of the tables that checks refer to.

    Raises:
        KeyError: a table that is referred to has no keys to offer.
    """
    return _ROW_RULES[check.kind](check, schema, keys)


def looks_around(check: Check) -> bool:
    """Whether its rule reads other rows, or columns that it does not name: no block can answer it alone."""
    rule = check.rule
    return rule is not None and ('"Selector"' in rule.text or not rule.is_elementwise)


def may_fail(check: Check, rule: Rule) -> pl.Expr:
    """True for each row that fails a rule of its own, or would if some of the others were not there."""
    if check.kind != "unique":
        return rule.fails
    values = pl.col(check.columns[0]) if len(check.columns) == 1 else pl.struct(check.columns)
    return values.is_duplicated() | rule.fails


def _not_null(check: Check, schema: pl.Schema, _: Keys) -> Rule:
    return Rule(pl.len(), pl.any_horizontal([_missing(name, schema) for name in check.columns]))


def _between(check: Check, schema: pl.Schema, _: Keys) -> Rule:
    (name,) = check.columns
    value = pl.col(name)
    outside = value.is_nan() if schema[name].is_float() else pl.lit(value=False)
    if check.low is not None:
        outside |= value < check.low
    if check.high is not None:
        outside |= value > check.high
    return _of_values(name, outside)


def _one_of(check: Check, _: pl.Schema, __: Keys) -> Rule:
    (name,) = check.columns
    value = pl.col(name).cast(pl.String)
    if len(check.values) > FEW:
        return _of_values(name, ~value.is_in(list(check.values)))
    return _of_values(name, ~pl.any_horizontal(value == one for one in check.values))


def _matches(check: Check, _: pl.Schema, __: Keys) -> Rule:
    (name,) = check.columns
    return _of_values(name, ~pl.col(name).cast(pl.String).str.contains(rf"\A(?:{check.pattern})\z"))


def _unique(check: Check, _: pl.Schema, keys: Keys) -> Rule:
    # The first of them is no fault: as many rows fail as must go.
    # A struct of one column is the same, and slower.
    values = pl.col(check.columns[0]) if len(check.columns) == 1 else pl.struct(check.columns)
    repeated = ~values.is_first_distinct()
    taken = keys.get(check.name)
    return Rule(pl.len(), repeated if taken is None else repeated | values.is_in(taken.implode(), nulls_equal=True))


def _refers(check: Check, _: pl.Schema, keys: Keys) -> Rule:
    (name,) = check.columns
    assert check.to is not None  # noqa: S101  # `refers` cannot be made without it
    return _of_values(name, ~pl.col(name).is_in(keys[check.to.name].implode()))


def _holds(check: Check, _: pl.Schema, __: Keys) -> Rule:
    assert check.rule is not None  # noqa: S101  # `holds` cannot be made without it
    rule = check.rule.polars
    return Rule(rule.count(), (~rule).fill_null(value=False))


def _lag(check: Check, _: pl.Schema, __: Keys) -> Rule:
    late = pl.col("known_at") - pl.col("event_time") > pl.lit(check.within)
    return Rule(pl.len(), late.fill_null(value=True))


def _of_values(name: str, fails: pl.Expr) -> Rule:
    """A rule about the values that are there."""
    return Rule(pl.col(name).count(), fails.fill_null(value=False))


def _missing(name: str, schema: pl.Schema) -> pl.Expr:
    null = pl.col(name).is_null()
    return null | pl.col(name).is_nan().fill_null(value=False) if schema[name].is_float() else null


_ROW_RULES: dict[Kind, Callable[[Check, pl.Schema, Keys], Rule]] = {
    "not_null": _not_null,
    "between": _between,
    "one_of": _one_of,
    "matches": _matches,
    "unique": _unique,
    "refers": _refers,
    "holds": _holds,
    "lag": _lag,
}
