"""The one way aggregates are computed: questions (key, time) against events sorted by key and time.

Training asks every question of history at once; serving asks one of the few events it has stored. Both come here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from raypipe.features.plan import Feature, GroupPlan, TrackPlan
from raypipe.stats import decay, distinct, exact, percentile, ranges
from raypipe.stats.distinct import Hashes
from raypipe.stats.exact import Exact, Floats, Ints

Values: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Track:
    """The events of many keys that have one value, sorted by key, then (event_time, known_at, id).

    Attributes:
        starts: shape (keys + 1,); the events of key i lie in ``[starts[i], starts[i + 1])``.
        times: event times.
        totals: running totals of the finite values, one more than events.
        squares: running totals of their squares.
        infinite: running counts of positive and negative infinities, shape (2, events + 1); None: there are none.
        numbers: the values as doubles.
        hashes: the values' hashes.
        kept: the values as they are.
        decayed: by half-life, the decayed sum up to and with each event.
        decayed_counts: the same of ones.
    """

    starts: Ints
    times: Ints
    totals: Exact | None = None
    squares: Exact | None = None
    infinite: Ints | None = None
    numbers: Floats | None = None
    hashes: Hashes | None = None
    kept: Values | None = None
    decayed: dict[int, Floats] = field(default_factory=dict)
    decayed_counts: dict[int, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One feature for each question: values, and where there is none (None: NaN says so, or there always is one)."""

    values: Values
    missing: NDArray[np.bool_] | None = None


def compute(plan: GroupPlan, tracks: Sequence[Track], keys: Ints, asked: Ints) -> list[Answer]:
    """The features of a group for each question.

    Args:
        plan: the compiled group.
        tracks: its events, one track for each of ``plan.tracks``.
        keys: for each question the key's number, or -1 for a key without any history.
        asked: for each question its time.
    """
    known = keys >= 0
    everyone = bool(known.all())
    if not everyone:
        keys, asked = keys[known], asked[known]
    edges = plan.edges(asked)
    readers = [_Reader(shape, track, keys, asked, edges) for shape, track in zip(plan.tracks, tracks, strict=True)]
    answers = [readers[feature.track].answer(feature) for feature in plan.features]
    if everyone:
        return answers
    return [_spread(feature, answer, known) for feature, answer in zip(plan.features, answers, strict=True)]


class _Reader:
    """Answers the features of one track; looks up every edge of every window once."""

    def __init__(self, shape: TrackPlan, track: Track, keys: Ints, asked: Ints, edges: Ints) -> None:
        self.track, self.asked = track, asked
        self.starts = track.starts[keys]
        found = ranges.places(track.starts, track.times, keys, edges[list(shape.rows)])
        self.end, self.latest = found[0], found[1] - 1
        self.lows = dict(zip(shape.rows[2:], np.minimum(found[2:], found[0]), strict=True))

    def answer(self, feature: Feature) -> Answer:
        """One feature for each question."""
        if feature.window is not None:
            return _WINDOWED[feature.op](self, feature, self.lows[feature.window + 2], self.end)
        if feature.half_life:
            return self.decayed(feature)
        return self.since(feature) if feature.op == "since" else self.last(feature)

    def count(self, feature: Feature, low: Ints, high: Ints) -> Answer:
        """How many events."""
        return Answer(high - low)

    def sum(self, feature: Feature, low: Ints, high: Ints) -> Answer:
        """Exact, rounded once."""
        return Answer(self._with_infinities(exact.rounded(_there(self.track.totals).between(low, high)), low, high))

    def mean(self, feature: Feature, low: Ints, high: Ints) -> Answer:
        """The exact sum over the count."""
        means = exact.means(_there(self.track.totals).between(low, high), high - low)
        return Answer(self._with_infinities(means, low, high))

    def std(self, feature: Feature, low: Ints, high: Ints) -> Answer:
        """From exact sums."""
        totals, squares = _there(self.track.totals), _there(self.track.squares)
        spread = exact.deviations(totals.between(low, high), squares.between(low, high), high - low)
        if self.track.infinite is not None:
            counts = self.track.infinite
            spread[(counts[:, high] - counts[:, low]).any(axis=0)] = np.nan
        return Answer(spread)

    def min(self, feature: Feature, low: Ints, high: Ints) -> Answer:
        """The smallest."""
        return Answer(ranges.smallest(_there(self.track.numbers), low, high))

    def max(self, feature: Feature, low: Ints, high: Ints) -> Answer:
        """The largest."""
        return Answer(ranges.largest(_there(self.track.numbers), low, high))

    def percentile(self, feature: Feature, low: Ints, high: Ints) -> Answer:
        """Nearest rank."""
        counts = high - low
        places = percentile.place(feature.aggregate.rank or 0.0, counts)
        values = ranges.kth(_there(self.track.numbers), low, high, places)
        many = counts > percentile.EXACT_UP_TO
        if many.any():
            values[many] = percentile.coarse(values[many])
        return Answer(values)

    def distinct(self, feature: Feature, low: Ints, high: Ints) -> Answer:
        """How many different ones."""
        return Answer(distinct.counts(_there(self.track.hashes), self.track.starts, low, high))

    def first(self, feature: Feature, low: Ints, high: Ints) -> Answer:
        """The earliest."""
        return self._picked(low, low < high)

    def last(self, feature: Feature) -> Answer:
        """The latest, unless it is too old."""
        return self._picked(self.latest, self._fresh(feature))

    def since(self, feature: Feature) -> Answer:
        """Seconds since the latest, unless it is too old."""
        fresh = self._fresh(feature)
        ages = np.full(len(fresh), np.nan)
        ages[fresh] = (self.asked[fresh] - self.track.times[self.latest[fresh]]) / 1e6
        return Answer(ages)

    def decayed(self, feature: Feature) -> Answer:
        """What the latest event's running sum has faded to; events at the time of asking are not in it."""
        last = self.end - 1
        seen = last >= self.starts
        last = np.where(seen, last, 0)
        sums, half_life = np.zeros(len(seen)), feature.half_life
        ages = self.asked[seen] - self.track.times[last[seen]]
        op = feature.op
        source = self.track.decayed_counts if op == "decayed_count" else self.track.decayed
        sums[seen] = decay.faded(source[half_life][last[seen]], ages, half_life)
        if op == "decayed_count":
            return Answer(sums)
        if op == "decayed_mean":
            # The fading since the latest event is the same above and below the line, and would underflow.
            means = np.full(len(seen), np.nan)
            above, below = self.track.decayed[half_life], self.track.decayed_counts[half_life]
            means[seen] = above[last[seen]] / below[last[seen]]
            sums = means
        return Answer(self._with_infinities(sums, self.starts, self.end))

    def _fresh(self, feature: Feature) -> NDArray[np.bool_]:
        fresh: NDArray[np.bool_] = self.latest >= self.starts
        if feature.max_age is not None:
            ages = self.asked[fresh] - self.track.times[self.latest[fresh]]
            fresh[fresh] = ages <= feature.max_age
        return fresh

    def _picked(self, places: Ints, there: NDArray[np.bool_]) -> Answer:
        kept = _there(self.track.kept)
        values = _blank(len(places), kept.dtype)
        values[there] = kept[places[there]]
        return Answer(values, ~there)

    def _with_infinities(self, values: Floats, low: Ints, high: Ints) -> Floats:
        if self.track.infinite is None:
            return values
        plus, minus = (self.track.infinite[:, high] - self.track.infinite[:, low]) > 0
        values[plus & ~minus], values[minus & ~plus], values[plus & minus] = np.inf, -np.inf, np.nan
        return values


_WINDOWED = {
    "count": _Reader.count,
    "sum": _Reader.sum,
    "mean": _Reader.mean,
    "std": _Reader.std,
    "min": _Reader.min,
    "max": _Reader.max,
    "percentile": _Reader.percentile,
    "distinct": _Reader.distinct,
    "first": _Reader.first,
}


def _spread(feature: Feature, answer: Answer, known: NDArray[np.bool_]) -> Answer:
    """Answers for all questions from those for keys with a history."""
    values = _blank(len(known), answer.values.dtype)
    if answer.values.dtype == np.float64 and feature.op not in ("sum", "decayed_sum", "decayed_count"):
        values[:] = np.nan
    values[known] = answer.values
    if answer.missing is None:
        return Answer(values)
    missing = np.ones(len(known), np.bool_)
    missing[known] = answer.missing
    return Answer(values, missing)


def _blank(size: int, kind: np.dtype[Any]) -> Values:
    # An empty array of objects is one of None, which is what a missing text must be.
    return np.empty(size, kind) if kind.hasobject else np.zeros(size, kind)


def _there(part: Any) -> Any:  # noqa: ANN401  # one of a track's optional parts, all of different types
    if part is None:
        raise AssertionError("a track lacks a part that its plan asks for")
    return part
