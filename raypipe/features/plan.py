"""What a feature group asks of its events: which values, in which form, how far back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, cached_property

import numpy as np
import polars as pl

from raypipe.spec import Expression, FeatureGroup, Pipeline, Stream, micros
from raypipe.spec.agg import Aggregate, Op
from raypipe.spec.shape import LATE, schema
from raypipe.stats.arrays import Ints

_TOTALS = frozenset({"sum", "mean", "std"})
_NUMBERS = frozenset({"min", "max", "percentile"})
_WHOLE_PAST = frozenset({"decayed_sum", "decayed_count", "decayed_mean", "tenure"})
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
    """One aggregate of a group.

    Attributes:
        name: the feature's name.
        aggregate: what was declared.
        op: what is computed.
        track: which of the plan's tracks it reads.
        window: which of the plan's windows it looks through.
        max_age: in microseconds.
        half_life: in microseconds; 0 when nothing decays.
        dtype: of the feature.
    """

    name: str
    aggregate: Aggregate
    op: Op
    track: int
    window: int | None
    max_age: int | None
    half_life: int
    dtype: pl.DataType


@dataclass(frozen=True)
class TrackPlan:
    """One value expression over the events of a group, and the forms in which its features need it.

    Attributes:
        value: what is read of each event; None: only that it happened.
        dtype: the value's type.
        totals: running totals, for sums and means.
        squares: running totals of squares, for deviations.
        numbers: the values as doubles.
        hashes: of the values, for telling them apart.
        kept: the values as they are, for first and last.
        half_lives: each needs a running decayed sum.
        firsts: the time of the key's first event, for tenure.
        windows: of its features.
        rows: which of the group's edges it looks up: the two ends, then the beginnings of its windows.
        max_age: the longest age at which an event is still the latest; None: no feature asks for the latest.
        endless: some feature sees the whole past.
    """

    value: Expression | None
    dtype: pl.DataType | None
    totals: bool
    squares: bool
    numbers: bool
    hashes: bool
    kept: bool
    half_lives: tuple[int, ...]
    firsts: bool
    windows: tuple[Window, ...]
    rows: tuple[int, ...]
    max_age: int | None
    endless: bool

    @property
    def valued(self) -> bool:
        """Something is read of each event, not only that it happened."""
        return self.value is not None

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
class Batch:
    """Features that are computed together: the same aggregate of the same track, over one or several windows.

    Attributes:
        op: what is computed.
        track: which of the plan's tracks is read.
        features: which of the plan's features come of it.
        rows: for each the row of its window among the plan's edges; none for aggregates without a window.
        rank: for percentiles.
        max_age: in microseconds.
        half_life: in microseconds; 0 when nothing decays.
    """

    op: Op
    track: int
    features: tuple[int, ...]
    rows: tuple[int, ...]
    rank: float | None
    max_age: int | None
    half_life: int


@dataclass(frozen=True)
class GroupPlan:
    """A feature group, compiled.

    Attributes:
        group: what was declared.
        delay: known_at - event_time, in microseconds; zero when each row has a ``known_at`` of its own.
        tracks: the distinct values it reads.
        features: in the order declared.
        windows: of all features, each once.
        ordered: events at the same time are put in the order of their ids: first and last depend on it, and the last
            bit of a decayed sum does.
        punctual: every event counts as known as soon as it happened and the stream's delay is over, however late it
            was: what would have been known, had nothing been late.
    """

    group: FeatureGroup
    delay: int
    tracks: tuple[TrackPlan, ...]
    features: tuple[Feature, ...]
    windows: tuple[Window, ...]
    ordered: bool
    punctual: bool = False

    @property
    def late(self) -> bool:
        """Rows have a ``known_at`` of their own: events become known in another order than they happen."""
        stream = self.group.moment.stream
        return not self.punctual and (stream.published is not None or _marked(stream))

    def known_at(self) -> pl.Expr:
        """When a row was known, in microseconds UTC."""
        moment, stream = pl.col(self.group.moment.at), self.group.moment.stream
        return moment.cast(pl.Int64) + micros(stream.delay) if self.punctual else known_at(stream, moment)

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """The features in batches."""
        together: dict[object, list[int]] = {}
        for i, feature in enumerate(self.features):
            alone = i if feature.window is None else None
            together.setdefault((feature.op, feature.track, feature.aggregate.rank, alone), []).append(i)
        return tuple(self._batch(tuple(members)) for members in together.values())

    def _batch(self, members: tuple[int, ...]) -> Batch:
        first = self.features[members[0]]
        windows = (self.features[i].window for i in members)
        return Batch(
            op=first.op,
            track=first.track,
            features=members,
            rows=tuple(window + 2 for window in windows if window is not None),
            rank=first.aggregate.rank,
            max_age=first.max_age,
            half_life=first.half_life,
        )

    @cached_property
    def _offsets(self) -> tuple[Ints, Ints]:
        """For each edge how far it lies before the time asked, and its grid: shape (edges, 1)."""
        known = self.delay - 1
        offsets = [known if self.delay else 0, known, *(window.length for window in self.windows)]
        tails = [1, 1, *(window.tail or 1 for window in self.windows)]
        return np.array(offsets, np.int64)[:, None], np.array(tails, np.int64)[:, None]

    def edges(self, asked: Ints) -> Ints:
        """Event times that questions look up, shape (2 + windows, questions).

        Row 0 ends every window: events before it happened before the question and were known by then. Row 1 ends the
        events that can be the latest: happened and known at the time of the question at the latest. The other rows
        begin the windows.
        """
        offsets, tails = self._offsets
        edges: Ints = asked - offsets
        return edges - edges % tails

    def edges_of_one(self, asked: int) -> list[int]:
        """The edges of one question."""
        return [edge - edge % tail for offset, tail in self._pairs for edge in (asked - offset,)]

    @cached_property
    def _pairs(self) -> list[tuple[int, int]]:
        offsets, tails = self._offsets
        return list(zip(offsets[:, 0].tolist(), tails[:, 0].tolist(), strict=True))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the stream that it reads."""
        values = (root for track in self.tracks if track.value for root in track.value.roots)
        stream = self.group.moment.stream
        ids = stream.id if self.ordered else ()
        known = self.known_at().meta.root_names()
        return tuple(dict.fromkeys((self.group.moment.at, *self.group.key, *values, *ids, *known)))


def known_at(stream: Stream, moment: pl.Expr) -> pl.Expr:
    """When what a moment reveals of a row of a stream was known, in microseconds UTC."""
    delay, published = micros(stream.delay), [] if stream.published is None else [stream.published]
    known = pl.coalesce(*published, moment).cast(pl.Int64) + delay
    if not _marked(stream):
        return known
    complete = pl.coalesce(*published, pl.max_horizontal(stream.time, *stream.reveals)).cast(pl.Int64) + delay
    came = pl.col("known_at").cast(pl.Int64)
    # Rows of files are marked too, but nobody knows when they came.
    return pl.when(pl.col(LATE) & (came > complete)).then(pl.max_horizontal(came, known)).otherwise(known)


def _marked(stream: Stream) -> bool:
    """The lake marks rows that came live and late, and says when they came."""
    return stream.live is not None and stream.late_by is not None


def plan(group: FeatureGroup, *, punctual: bool = False) -> GroupPlan:
    """Compile a group: equal value expressions share one track."""
    return _compiled(group, punctual)


@cache
def _compiled(group: FeatureGroup, punctual: bool) -> GroupPlan:
    values: dict[Expression | None, list[Aggregate]] = {}
    for aggregate in group.features.values():
        values.setdefault(aggregate.value, []).append(aggregate)
    order = list(values)
    windows = tuple(dict.fromkeys(_window(a) for a in group.features.values() if a.window is not None))
    types = _value_types(group, order)
    tracks = tuple(_track(value, types.get(value), aggregates, windows) for value, aggregates in values.items())
    features = tuple(
        _feature(name, aggregate, order.index(aggregate.value), tracks, windows)
        for name, aggregate in group.features.items()
    )
    return GroupPlan(
        group=group,
        delay=0 if group.moment.stream.published and not punctual else micros(group.moment.stream.delay),
        tracks=tracks,
        features=features,
        windows=windows,
        ordered=any(track.kept or track.half_lives for track in tracks),
        punctual=punctual,
    )


def plans(pipeline: Pipeline, *, punctual: bool = False) -> Iterator[GroupPlan]:
    """The compiled groups of a pipeline, in order."""
    return (plan(group, punctual=punctual) for group in pipeline.groups)


def _feature(
    name: str, aggregate: Aggregate, track: int, tracks: tuple[TrackPlan, ...], windows: tuple[Window, ...]
) -> Feature:
    return Feature(
        name=name,
        aggregate=aggregate,
        op=aggregate.op,
        track=track,
        window=None if aggregate.window is None else windows.index(_window(aggregate)),
        max_age=None if aggregate.max_age is None else micros(aggregate.max_age),
        half_life=0 if aggregate.half_life is None else micros(aggregate.half_life),
        dtype=_dtype(aggregate, tracks[track]),
    )


def _window(aggregate: Aggregate) -> Window:
    return Window(micros(aggregate.window or timedelta(0)), micros(aggregate.tail))


def _track(
    value: Expression | None, dtype: pl.DataType | None, aggregates: list[Aggregate], windows: tuple[Window, ...]
) -> TrackPlan:
    ops = {aggregate.op for aggregate in aggregates}
    mine = tuple(dict.fromkeys(_window(a) for a in aggregates if a.window is not None))
    ages = [a.max_age for a in aggregates if a.op in _LATEST and a.window is None]
    return TrackPlan(
        value=value,
        dtype=dtype,
        totals=bool(ops & _TOTALS),
        squares="std" in ops,
        numbers=bool(ops & _NUMBERS),
        hashes="distinct" in ops,
        kept=bool(ops & {"first", "last"}),
        half_lives=tuple(dict.fromkeys(micros(a.half_life) for a in aggregates if a.half_life is not None)),
        firsts="tenure" in ops,
        windows=mine,
        rows=(0, 1, *(windows.index(window) + 2 for window in mine)),
        max_age=max((micros(age) for age in ages if age is not None), default=None),
        endless=bool(ops & _WHOLE_PAST) or None in ages,
    )


def _value_types(group: FeatureGroup, values: Sequence[Expression | None]) -> dict[Expression | None, pl.DataType]:
    """What each value is; asked of Polars in one go, as every question takes as long as the stream is wide."""
    some = [value for value in values if value is not None]
    frame = pl.LazyFrame(schema=schema(group.moment.stream))
    found = frame.select(value.polars.alias(f"{i}") for i, value in enumerate(some)).collect_schema()
    return dict(zip(some, found.dtypes(), strict=True))


def _dtype(aggregate: Aggregate, track: TrackPlan) -> pl.DataType:
    if aggregate.op in ("count", "distinct"):
        return pl.Int64()
    if aggregate.op in ("first", "last"):
        return track.dtype or pl.Float64()
    return pl.Float64()
