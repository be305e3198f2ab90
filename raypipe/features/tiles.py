"""Events that no question tells apart, added up where they are read: far less is sent around than happened.

The edges of all windows of a key's questions cut its time into cells. The events of a cell are in a window together or
not at all, so that one tile stands for them. A far edge lies on a grid (`tail`), so that the questions of an hour share
it and cells are long; of an exact window every question has an edge of its own, and its cells are as long as questions
are apart.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from raypipe.features.events import KEY, TIME, in_order, storable
from raypipe.features.plan import GroupPlan, TrackPlan
from raypipe.stats import tiles
from raypipe.stats.arrays import Hashes, Ints
from raypipe.stats.exact import Exact
from raypipe.stats.kernel import unsigned
from raypipe.stats.places import places
from raypipe.stats.tiles import Tiles
from raypipe.stats.tracks import Track, there

#: Tiles are made when there are at least so many events for each cell.
WORTH = 2
#: What a tile says of a value, each in a column of its own: numbers, and lists of limbs.
_PLAIN = ("counts", "first", "last", "plus", "minus", "lowest", "highest")
_EXACT = ("sums", "squares")


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
    if plan.late or not all(feature.op in tiles.MERGED for feature in plan.features):
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
    here, doubles, kept = np.ones(coded.height, np.bool_), None, None
    if shape.value is not None:
        values = coded[f"v{i}"]
        here = values.is_not_null().to_numpy()
        if values.dtype.is_numeric() or values.dtype == pl.Boolean:
            doubles = unsigned(values.cast(pl.Float64).fill_null(float("nan")).to_numpy())
            here = ~np.isnan(doubles)
        kept = storable(values.filter(pl.Series(here))) if shape.hashes else None
    of = tiles.combine(shape, starts, coded[TIME].to_numpy(), here, doubles, kept)
    plain = {name: getattr(of, name) for name in _PLAIN}
    made = [pl.Series(f"__{name}{i}", column) for name, column in plain.items() if column is not None]
    exact = {name: getattr(of, name) for name in _EXACT}
    made += [_packed(f"__{name}{i}", numbers) for name, numbers in exact.items() if numbers is not None]
    if of.hashes is not None and of.sizes is not None:
        made.append(_lists(f"__hashes{i}", of.hashes, of.sizes))
    return made


def tracks(plan: GroupPlan, coded: pl.DataFrame, many: int) -> list[Track]:
    """The kernel's arrays from numbered tiles, for keys 0 to ``many`` - 1."""
    return [_track(i, shape, coded.filter(pl.col(f"__counts{i}") > 0), many) for i, shape in enumerate(plan.tracks)]


def _track(i: int, shape: TrackPlan, coded: pl.DataFrame, many: int) -> Track:
    # The last event of a tile need not be the last that has this value.
    coded = coded[pl.Series(in_order(coded[KEY].to_numpy(), coded[f"__last{i}"].to_numpy()))]
    columns = {name: coded[f"__{name}{i}"] for name in (*_PLAIN, *_EXACT, "hashes") if f"__{name}{i}" in coded.columns}
    counts, first, last, *rest = (columns[name].to_numpy() if name in columns else None for name in _PLAIN)
    of = Tiles(there(counts), there(first), there(last))
    of.plus, of.minus, of.lowest, of.highest = rest
    of.sums, of.squares = (_unpacked(columns[name]) if name in columns else None for name in _EXACT)
    if (hashes := columns.get("hashes")) is not None:
        of.hashes, of.sizes = hashes.explode(empty_as_null=False).to_numpy(), _sizes(hashes)
    return tiles.track(shape, np.searchsorted(coded[KEY].to_numpy(), np.arange(many + 1, dtype=np.int64)), of)


def _packed(name: str, numbers: Exact) -> pl.Series:
    """Exact numbers as lists: a place, its limb, the next place, and so on."""
    pairs = numbers.pairs()
    return _lists(name, pairs.ravel(), np.full(len(pairs), pairs.shape[1]))


def _unpacked(column: pl.Series) -> Exact:
    return Exact.of_pairs(column.explode(empty_as_null=False).to_numpy(), _sizes(column))


def _sizes(lists: pl.Series) -> Ints:
    return lists.list.len().cast(pl.Int64).to_numpy()


def _lists(name: str, flat: Ints | Hashes, sizes: Ints) -> pl.Series:
    offsets = np.append(0, np.cumsum(sizes)).astype(np.int64)
    return pl.Series(name, pa.LargeListArray.from_arrays(offsets, pa.array(flat)))
