"""What a release has brought about: by units spread by chance, else by whom it reached and whom it did not."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from msgspec import structs

from raypipe.contracts.arms import CHAMPION
from raypipe.contracts.records import ModelVersion, Record
from raypipe.flows.figures import joined
from raypipe.flows.measure import Measure
from raypipe.ledger import Ledger
from raypipe.registry.releases import RELEASED, Released
from raypipe.registry.rows import PROMOTED, Promotion
from raypipe.spec import Pipeline
from raypipe.stats.causal import Effect, adjusted, in_differences
from raypipe.stats.estimate import Floats


class Release(Record, frozen=True, kw_only=True):
    """When a version first answered callers, and whom: ``where`` is empty for all, ``share`` of the units.

    ``until`` is when that changed: it was promoted or withdrawn, or the champion changed; None: it goes on.
    """

    version: int
    at: int
    share: float
    where: tuple[tuple[str, str], ...] = ()
    until: int | None = None


class Measured(Record, frozen=True, kw_only=True):
    """The effect of a release on one measure.

    Attributes:
        figure: which one.
        method: how it was found, in words.
        estimate: with the release minus without,
        low, high: and its interval.
        p: how likely so large an effect is without any.
        rows: units, or dates to compare with.
        spared: the part of the variance that what units did before has taken away.
    """

    figure: str
    method: str
    estimate: float
    low: float
    high: float
    p: float
    rows: int
    spared: float


def released(ledger: Ledger, version: ModelVersion) -> Release | None:
    """The last time that a version began to answer callers; None: it never did."""
    name, number, found = version.name, version.version, None
    for entry in ledger.entries(subject=name):
        if entry.kind == RELEASED:
            row = Released.from_json(entry.body)
            if row.version == number and row.role != "shadow" and row.share:
                goes_on = found is not None and found.share < 1 and found.until is None
                began = found.at if found is not None and goes_on else entry.at
                found = Release(version=number, at=began, share=row.share, where=tuple(sorted(row.where.items())))
            elif row.version == number and row.role != "shadow" and found is not None:
                found = _ended(found, entry.at)
        elif entry.kind == PROMOTED and found is not None and (found.share < 1 or found.where):
            found = _ended(found, entry.at)
        elif entry.kind == PROMOTED and found is None and Promotion.from_json(entry.body).version == number:
            found = Release(version=number, at=entry.at, share=1.0)
    return found


def _ended(release: Release, at: int) -> Release:
    return release if release.until is not None else structs.replace(release, until=at)


def effects(
    predictions: pl.DataFrame,
    feedback: pl.DataFrame,
    pipeline: Pipeline,
    release: Release,
    period: int,
    measure: Measure,
) -> Iterator[Measured]:
    """Of a release on the error, and on every figure that the pipeline declares; what cannot be told is left out.

    Args:
        predictions: rows of the prediction log, from well before the release on.
        feedback: rows of the feedback log.
        pipeline: declares figures.
        release: when, and whom it reached.
        period: microseconds that are taken together where there are no units to compare.
        measure: of its answers: what an error is.
    """
    fields = [field for field, _ in release.where]
    error = measure.loss.alias(_COLUMN + measure.name)
    # Once all are answered by one version, or by none of the two, units tell nothing more of it.
    inside = pl.lit(value=True) if release.until is None else pl.col("at").cast(pl.Int64) < release.until
    # What stands beside both is no part of the comparison: other challengers may be better or worse.
    mine = (pl.col("version") == release.version) | (pl.col("arm") == CHAMPION)
    rows = joined(predictions.filter("answered", inside, mine), feedback, pipeline, measure, fields).with_columns(
        error, pl.col("at").cast(pl.Int64), reached=_reached(release)
    )
    rows = rows.rename({f"value:{name}": _COLUMN + name for name in pipeline.value})
    by_chance = not release.where and release.share < 1
    for figure in (measure.name, *pipeline.value):
        known = rows.drop_nulls(_COLUMN + figure)
        if by_chance:
            method = "units spread by chance, allowing for what each did before"
            found = _by_units(known, _COLUMN + figure, release)
        else:
            method = "before and after, against dates on which nothing happened"
            method = f"the segment against the others, {method}" if release.where else method
            found = _by_periods(known, _COLUMN + figure, release, period)
        if found is not None:
            yield _measured(figure, method, found)


def _reached(release: Release) -> pl.Expr:
    """Whom the release reaches, also before it."""
    same = [pl.col(f"segment:{field}") == value for field, value in release.where]
    return pl.all_horizontal(same) if same else pl.lit(1) == 1


def _by_units(rows: pl.DataFrame, column: str, release: Release) -> Effect | None:
    after = rows.filter(pl.col("at") >= release.at)
    # Who answered a unit says which side it is on: a unit stays with its arm.
    units = after.group_by("unit").agg(pl.col(column).mean(), treated=(pl.col("version") == release.version).any())
    past = rows.filter(pl.col("at") < release.at).group_by("unit").agg(before=pl.col(column).mean())
    whole = units.join(past, on="unit", how="left").sort("unit")
    sides = [whole.filter(pl.col("treated") == side) for side in (False, True)]
    values = [side[column].to_numpy() for side in sides]
    before = [side["before"].cast(pl.Float64).fill_null(np.nan).to_numpy() for side in sides]
    return adjusted(values[0], values[1], before[0], before[1])


def _by_periods(rows: pl.DataFrame, column: str, release: Release, period: int) -> Effect | None:
    """By the mean of each period, counted from the release; periods in which a side has no rows are left out."""
    placed = rows.with_columns(period=(pl.col("at") - release.at).floordiv(period))
    means = placed.group_by("period", "reached").agg(pl.col(column).mean()).sort("period")
    treated = means.filter("reached").select("period", treated=column)
    others = means.filter(~pl.col("reached")).select("period", control=column)
    both = treated.join(others, on="period") if release.where else treated.with_columns(control=pl.lit(0.0))
    both = both.sort("period")
    gap: list[Floats] = [both[name].to_numpy() for name in ("treated", "control")]
    return in_differences(gap[0], gap[1], int((both["period"] < 0).sum()))


def _measured(figure: str, method: str, found: Effect) -> Measured:
    return Measured(
        figure=figure,
        method=method,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        p=found.p,
        rows=found.rows,
        spared=found.spared,
    )


_COLUMN = "figure:"
