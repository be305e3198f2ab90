"""Events that no question tells apart, added up where they are read: far less is sent around than happened.

The edges of all windows of a key's questions cut its time into cells. The events of a cell are in a window together or
not at all, so that one tile stands for them: how many there are, their exact sums, the smallest and the largest, the
time of the last. A far edge lies on a grid (`tail`), so that the questions of an hour share it and cells are long; of
an exact window every question has an edge of its own, and its cells are as long as questions are apart.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from raypipe.features.events import KEY, TIME, in_order, unsigned
from raypipe.features.plan import GroupPlan, TrackPlan
from raypipe.stats.exact import Exact, Floats, Ints, exact, squares
from raypipe.stats.ranges import places
from raypipe.stats.tracks import Track

#: What can be told of many events from what it is of each part of them.
MERGED = frozenset({"count", "sum", "mean", "std", "min", "max", "since"})
#: Tiles are made when there are at least so many events for each cell.
WORTH = 2


@dataclass(frozen=True)
class Cells:
    """The edges at which any question looks, key by key.

    Attributes:
        known: the keys that are asked about, and their numbers (``__key``).
        starts: shape (keys + 1,); the edges of key i lie in ``[starts[i], starts[i + 1])``.
        edges: ascending within each key.
    """

    known: pl.DataFrame
    starts: Ints
    edges: Ints

    def of(self, numbers: Ints, times: Ints) -> Ints:
        """The cell of each event among those of its key."""
        found: Ints = places(self.starts, self.edges, numbers, times[None] + 1)[0]
        return found


def cells(plan: GroupPlan, asked: pl.DataFrame, times: Ints, events: int) -> Cells | None:
    """How the questions cut time; None when a group cannot be told from tiles, or they would save little.

    Args:
        plan: the compiled group.
        asked: the questions' keys.
        times: when they are asked.
        events: about how many there are.
    """
    merged = all(f.op in MERGED and (f.op != "since" or plan.tracks[f.track].value is None) for f in plan.features)
    if plan.late or not merged:
        return None
    known = asked.unique().drop_nulls().with_row_index(KEY).with_columns(pl.col(KEY).cast(pl.Int64))
    numbers = asked.join(known, on=asked.columns, how="left", maintain_order="left")[KEY].fill_null(-1).to_numpy()
    edges = plan.edges(times[numbers >= 0])
    every = pl.DataFrame({KEY: np.tile(numbers[numbers >= 0], len(edges)), TIME: edges.ravel()})
    every = every.unique().sort(KEY, TIME)
    if events < WORTH * every.height:
        return None
    starts = np.searchsorted(every[KEY].to_numpy(), np.arange(known.height + 1, dtype=np.int64))
    return Cells(known, starts, every[TIME].to_numpy())


def tiled(plan: GroupPlan, found: pl.DataFrame, cut: Cells) -> pl.DataFrame:
    """Tiles of some events, those of keys that nobody asks about left out.

    Args:
        plan: the compiled group.
        found: events, as `events.events` gives them.
        cut: from `cells`.

    Returns:
        The key's columns, ``__time`` of the last event, and what `tracks` reads.
    """
    names = [name for name in cut.known.columns if name != KEY]
    coded = found.join(cut.known, on=names, how="inner")
    cell = cut.of(coded[KEY].to_numpy(), coded[TIME].to_numpy())
    order = in_order(cell + coded[KEY].to_numpy(), coded[TIME].to_numpy())  # cells of later keys lie further
    coded, cell, numbers = coded[pl.Series(order)], cell[order], coded[KEY].to_numpy()[order]
    first = np.ones(len(cell), np.bool_)
    first[1:] = (numbers[1:] != numbers[:-1]) | (cell[1:] != cell[:-1])
    starts = np.flatnonzero(first)
    last = np.append(starts[1:], len(cell))[: len(starts)] - 1
    columns = coded[pl.Series(last)].select(*names, TIME).get_columns()
    for i, shape in enumerate(plan.tracks):
        columns += _columns(i, shape, coded, starts)
    return pl.DataFrame(columns)


def _columns(i: int, shape: TrackPlan, coded: pl.DataFrame, starts: Ints) -> list[pl.Series]:
    """What the tiles that begin in some places say of one value."""
    here, doubles = np.ones(coded.height, np.bool_), None
    if shape.value is not None:
        values = coded[f"v{i}"]
        here = values.is_not_null().to_numpy()
        if values.dtype.is_numeric() or values.dtype == pl.Boolean:
            doubles = unsigned(values.cast(pl.Float64).fill_null(float("nan")).to_numpy())
            here = ~np.isnan(doubles)
    made = [pl.Series(f"__n{i}", _added(here.astype(np.int64), starts))]
    if doubles is None:
        return made
    finite = np.where(np.isfinite(doubles), doubles, 0.0)
    signs = [_added((doubles == sign).astype(np.int64), starts) for sign in (np.inf, -np.inf)]
    made += [pl.Series(f"__plus{i}", signs[0]), pl.Series(f"__minus{i}", signs[1])]
    made += [_packed(f"__sum{i}", exact(finite), starts)] if shape.totals else []
    made += [_packed(f"__squares{i}", squares(finite), starts)] if shape.squares else []
    if shape.numbers:
        made += [pl.Series(f"__low{i}", _lowest(doubles, starts)), pl.Series(f"__high{i}", -_lowest(-doubles, starts))]
    return made


def tracks(plan: GroupPlan, coded: pl.DataFrame, many: int) -> list[Track]:
    """The kernel's arrays from numbered tiles, for keys 0 to ``many`` - 1."""
    return [_track(i, shape, coded.filter(pl.col(f"__n{i}") > 0), many) for i, shape in enumerate(plan.tracks)]


def _track(i: int, shape: TrackPlan, coded: pl.DataFrame, many: int) -> Track:
    infinite = None
    if f"__plus{i}" in coded.columns:
        signs = np.stack([_running(coded[f"__{sign}{i}"].to_numpy()) for sign in ("plus", "minus")])
        infinite = signs if signs[:, -1].any() else None
    return Track(
        starts=np.searchsorted(coded[KEY].to_numpy(), np.arange(many + 1, dtype=np.int64)),
        times=coded[TIME].to_numpy(),
        totals=_unpacked(coded[f"__sum{i}"]).running() if shape.totals else None,
        squares=_unpacked(coded[f"__squares{i}"]).running() if shape.squares else None,
        infinite=infinite,
        numbers=coded[f"__low{i}"].to_numpy() if shape.numbers else None,
        highest=coded[f"__high{i}"].to_numpy() if shape.numbers else None,
        counts=_running(coded[f"__n{i}"].to_numpy()),
    )


def _added(values: Ints, starts: Ints) -> Ints:
    return np.add.reduceat(values, starts) if len(starts) else values


def _lowest(values: Floats, starts: Ints) -> Floats:
    # What is not there is passed over.
    return np.fmin.reduceat(values, starts) if len(starts) else values


def _running(values: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])


def _packed(name: str, numbers: Exact, starts: Ints) -> pl.Series:
    """The exact sum of each tile as a list: a place, its limb, the next place, and so on."""
    limbs = numbers.runs(starts).limbs if len(starts) else numbers.limbs
    pairs = np.stack([np.broadcast_to(np.array(numbers.places, np.int64)[:, None], limbs.shape), limbs], axis=-1)
    offsets = np.arange(limbs.shape[1] + 1, dtype=np.int64) * (2 * len(limbs))
    flat = pa.LargeListArray.from_arrays(offsets, pa.array(pairs.transpose(1, 0, 2).ravel()))
    return pl.Series(name, flat, dtype=pl.List(pl.Int64))


def _unpacked(column: pl.Series) -> Exact:
    flat = column.explode(empty_as_null=False).to_numpy()
    rows = np.repeat(np.arange(len(column)), column.list.len().to_numpy() // 2)
    known, at = np.unique(flat[::2], return_inverse=True)
    limbs = np.zeros((len(known), len(column)), np.int64)
    limbs[at, rows] = flat[1::2]
    return Exact(tuple(known.tolist()), limbs)
