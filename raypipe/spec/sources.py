"""Where rows come from: tables that are looked things up in, and streams of events with their times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

import polars as pl

from raypipe.spec.agg import Aggregate
from raypipe.spec.checks import Check
from raypipe.spec.expressions import Expression
from raypipe.spec.files import ColumnType, Files
from raypipe.spec.live import Live
from raypipe.spec.values import FrozenMap, place, written_at


@dataclass(frozen=True)
class Lookup:
    """A column of a table, found by the value of another column of the row at hand; null when there is none."""

    table: "Table"
    column: str
    by: str
    where: str = place()


LabelTask: TypeAlias = Literal["binary", "multiclass", "regression", "quantile", "count"]
Derivation: TypeAlias = pl.Expr | Expression | Lookup


@dataclass(frozen=True, init=False)
class Table:
    """Reference rows without a time of their own: one row a key; a later load of the same key replaces it.

    Args:
        name: its name in the lake.
        source: the files.
        key: the column that identifies a row.
        columns: the columns as shipped, by their Python type: ``{int: "year month", str: "carrier"}``.
        derive: further columns, in order, from expressions over the ones before.
        gate: checks that it must pass before anything reads it.
        retain: how long snapshots stay; every ingestion forgets older ones, with their files. None: for ever.
        rescales: columns whose values may become many times larger or smaller at once: in others that stops the source.
    """

    name: str
    source: Files
    key: str
    columns: FrozenMap[ColumnType]
    derive: FrozenMap[Expression | Lookup]
    gate: tuple[Check, ...]
    retain: timedelta | None = None
    rescales: tuple[str, ...] = ()
    where: str = place()

    def __init__(
        self,
        name: str,
        source: Files,
        *,
        key: str,
        columns: Mapping[ColumnType, str],
        derive: Mapping[str, Derivation] | None = None,
        gate: Sequence[Check] = (),
        retain: timedelta | None = None,
        rescales: Sequence[str] = (),
    ) -> None:
        _set(self, retain=retain, rescales=tuple(rescales))
        _set(self, name=name, source=source, key=key, columns=_by_name(columns))
        _set(self, derive=_derivations(derive), gate=tuple(gate), where=written_at())

    def lookup(self, column: str, *, by: str) -> Lookup:
        """``column`` of the row of this table whose key is the value of ``by``."""
        return Lookup(self, column, by)

    def columns_by(self, by: str, *names: str, **renamed: str) -> "TableFeatures":
        """Features that are plain columns of this table, found by the request field ``by``."""
        chosen = FrozenMap({name: name for name in names} | renamed)
        return TableFeatures(self, by, chosen)

    @property
    def id(self) -> tuple[str, ...]:
        """The columns that identify a row, by the name that streams use."""
        return (self.key,)

    def rows(self) -> "Ask":
        """One prediction a row of this table: data without time, asked about whenever somebody asks."""
        return Ask(self, "", timedelta(0))

    def label(self, truth: pl.Expr, *, task: "LabelTask" = "binary", quantile: float | None = None) -> "Label":
        """What is to be predicted of each row; see `Stream.label`."""
        return Label(self, Expression.of(truth), timedelta(0), task, quantile)


@dataclass(frozen=True, init=False)
class Stream:
    """Rows that each tell of something that happened at a time.

    Args:
        name: its name in the lake.
        history: the files of the past; None: there are none.
        live: the log of what happens now; None: there is none. A row may come both ways: its id counts once.
        id: columns that identify a row; the same id counts once.
        time: the column with the row's first moment, from which it exists.
        columns: the columns as shipped, by their Python type: ``{int: "year month", str: "carrier"}``.
        derive: further columns, in order, from expressions over the ones before.
        reveals: later moments in the life of a row (columns holding their time, earliest first), each with the
            columns that are known only from then on. Columns derived from them are known from then on too. All
            other columns are known before ``time``.
        delay: how long after a moment we can know of it: ``known_at = moment + delay``.
        late_by: how far behind the newest event an event may come and still be in time. Later ones land too; a column
            ``late`` of the lake marks them, and one that came live is known from when it came. None: nothing is late.
        gate: checks that it must pass before anything reads it.
        published: the column that says when each row was published, if the rows' delays differ:
            ``known_at = published + delay``; where it is null, the moment takes its place.
        retain: how long snapshots stay; every ingestion forgets older ones, with their files. None: for ever.
        rescales: columns whose values may become many times larger or smaller at once: in others that stops the source.
    """

    name: str
    history: Files | None
    id: tuple[str, ...]
    time: str
    columns: FrozenMap[ColumnType]
    derive: FrozenMap[Expression | Lookup]
    reveals: FrozenMap[tuple[str, ...]]
    delay: timedelta
    gate: tuple[Check, ...]
    live: Live | None = None
    late_by: timedelta | None = None
    published: str | None = None
    retain: timedelta | None = None
    rescales: tuple[str, ...] = ()
    where: str = place()

    def __init__(
        self,
        name: str,
        history: Files | None = None,
        *,
        live: Live | None = None,
        id: Sequence[str],
        time: str,
        columns: Mapping[ColumnType, str],
        derive: Mapping[str, Derivation] | None = None,
        reveals: Mapping[str, Sequence[str]] | None = None,
        delay: timedelta = timedelta(0),
        late_by: timedelta | None = None,
        gate: Sequence[Check] = (),
        published: str | None = None,
        retain: timedelta | None = None,
        rescales: Sequence[str] = (),
    ) -> None:
        _set(self, live=live, late_by=late_by, retain=retain, rescales=tuple(rescales))
        _set(self, name=name, history=history, id=tuple(id), time=time, columns=_by_name(columns), delay=delay)
        _set(self, published=published)
        _set(self, derive=_derivations(derive), gate=tuple(gate), where=written_at())
        _set(self, reveals=FrozenMap({moment: tuple(names) for moment, names in (reveals or {}).items()}))

    @property
    def source(self) -> Files | None:
        """The files of the past, by the name that tables use."""
        return self.history

    def at(self, moment: str) -> "Moment":
        """The events of this stream as they become known at ``moment``."""
        return Moment(self, moment)

    def by(self, *key: str, asked: Sequence[str] = ()) -> "Keyed":
        """The events of this stream by key; short for ``at(time).by(...)``."""
        return self.at(self.time).by(*key, asked=asked)

    def before(self, moment: str, lead: timedelta = timedelta(0)) -> "Ask":
        """One prediction a row of this stream, asked ``lead`` before ``moment``."""
        return Ask(self, moment, lead)

    def label(
        self, truth: pl.Expr, *, settled_after: timedelta, task: LabelTask = "binary", quantile: float | None = None
    ) -> "Label":
        """What is to be predicted of each row, settled so long after the prediction is asked.

        Args:
            truth: an expression over the row: true or false for ``binary``, text for ``multiclass``, else a number.
            settled_after: how long after the asking it is known.
            task: ``binary``, ``multiclass``, ``regression`` (the mean), ``quantile`` or ``count`` (never negative).
            quantile: for ``quantile``: the share of rows that lie below the answer, between 0 and 1.
        """
        return Label(self, Expression.of(truth), settled_after, task, quantile)


@dataclass(frozen=True)
class Moment:
    """The events of a stream at one moment of their rows' lives: event_time is that column, known_at adds the delay."""

    stream: Stream
    at: str
    where: str = place()

    def by(self, *key: str, asked: Sequence[str] = ()) -> "Keyed":
        """Group the events by key columns; ``asked`` names the request fields that hold the key, if named otherwise."""
        return Keyed(self, key, tuple(asked) or key)


@dataclass(frozen=True)
class Keyed:
    """Events grouped by a key, ready to be aggregated."""

    moment: Moment
    key: tuple[str, ...]
    asked: tuple[str, ...]
    where: str = place()

    def features(self, **aggregates: Aggregate) -> "FeatureGroup":
        """Aggregates over the events of the asked key; the keyword is the feature's name."""
        return FeatureGroup(self.moment, self.key, self.asked, FrozenMap(aggregates))


@dataclass(frozen=True)
class FeatureGroup:
    """Features that are aggregates over the past events of one key."""

    moment: Moment
    key: tuple[str, ...]
    asked: tuple[str, ...]
    features: FrozenMap[Aggregate]
    where: str = place()


@dataclass(frozen=True)
class TableFeatures:
    """Features that are columns of a table, found by one request field."""

    table: Table
    by: str
    features: FrozenMap[str]
    where: str = place()


@dataclass(frozen=True)
class Ask:
    """When a prediction is asked: once a row of the stream, ``lead`` before its ``moment``.

    Rows of a table have no moment: it is empty, and the time of asking means nothing.
    """

    stream: "Source"
    moment: str
    lead: timedelta
    where: str = place()

    @property
    def timed(self) -> bool:
        """Whether rows have a time at which they are asked about."""
        return bool(self.moment)


@dataclass(frozen=True)
class Label:
    """The truth about a row, as an expression over it, known ``settled_after`` the asking at the latest."""

    stream: "Source"
    truth: Expression
    settled_after: timedelta
    task: LabelTask = "binary"
    quantile: float | None = None
    where: str = place()


Source: TypeAlias = Table | Stream


def _by_name(columns: Mapping[ColumnType, str]) -> FrozenMap[ColumnType]:
    found: dict[str, ColumnType] = {}
    for kind, names in columns.items():
        for name in names.split():
            if name in found:
                raise ValueError(f"column `{name}` is declared twice")
            found[name] = kind
    return FrozenMap(found)


def _derivations(derive: Mapping[str, Derivation] | None) -> FrozenMap[Expression | Lookup]:
    return FrozenMap({k: v if isinstance(v, Lookup) else Expression.of(v) for k, v in (derive or {}).items()})


def _set(value: object, **fields: object) -> None:
    for name, content in fields.items():
        object.__setattr__(value, name, content)
