"""From rows of a table to the events of a feature group, and from events to the arrays that the kernel reads."""

import numpy as np
import polars as pl

from raypipe.features import keys
from raypipe.features.logic import of_history
from raypipe.features.plan import GroupPlan, TrackPlan
from raypipe.spec.shape import schema
from raypipe.stats import kernel
from raypipe.stats.arrays import Ints, Values
from raypipe.stats.tracks import Track

TIME = "__time"
KEY = "__key"
KNOWN = "__known"


def events(plan: GroupPlan, table: pl.LazyFrame, known_by: int) -> pl.LazyFrame:
    """The events of a group that were known by a time.

    Rows whose moment never came, or that lack a part of the key, are no events.

    Args:
        plan: the compiled group.
        table: rows of its stream.
        known_by: microseconds UTC.

    Returns:
        Columns ``k0``, ``k1`` … (the key), ``__time``, ``v0``, ``v1`` … (each track's value), ``__known`` when each row
        has a time of its own from which it is known, and ``i0``, ``i1`` … (the id) when the order of events at the same
        time matters.
    """
    stream, names = plan.group.moment.stream, plan.group.key
    kinds, time = schema(stream), pl.col(plan.group.moment.at)
    found = pl.all_horizontal(pl.col(name).is_not_null() for name in (time.meta.output_name(), *names))
    time = time.cast(pl.Int64)
    known = [plan.known_at().alias(KNOWN)] if plan.late else []
    values = [(f"v{i}", track.value) for i, track in enumerate(plan.tracks) if track.value is not None]
    columns = [
        *(keys.expression(name, kinds[name]).alias(f"k{i}") for i, name in enumerate(names)),
        time.alias(TIME),
        *(value.polars.alias(name) for name, value in values if value.polars.meta.is_column()),
        *known,
        *(pl.col(name).alias(f"i{i}") for i, name in enumerate(stream.id) if plan.ordered),
    ]
    made = [(name, value) for name, value in values if not value.polars.meta.is_column()]
    chosen = table.filter(found & (plan.known_at() <= known_by)).select(plan.columns)
    if not made:
        return chosen.select(columns)
    # What Polars makes of a row depends on how many are in its piece, and pieces are cut as it pleases.
    return chosen.map_batches(
        lambda piece: piece.select(columns).hstack(of_history(piece, made)),
        schema=chosen.select(*columns, *(value.polars.alias(name) for name, value in made)).collect_schema(),
        streamable=True,
    )


def numbered(found: pl.DataFrame, asked: pl.DataFrame, where: str) -> tuple[pl.DataFrame, Ints, pl.DataFrame]:
    """Give every key a number.

    Args:
        found: events.
        asked: the questions' keys under the same names, and nothing else.
        where: for errors.

    Returns:
        The events with their key's number, sorted by it, by time and by id; for each question its key's number, -1 for
        a key without events; and the keys in the order of their numbers.
    """
    names = asked.columns
    keys.require_alike(found.select(names), asked, where)
    known = found.select(names).unique().sort(names)
    return coded(found, known), numbers(asked, known), known


def coded(found: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Events with their key's number among those that are known, sorted by it, by time and by id."""
    names, ids = known.columns, [name for name in found.columns if name == KNOWN or name.startswith("i")]
    ordered = found.join(_counted(known), on=names, how="left", maintain_order="left").drop(names)
    # Several stable sorts by one column take a quarter of the time of one sort by several.
    for name in reversed(ids):
        ordered = ordered.sort(name, maintain_order=True)
    ordered = ordered[pl.Series(in_order(ordered[KEY].to_numpy(), ordered[TIME].to_numpy()))]
    return ordered.drop(name for name in ids if name != KNOWN)


def numbers(asked: pl.DataFrame, known: pl.DataFrame) -> Ints:
    """For each key that is asked about its number among those that are known, -1 for another."""
    found = asked.join(_counted(known), on=known.columns, how="left", maintain_order="left")
    return found[KEY].fill_null(-1).to_numpy()


def _counted(known: pl.DataFrame) -> pl.DataFrame:
    return known.with_row_index(KEY).with_columns(pl.col(KEY).cast(pl.Int64))


def in_order(numbers: Ints, times: Ints) -> Ints:
    """The places of some rows, by number and then time; those that are equal in both as they come.

    >>> in_order(np.array([1, 0, 1, 1]), np.array([7, 9, 5, 7])).tolist()
    [1, 2, 0, 3]
    """
    if not len(times):
        return np.zeros(0, np.int64)
    low, high = int(times.min()), int(times.max())
    span = high - low + 1
    if (int(numbers.max()) + 2) * span >= 2**62:
        return np.lexsort((times, numbers))
    # As one number a row they are sorted in a fifth of the time.
    both = pl.DataFrame({"both": numbers * span + (times - low)}).with_row_index("place")
    return both.sort("both", maintain_order=True)["place"].cast(pl.Int64).to_numpy()


def tracks(plan: GroupPlan, coded: pl.DataFrame, many: int) -> list[Track]:
    """The kernel's arrays from numbered events, for keys 0 to ``many`` - 1."""
    columns = coded[KEY].to_numpy(), coded[TIME].to_numpy(), coded[KNOWN].to_numpy() if KNOWN in coded.columns else None
    return [_track(shape, coded, f"v{i}", *columns, many) for i, shape in enumerate(plan.tracks)]


def _track(
    shape: TrackPlan, coded: pl.DataFrame, name: str, numbers: Ints, times: Ints, known: Ints | None, many: int
) -> Track:
    """One track: the events that have a value, and the forms of it that are asked for."""
    values = coded[name] if shape.value is not None else None
    if values is not None:
        gaps = values.is_null().to_numpy() if values.null_count() else None
        if values.dtype.is_float():
            nothing = np.isnan(values.to_numpy())  # also where there is a null
            gaps = nothing if nothing.any() else None
        if gaps is not None:
            values, numbers, times = values.filter(pl.Series(~gaps)), numbers[~gaps], times[~gaps]
            known = None if known is None else known[~gaps]
    starts = np.searchsorted(numbers, np.arange(many + 1, dtype=np.int64))
    doubles = None
    if values is not None and (values.dtype.is_numeric() or values.dtype == pl.Boolean):
        doubles = kernel.unsigned(values.cast(pl.Float64).to_numpy())
    kept = storable(values) if values is not None and (shape.kept or shape.hashes) else None
    return kernel.init(shape, starts, times, doubles, kept, known)


def storable(values: pl.Series) -> Values:
    """Values without nulls as NumPy holds them: doubles, 64-bit integers, or texts."""
    kind = values.dtype
    if kind.is_float():
        return kernel.unsigned(values.cast(pl.Float64).to_numpy())
    if kind == pl.Boolean or kind.is_integer() or kind.is_temporal():
        return values.to_physical().cast(pl.Int64).to_numpy()
    return values.cast(pl.String).to_numpy()
