"""How stored states are laid out: few entities of a group differ in that, so that many are packed and read at once.

The layout says for each track: which track's events it has (its own number, or that of an earlier one), 1 if it counts
infinities, and for totals and squares how many limbs there are and their places. Groups whose events become known in
another order than they happen have more rows, as their plan says.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from raypipe.errors import FeatureError
from raypipe.features.plan import GroupPlan, TrackPlan
from raypipe.stats.arrays import Ints

VERSION = 4
SLOT = 8


@dataclass(frozen=True)
class Rows:
    """The rows of one track within the matrix of its lot, which begins with the times; if late, when each was known.

    Attributes:
        lot: the track that the events are those of.
        first: the row in which it begins.
        totals, squares: places of the limbs, one row each.
        infinite: two rows count infinities.
        plain: how many rows of values as they are there are; then, of texts, one of where each begins.
        half_lives: of the rows that fade.
        text: it has texts.
        firsts: one row more tells the time of the first event; if late, another that of the first one before the cut.
        late: events are known in another order than they happen; for each row that fades one more has what it adds up.
    """

    lot: int
    first: int
    totals: tuple[int, ...]
    squares: tuple[int, ...]
    infinite: bool
    plain: int
    half_lives: tuple[int, ...]
    text: bool
    firsts: bool
    late: bool

    @property
    def running(self) -> int:
        """How many rows of running totals."""
        return len(self.totals) + len(self.squares) + 2 * self.infinite

    @property
    def begins_of_texts(self) -> int:
        """Of a track with texts the row that says where each of them begins."""
        return self.first + self.running + self.plain

    @property
    def fading(self) -> int:
        """The first of the rows that fade."""
        return self.begins_of_texts + self.text

    @property
    def first_times(self) -> int:
        """The row of the time of the first event, if there is one."""
        return self.fading + len(self.half_lives) * (1 + self.late)

    @property
    def end(self) -> int:
        """The row behind the last."""
        return self.first_times + self.firsts * (1 + self.late)


@dataclass(frozen=True)
class Layout:
    """How the state of some entities is laid out: one entry a track."""

    tracks: tuple[Rows, ...]

    @cached_property
    def lots(self) -> dict[int, int]:
        """How many rows the matrix of each lot has."""
        heights: dict[int, int] = {}
        for rows in self.tracks:
            heights[rows.lot] = rows.end
        return heights

    @cached_property
    def begins_of_texts(self) -> list[tuple[int, int]]:
        """For each track with texts the place of its lot, and the row that says where each text begins."""
        lots = list(self.lots)
        texts = (rows for rows in self.tracks if rows.text)
        return [(lots.index(rows.lot), rows.begins_of_texts) for rows in texts]

    @cached_property
    def head(self) -> bytes:
        """What stands before the numbers of events."""
        said: list[int] = []
        for rows in self.tracks:
            said += [rows.lot, rows.infinite, len(rows.totals), *rows.totals, len(rows.squares), *rows.squares]
        return np.array([VERSION, len(said), *said], np.int64).tobytes()


def rows_of(
    shape: TrackPlan,
    lot: int,
    first: int | None,
    totals: tuple[int, ...],
    squares: tuple[int, ...],
    infinite: bool,
    late: bool,
) -> Rows:
    """The rows of a track, beginning with row ``first`` of its lot; None: it is the first of these events."""
    text = shape.kept and shape.is_text
    return Rows(
        lot=lot,
        first=1 + late if first is None else first,
        totals=totals,
        squares=squares,
        infinite=infinite,
        plain=shape.numbers + shape.hashes + (shape.kept and not text),
        half_lives=shape.half_lives * (1 + (shape.value is not None)),
        text=text,
        firsts=shape.firsts,
        late=late,
    )


def parsed(plan: GroupPlan, head: bytes) -> Layout:
    """The layout that a value begins with; the opposite of ``Layout.head``."""
    said = iter(np.frombuffer(head, np.int64)[2:].tolist())
    heights: dict[int, int] = {}
    tracks: list[Rows] = []
    for shape in plan.tracks:
        lot, infinite = next(said), bool(next(said))
        totals = tuple(next(said) for _ in range(next(said)))
        squares = tuple(next(said) for _ in range(next(said)))
        rows = rows_of(shape, lot, heights.get(lot), totals, squares, infinite, plan.late)
        heights[lot] = rows.end
        tracks.append(rows)
    return Layout(tuple(tracks))


def require_version(value: bytes) -> None:
    """Raises FeatureError when a value, or what it begins with, was written by another version."""
    if (version := int.from_bytes(value[:SLOT], "little")) != VERSION:
        raise FeatureError(
            f"state has version {version}", where="online store", cure="Run `raypipe materialize NAME --anew`"
        )


def head_of(value: bytes) -> bytes:
    """What stands in a value before the numbers of events: values that begin alike are laid out alike."""
    return value[: SLOT * (2 + int.from_bytes(value[SLOT : 2 * SLOT], "little"))]


def begins_of(widths: Ints) -> Ints:
    """Where stretches that lie behind one another begin, and the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(widths)])


def spots_of(begins: Ints, widths: Ints) -> Ints:
    """The places of stretches behind one another."""
    return np.repeat(begins - begins_of(widths)[:-1], widths) + np.arange(widths.sum())


def stretches(whole: NDArray[np.uint8], begins: Ints, widths: Ints) -> NDArray[np.uint8]:
    """Some stretches of bytes, behind one another."""
    return whole[spots_of(begins, widths)]
