"""Whose row is whose while several versions answer: as replicas choose; and whether chance would spread them so."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import polars as pl

from raypipe.contracts.arms import BUCKETS, CHALLENGER, CHAMPION, Arm, bucket
from raypipe.stats.sequential import share_fault

#: The rows that an arm is for: request fields, and the text that each must have.
Where: TypeAlias = tuple[tuple[str, str], ...]
_ALL, _NONE = pl.lit(True), pl.lit(False)


def with_owner(rows: pl.DataFrame, arms: Sequence[Arm], salt: str) -> pl.DataFrame:
    """Rows of a log with ``own``: the arm that should have answered, whoever did.

    Args:
        rows: of the prediction log, with the fields that arms are chosen by as text.
        arms: beside the champion.
        salt: that units are spread with.
    """
    places = {unit: bucket(salt, unit) for unit in rows["unit"].unique()}
    rows = rows.with_columns(pl.Series("_place", [places[unit] for unit in rows["unit"]], pl.Int64))
    chosen, in_order = pl.lit(CHAMPION), sorted(_challengers(arms), key=lambda arm: not arm.where)
    # The last one that fits wins here, and replicas ask those of a segment first.
    for arm in in_order[::-1]:
        held = [pl.col("_place").is_between(first, to, closed="left") for first, to in arm.ranges]
        chosen = pl.when(pl.any_horizontal(_NONE, *held) & _within(arm.where)).then(pl.lit(arm.name)).otherwise(chosen)
    # A challenger answers nothing but its own, also by a field that the log may not keep.
    known = pl.when(pl.col("arm").str.starts_with(CHALLENGER)).then("arm").otherwise(chosen)
    return rows.with_columns(known.alias("own")).drop("_place")


def comparable(arm: Arm, arms: Sequence[Arm]) -> pl.Expr:
    """The rows on which an arm and the champion have units spread by chance.

    Those of its segment, or of all; without those of other segments that have an arm of their own, for who is left
    there is not who would be there by chance.
    """
    others = {one.where for one in arms if one.where and one.where != arm.where}
    return _within(arm.where) & ~pl.any_horizontal(_NONE, *(_within(where) for where in sorted(others)))


def spread(rows: pl.DataFrame, arms: Sequence[Arm]) -> float:
    """The p-value of how units are spread, in each segment that has challengers and among all others; 1 without any.

    It holds however often one looks.
    """
    # A share of one bucket is of no use to any test.
    challengers = [arm for arm in _challengers(arms) if arm.share > 1 / BUCKETS]
    segments = sorted({arm.where for arm in challengers})
    found = [_spread(rows, [arm for arm in challengers if arm.where == where], arms) for where in segments]
    return min(1.0, min(found, default=1.0) * len(found))


def _spread(rows: pl.DataFrame, mine: Sequence[Arm], arms: Sequence[Arm]) -> float:
    shares = {arm.name: arm.share for arm in mine}
    rest = 1 - sum(shares.values())
    units = rows.filter("answered", comparable(mine[0], arms)).unique(["unit", "own"])
    counts: Mapping[str, int] = dict(units["own"].value_counts().iter_rows())
    own = [counts.get(name, 0) for name in shares]
    if rest <= 1 / BUCKETS:
        cells, wanted = own, [share / (1 - rest) for share in shares.values()]
    else:
        cells, wanted = [*own, sum(counts.values()) - sum(own)], [*shares.values(), rest]
    return share_fault(cells, wanted)


def _challengers(arms: Sequence[Arm]) -> list[Arm]:
    return [arm for arm in arms if arm.role == CHALLENGER]


def _within(where: Where) -> pl.Expr:
    return pl.all_horizontal(_ALL, *(pl.col(name).eq_missing(text) for name, text in where))
