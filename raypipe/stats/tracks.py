"""The arrays that aggregates are computed from, and what comes of them."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from raypipe.stats.arrays import Floats, Hashes, Ints, Values
from raypipe.stats.exact import Exact

T = TypeVar("T")


class Kept(Protocol):
    """Values as they are, by their places."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what comes out."""
        ...

    def __getitem__(self, wanted: Ints, /) -> Values:
        """The values in some places."""
        ...


@dataclass
class Texts:
    """Many texts as their bytes, entity by entity, decoded when they are asked for.

    Attributes:
        starts: the place of each entity's first text.
        begins: for each entity where each of its texts begins among its bytes; behind the last, where that ends.
        blobs: for each entity the bytes.
    """

    starts: list[int] = field(default_factory=list)
    begins: list[Ints] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)
    dtype: np.dtype[Any] = field(default=np.dtype(object))

    def __getitem__(self, wanted: Ints) -> Values:
        """The texts in some places, none of which is the last of its entity."""
        found = np.empty(len(wanted), object)
        for i, place in enumerate(wanted.tolist()):
            entity = bisect_right(self.starts, place) - 1
            at = place - self.starts[entity]
            a, b = self.begins[entity][at : at + 2].tolist()
            found[i] = self.blobs[entity][a:b].decode()
        return found


@dataclass(slots=True)
class Track:
    """The events of many keys that have one value, sorted by key, then (event_time, known_at, id).

    Attributes:
        starts: shape (keys + 1,); the events of key i lie in ``[starts[i], starts[i + 1])``.
        times: event times. Tracks of a group whose events are the same share one array.
        totals: running totals of the finite values, one more than events.
        squares: running totals of their squares.
        infinite: running counts of positive and negative infinities, shape (2, events + 1); None: there are none.
        numbers: the values as doubles; of tiles the smallest of each.
        highest: of tiles the largest of each; None: they are events.
        counts: of tiles running totals of how many events are in them, one more than tiles; None: they are events.
        hashes: the values' hashes.
        offsets: of tiles where the hashes of each begin, one more than tiles; None: each event has one.
        kept: the values as they are.
        decayed: by half-life, the decayed sum up to and with each event.
        decayed_counts: the same of ones.
        firsts: for each event the time of its key's first one, which need not be here.
        earlier: for each event the time of the first event of its key that is not here any more, and is seen by every
            question; None: all are here.
        weighed: by half-life, what the decayed sums are sums of: finite values if there are any, and ones.
        known: from when on each event is seen; None: events become known in the order in which they happen.
        reached: from when on each event or a later one of its key is seen.
        memo: what was said before of a range of events, by aggregate and rank; None: nothing is remembered.
    """

    starts: Ints
    times: Ints
    totals: Exact | None = None
    squares: Exact | None = None
    infinite: Ints | None = None
    numbers: Floats | None = None
    highest: Floats | None = None
    counts: Ints | None = None
    hashes: Hashes | None = None
    offsets: Ints | None = None
    kept: Kept | None = None
    decayed: dict[int, Floats] = field(default_factory=dict)
    decayed_counts: dict[int, Floats] = field(default_factory=dict)
    firsts: Ints | None = None
    earlier: Ints | None = None
    weighed: dict[int, Floats] | None = None
    known: Ints | None = None
    reached: Ints | None = None
    memo: dict[tuple[str, float | None], dict[tuple[int, int], float]] | None = None


@dataclass(slots=True)
class View:
    """Where questions look among the events of some tracks.

    Attributes:
        asked: the questions' times.
        starts: where each key's events begin.
        end: where every window ends.
        latest: the place of the event that is the latest; before ``starts`` when there is none.
        lows: where each window begins, by its row among the group's edges.
    """

    asked: Ints
    starts: Ints
    end: Ints
    latest: Ints
    lows: dict[int, Ints]


@dataclass(slots=True)
class Answer:
    """One feature for each question: values, and where there is none (None: NaN says so, or there always is one)."""

    values: Values
    missing: NDArray[np.bool_] | None = None

    def put(self, some: Ints, others: "Answer") -> None:
        """Answer some of the questions otherwise."""
        self.values[some] = others.values
        if self.missing is not None and others.missing is not None:
            self.missing[some] = others.missing

    def plain(self) -> list[Any]:
        """Python's own values, None where there is none.

        >>> Answer(np.array([1.5, np.nan])).plain(), Answer(np.array([1, 2]), np.array([True, False])).plain()
        ([1.5, None], [None, 2])
        """
        found: list[Any] = self.values.tolist()
        if self.missing is not None:
            return [None if gap else value for gap, value in zip(self.missing.tolist(), found, strict=True)]
        return [None if value != value else value for value in found] if self.values.dtype == np.float64 else found


def together(parts: Sequence[tuple[Ints, Answer]]) -> Answer:
    """One answer for all questions from those for some of them each."""
    if len(parts) == 1:
        return parts[0][1]
    order = np.argsort(np.concatenate([here for here, _ in parts]))
    values = np.concatenate([answer.values for _, answer in parts])[order]
    missing = [answer.missing for _, answer in parts]
    if all(one is None for one in missing):
        return Answer(values)
    gaps = [np.zeros(len(here), np.bool_) if a.missing is None else a.missing for here, a in parts]
    return Answer(values, np.concatenate(gaps)[order])


def blank(size: int, kind: np.dtype[Any]) -> Values:
    """Values that mean nothing yet."""
    # An empty array of objects is one of None, which is what a missing text must be.
    return np.empty(size, kind) if kind.hasobject else np.zeros(size, kind)


def there(part: T | None) -> T:
    """A part of a track that its plan asks for."""
    if part is None:
        raise AssertionError("a track lacks a part that its plan asks for")
    return part
