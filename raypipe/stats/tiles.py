"""Events that no question tells apart, added up: the map-side half of `kernel.merge`.

A tile stands for events of one key that lie between two edges with none in between: how many there are, their exact
sums, the smallest and the largest, the first time and the last, the different values once each. The kernel reads a
track of tiles as it reads one of events. Percentiles need every value, the last bit of a decayed sum depends on every
time, and first and last values of equal times on their ids: those cannot be told from tiles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypipe.stats import distinct
from raypipe.stats.arrays import Floats, Hashes, Ints, Values
from raypipe.stats.exact import Exact, exact, squares
from raypipe.stats.forms import Forms
from raypipe.stats.tracks import Track

#: What can be told of many events from what it is of each part of them.
MERGED = frozenset({"count", "sum", "mean", "std", "min", "max", "distinct", "since", "tenure"})


@dataclass(slots=True)
class Tiles:
    """What is told of the events that have one value, a tile each place.

    Attributes:
        counts: how many there are.
        first, last: the times of the first and the last of them; any where there are none.
        plus, minus: how many of them are infinite; None: the value is no number.
        sums, squares: exact, of those that are finite.
        lowest, highest: of all; NaN where there are none.
        hashes: the different values of each tile, tile by tile.
        sizes: how many those are.
    """

    counts: Ints
    first: Ints
    last: Ints
    plus: Ints | None = None
    minus: Ints | None = None
    sums: Exact | None = None
    squares: Exact | None = None
    lowest: Floats | None = None
    highest: Floats | None = None
    hashes: Hashes | None = None
    sizes: Ints | None = None


def combine(
    forms: Forms,
    starts: Ints,
    times: Ints,
    here: NDArray[np.bool_],
    doubles: Floats | None,
    kept: Values | None,
) -> Tiles:
    """Add up events.

    Args:
        forms: in which the value is needed.
        starts: where each tile's events begin; none is empty.
        times: of the events, ascending within each tile.
        here: which events have the value.
        doubles: the values, if they are numbers; NaN for those that have none.
        kept: the values that are there, where ``forms`` has them hashed: doubles, 64-bit integers or texts.
    """
    counts = _added(here, starts)
    mine, begins = times[here], np.cumsum(counts) - counts
    made = Tiles(counts, _at(mine, begins), _at(mine, begins + counts - 1))
    if forms.hashes and kept is not None:
        made.hashes, made.sizes = _different(distinct.of(kept), counts)
    if doubles is None:
        return made
    finite = np.where(np.isfinite(doubles), doubles, 0.0)
    made.plus, made.minus = _added(doubles == np.inf, starts), _added(doubles == -np.inf, starts)
    made.sums = _summed(exact(finite), starts) if forms.totals else None
    made.squares = _summed(squares(finite), starts) if forms.squares else None
    if forms.numbers:
        made.lowest, made.highest = _lowest(doubles, starts), -_lowest(-doubles, starts)
    return made


def track(forms: Forms, starts: Ints, tiles: Tiles) -> Track:
    """Tiles as the kernel reads them.

    Args:
        forms: in which the value is needed.
        starts: shape (keys + 1,); the tiles of key i lie in ``[starts[i], starts[i + 1])``.
        tiles: by key, then time of the last event; each has events.
    """
    infinite = None
    if tiles.plus is not None and tiles.minus is not None and (tiles.plus.any() or tiles.minus.any()):
        infinite = np.stack([_running(tiles.plus), _running(tiles.minus)])
    return Track(
        starts=starts,
        times=tiles.last,
        totals=None if tiles.sums is None else tiles.sums.running(),
        squares=None if tiles.squares is None else tiles.squares.running(),
        infinite=infinite,
        numbers=tiles.lowest,
        highest=tiles.highest,
        counts=_running(tiles.counts),
        hashes=tiles.hashes,
        offsets=None if tiles.sizes is None else _running(tiles.sizes),
        firsts=_firsts(starts, tiles.first) if forms.firsts else None,
    )


def _firsts(starts: Ints, first: Ints) -> Ints:
    """The earliest time of each key, for each of its tiles; those of several parts of a history may overlap."""
    widths = np.diff(starts)
    return np.repeat(np.minimum.reduceat(first, starts[:-1][widths > 0]), widths[widths > 0]) if len(first) else first


def _at(times: Ints, wanted: Ints) -> Ints:
    return times.take(wanted, mode="clip") if len(times) else np.zeros(len(wanted), np.int64)


def _added(events: NDArray[np.bool_], starts: Ints) -> Ints:
    return np.add.reduceat(events.astype(np.int64), starts) if len(starts) else np.zeros(0, np.int64)


def _summed(numbers: Exact, starts: Ints) -> Exact:
    return numbers.runs(starts) if len(starts) else numbers


def _lowest(values: Floats, starts: Ints) -> Floats:
    # What is not there is passed over.
    return np.fmin.reduceat(values, starts) if len(starts) else values


def _different(hashes: Hashes, counts: Ints) -> tuple[Hashes, Ints]:
    """The hashes of each tile, each once, and how many those are."""
    owners = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    new = np.ones(len(hashes), np.bool_)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return hashes[new], np.bincount(owners[new], minlength=len(counts))


def _running(values: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
