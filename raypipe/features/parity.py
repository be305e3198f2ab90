"""Logged requests through the way that training takes: what the features would have been, and where they differ."""

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from raypipe.contracts.parity import Mismatch
from raypipe.features import frames, spine
from raypipe.features.logic import steps, with_logic
from raypipe.features.plan import plan, plans
from raypipe.features.reading import Tables
from raypipe.features.training_set import group_features
from raypipe.spec import Derived, Expression, FeatureGroup, FrozenMap, Pipeline, Request, TableFeatures, changed

#: So much of the size of what is added may serving be off, which has added the same numbers in another order.
RELATIVE = 1e-9
#: Aggregates that add doubles up. Everything else is the same to the last bit.
_SUMS = frozenset({"sum", "mean", "std"})


def replayed(tables: Tables, requests: pl.DataFrame, as_of: int, *, punctual: bool = False) -> pl.DataFrame:
    """The features of some requests out of history, as a training set has them.

    Args:
        tables: as they were, or are.
        requests: one row a prediction, one column a request field.
        as_of: nothing known later is used; microseconds UTC.
        punctual: as if nothing had been late: an event is seen by its own time and the stream's delay alone.

    Returns:
        The features in the pipeline's order, one row a request.
    """
    pipeline, compiled = tables.pipeline, plans(tables.pipeline, punctual=punctual)
    asked = requests.with_columns(spine.asked_at(pipeline).cast(pl.Datetime("us", "UTC")))
    made: list[pl.Series] = []
    for item in pipeline.inputs:
        if isinstance(item, FeatureGroup):
            made += group_features(next(compiled), tables, asked, as_of)
        elif isinstance(item, TableFeatures):
            made += frames.table_features(item, tables.table(item.table.name), asked)
    frame = asked.with_columns(made)
    frame = with_logic(frame, list(steps(pipeline)))
    return frame.select(pipeline.feature_names)


def sizes(tables: Tables, requests: pl.DataFrame, as_of: int) -> pl.DataFrame:
    """Of each decayed sum and mean the same of absolute values, in a column of its name; arguments as in `replayed`.

    Where positive and negative values cancel, rounding is a share of this, and may be more than what is left.
    """
    asked = requests.with_columns(spine.asked_at(tables.pipeline).cast(pl.Datetime("us", "UTC")))
    made: list[pl.Series] = []
    for group in tables.pipeline.groups:
        absolute = {
            name: replace(one, value=Expression.of(one.value.polars.cast(pl.Float64).abs()))
            for name, one in group.features.items()
            if one.half_life is not None and one.value is not None
        }
        if absolute:
            made += group_features(plan(changed(group, features=FrozenMap(absolute))), tables, asked, as_of)
    return pl.DataFrame(made)


def from_used(pipeline: Pipeline, requests: pl.DataFrame, used: pl.DataFrame, expected: pl.DataFrame) -> pl.DataFrame:
    """What history gives, but what row logic makes of sums made of those that serving used.

    A ratio of two sums may be further off than they are: it is right if it is the ratio of the sums that were used.
    """
    about = approximate(pipeline)
    own = [[(name, way) for name, way in step if name in about] for step in steps(pipeline)]
    remade = {name for step in own for name, _ in step}
    kept = [
        pl.select(pl.coalesce(fitting(used[name], kind)[0], expected[name])).to_series().alias(name)
        if name in used.columns
        else expected[name]
        for name, kind in expected.schema.items()
        if name not in remade
    ]
    fields = [name for name in requests.columns if name not in expected.columns]
    frame = with_logic(requests.select(fields).hstack(kept), [step for step in own if step])
    return expected.with_columns(frame[name] for name in expected.columns if name in remade)


def differing(
    pipeline: Pipeline, used: pl.DataFrame, expected: pl.DataFrame, sizes: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Which values differ: a truth for each feature and request. Nothing, NaN and the two infinities are four values.

    Args:
        pipeline: says which features are sums.
        used: what serving saw.
        expected: what history gives; the features that both have are compared.
        sizes: of what sums add up; where it has none, and if it is None, the sum's own.
    """
    about = approximate(pipeline)
    columns = [name for name in expected.columns if name in used.columns]
    kinds = {name: expected.schema[name] for name in columns}
    fitted = [fitting(used[name], kind) for name, kind in kinds.items()]
    both, spoilt = pl.DataFrame([one for one, _ in fitted]), pl.DataFrame([lost for _, lost in fitted])
    beside = both.hstack(expected.select(columns).rename(lambda name: f"{name} expected"))
    known = expected if sizes is None else expected.with_columns(sizes)
    beside = beside.hstack(known.select(pl.col(name).alias(f"{name} size") for name in columns if name in about))
    wrong = beside.select(
        _nearly(name) if name in about and kind.is_float() else _exactly(name, kind) for name, kind in kinds.items()
    )
    return wrong.select(wrong[name] | spoilt[name] for name in columns)


def fitting(values: pl.Series, kind: pl.DataType) -> tuple[pl.Series, pl.Series]:
    """Values in a type, and for each whether it does not fit: cut off to the type, it is another value, or none.

    >>> kept, spoilt = fitting(pl.Series([4.0, 4.9, None]), pl.Int64())
    >>> kept.to_list(), spoilt.to_list()
    ([4, 4, None], [False, True, False])
    """
    try:
        kept = values.cast(kind, strict=False)
        return kept, kept.cast(values.dtype, strict=False).ne_missing(values)
    except pl.exceptions.InvalidOperationError:  # no value of the one type is one of the other
        return pl.Series(values.name, [None] * len(values), dtype=kind), values.is_not_null()


def approximate(pipeline: Pipeline) -> set[str]:
    """Features that are sums of doubles, or are computed from such."""
    found: set[str] = set()
    for item in pipeline.inputs:
        if isinstance(item, FeatureGroup):
            sums = (name for name, one in item.features.items() if one.op in _SUMS or one.half_life is not None)
            found.update(sums)
        elif isinstance(item, Derived):
            found.update(name for name, one in item.features.items() if found & set(one.roots))
    return found


def mismatches(
    pipeline: Pipeline,
    requests: pl.DataFrame,
    used: pl.DataFrame,
    expected: pl.DataFrame,
    wrong: pl.DataFrame,
    at_most: int | None = None,
) -> Iterator[Mismatch]:
    """The values of each feature that differ, the first ones or all, with where to look."""
    moment = requests.select(spine.asked_at(pipeline).fill_null(0)).to_series()
    found_by = fields_of(pipeline)
    for name in wrong.columns:
        for row in wrong[name].arg_true()[:at_most].to_list():
            yield Mismatch(
                feature=name,
                key={field: str(requests[field][row]) for field in found_by[name] if field in requests.columns},
                at=int(moment[row]),
                online=repr(used[name][row]),
                offline=repr(expected[name][row]),
            )


def fields_of(pipeline: Pipeline) -> dict[str, tuple[str, ...]]:
    """For each feature the request fields that it is found by, or is computed from."""
    found: dict[str, tuple[str, ...]] = {}
    for item in pipeline.inputs:
        if isinstance(item, FeatureGroup):
            found |= dict.fromkeys(item.features, item.asked)
        elif isinstance(item, TableFeatures):
            found |= dict.fromkeys(item.features, (item.by,))
        else:
            for name, expression in item.features.items():
                own = isinstance(item, Request)
                roots = (((root,) if own else found.get(root, (root,))) for root in expression.roots)
                found[name] = tuple(dict.fromkeys(field for fields in roots for field in fields))
    return found


def _exactly(name: str, kind: pl.DataType) -> pl.Expr:
    used, expected = pl.col(name), pl.col(f"{name} expected")
    same = used.eq_missing(expected)
    if kind.is_float():
        # The two zeros are equal, but what is divided by them is not.
        same = same & ((used != 0) | ((1 / used) == (1 / expected))).fill_null(value=True)
    return (~same).alias(name)


def _nearly(name: str) -> pl.Expr:
    used, expected, size = pl.col(name), pl.col(f"{name} expected"), pl.col(f"{name} size").abs()
    near = (used - expected).abs() <= RELATIVE * pl.when(size.is_finite()).then(size).otherwise(expected.abs())
    finite = used.is_finite() & expected.is_finite()
    return (~(used.eq_missing(expected) | (finite & near).fill_null(value=False))).alias(name)
