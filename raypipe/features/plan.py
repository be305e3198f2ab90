"""What a feature group asks of its events: which values, in which form, how far back."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import polars as pl

from raypipe.spec import Expression, FeatureGroup, Pipeline, micros
from raypipe.spec.agg import Aggregate
from raypipe.spec.shape import schema

_TOTALS = frozenset({"sum", "mean", "std"})
_NUMBERS = frozenset({"min", "max", "percentile"})
_DECAYED = frozenset({"decayed_sum", "decayed_count", "decayed_mean"})
_LATEST = frozenset({"last", "since"})


@dataclass(frozen=True)
class Window:
    """A length of time and the grid its lower edge is rounded down to (microseconds; 0: exact)."""

    length: int
    tail: int

    def low(self, asked: int) -> int:
        """The lower edge, included, for a question at this time."""
        edge = asked - self.length
        return edge - edge % self.tail if self.tail else edge


@dataclass(frozen=True)
class Feature:
    """One aggregate of a group, and the track it reads."""

    name: str
    aggregate: Aggregate
    track: int
    dtype: pl.DataType

    @property
    def window(self) -> Window | None:
        """The window, for the aggregates that have one."""
        length = self.aggregate.window
        return None if length is None else Window(micros(length), micros(self.aggregate.tail))

    @property
    def max_age(self) -> int | None:
        """In microseconds."""
        return None if self.aggregate.max_age is None else micros(self.aggregate.max_age)

    @property
    def half_life(self) -> int:
        """In microseconds; 0 when nothing decays."""
        return 0 if self.aggregate.half_life is None else micros(self.aggregate.half_life)


@dataclass(frozen=True)
class TrackPlan:
    """One value expression over the events of a group, and the forms in which its features need it.

    Attributes:
        value: what is read of each event; None: only that it happened.
        dtype: the value's type.
        totals: running totals, for sums and means.
        squares: running totals of squares, for deviations.
        numbers: the values as doubles.
        kept: the values as they are, for first and last.
        half_lives: each needs a running decayed sum.
        windows: of its features.
        max_age: the longest age at which an event is still the latest; None: no feature asks for the latest.
        endless: some feature sees the whole past.
    """

    value: Expression | None
    dtype: pl.DataType | None
    totals: bool
    squares: bool
    numbers: bool
    kept: bool
    half_lives: tuple[int, ...]
    windows: tuple[Window, ...]
    max_age: int | None
    endless: bool

    @property
    def is_float(self) -> bool:
        """The values as they are are doubles."""
        return self.dtype is not None and self.dtype.is_float()

    @property
    def is_text(self) -> bool:
        """The values as they are are texts; what is neither text nor float is kept as 64-bit integers."""
        kind = self.dtype
        return kind is not None and not (kind.is_numeric() or kind.is_temporal() or kind == pl.Boolean)

    def first_needed(self, asked: int, delay: int) -> int:
        """The earliest event time that a question at this time, or later, can see through a window or an age."""
        edges = [asked - delay, *(window.low(asked) for window in self.windows)]
        return min(edges if self.max_age is None else [*edges, asked - self.max_age])


@dataclass(frozen=True)
class GroupPlan:
    """A feature group, compiled.

    Attributes:
        group: what was declared.
        delay: known_at - event_time, in microseconds.
        tracks: the distinct values it reads.
        features: in the order declared.
        ordered: events at the same time are told apart by their id, because first and last depend on it.
    """

    group: FeatureGroup
    delay: int
    tracks: tuple[TrackPlan, ...]
    features: tuple[Feature, ...]
    ordered: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the stream that it reads."""
        values = (root for track in self.tracks if track.value for root in track.value.roots)
        return tuple(dict.fromkeys((self.group.moment.at, *self.group.key, *values)))


@cache
def plan(group: FeatureGroup) -> GroupPlan:
    """Compile a group: equal value expressions share one track."""
    values: dict[Expression | None, list[Aggregate]] = {}
    for aggregate in group.features.values():
        values.setdefault(aggregate.value, []).append(aggregate)
    order = list(values)
    tracks = tuple(_track(group, value, aggregates) for value, aggregates in values.items())
    features = tuple(
        Feature(name, aggregate, order.index(aggregate.value), _dtype(aggregate, tracks[order.index(aggregate.value)]))
        for name, aggregate in group.features.items()
    )
    return GroupPlan(
        group=group,
        delay=micros(group.moment.stream.delay),
        tracks=tracks,
        features=features,
        ordered=any(track.kept for track in tracks),
    )


def plans(pipeline: Pipeline) -> Iterator[GroupPlan]:
    """The compiled groups of a pipeline, in order."""
    return (plan(group) for group in pipeline.groups)


def _track(group: FeatureGroup, value: Expression | None, aggregates: list[Aggregate]) -> TrackPlan:
    ops = {aggregate.op for aggregate in aggregates}
    windows = [Window(micros(a.window), micros(a.tail)) for a in aggregates if a.window is not None]
    ages = [a.max_age for a in aggregates if a.op in _LATEST]
    return TrackPlan(
        value=value,
        dtype=None if value is None else _value_type(group, value),
        totals=bool(ops & _TOTALS),
        squares="std" in ops,
        numbers=bool(ops & _NUMBERS),
        kept=bool(ops & {"first", "last"}),
        half_lives=tuple(dict.fromkeys(micros(a.half_life) for a in aggregates if a.half_life is not None)),
        windows=tuple(dict.fromkeys(windows)),
        max_age=max((micros(age) for age in ages if age is not None), default=None),
        endless=bool(ops & _DECAYED) or None in ages,
    )


def _value_type(group: FeatureGroup, value: Expression) -> pl.DataType:
    frame = pl.LazyFrame(schema=schema(group.moment.stream))
    return frame.select(value.polars.alias("value")).collect_schema()["value"]


def _dtype(aggregate: Aggregate, track: TrackPlan) -> pl.DataType:
    if aggregate.op in ("count", "distinct"):
        return pl.Int64()
    if aggregate.op in ("first", "last"):
        return track.dtype or pl.Float64()
    return pl.Float64()
