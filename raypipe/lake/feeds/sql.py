"""Rows of a database table as a log: in the order of a column that only grows, read beyond the last value each time."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from time import monotonic
from typing import Any

import msgspec
from sqlalchemy import (
    URL,
    ColumnElement,
    Engine,
    Executable,
    NullPool,
    column,
    create_engine,
    func,
    make_url,
    select,
    table,
)
from sqlalchemy.exc import SQLAlchemyError

from raypipe.clock import Clock
from raypipe.contracts.streaming import Messages, Offsets
from raypipe.errors import ServiceError, SourceError

PAUSE_SECONDS = 0.5
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


class SqlLog:
    """One table or view. Offsets are the values of the growing column, times as microseconds; partitions are shards.

    Args:
        topic: ``DATABASE/TABLE``, where the table may be ``SCHEMA.TABLE``.
        by: the column that only grows: whole numbers, or times.
        columns: what is read.
        shards: how many readers share it, by the remainder of the growing number.
        connection: by name of database its URL.
        clock: says when rows came.
    """

    def __init__(
        self, topic: str, by: str, columns: list[str], shards: int, connection: Mapping[str, str], clock: Clock
    ) -> None:
        database, _, name = topic.partition("/")
        self._where, self._clock = f"sql {topic}", clock
        self._by: ColumnElement[Any] = column(by)
        if database not in connection:
            cure = f'Write `[databases]` and `{database} = "postgresql+psycopg://…"` into raypipe.toml'
            raise SourceError(f"nobody said where the database `{database}` is", where=self._where, cure=cure)
        schema, _, name = name.rpartition(".")
        self._table = table(name, *(column(one) for one in dict.fromkeys((*columns, by))), schema=schema or None)
        self._name, self._columns, self._shards = by, columns, shards
        try:
            self._engine: Engine = create_engine(_url(connection[database]), poolclass=NullPool)
        except (SQLAlchemyError, ImportError) as error:
            why = str(error).splitlines()[0]
            raise ServiceError(f"cannot be opened: {why}", where=self._where, cure="Check its URL and driver") from None
        self._times = False

    def identity(self) -> str:
        """The database's and the table's name. Raises SourceError when the growing column cannot be one."""
        value = self._ask(select(func.max(self._by)).select_from(self._table))[0][0]
        self._times = isinstance(value, datetime)
        if value is not None and not (isinstance(value, int) or (self._times and value.tzinfo)):
            cure = "Give a column of whole numbers, or of times with their zone"
            raise SourceError(f"`{self._name}` is {type(value).__name__}", where=self._where, cure=cure)
        if self._times and self._shards > 1:
            raise SourceError("times cannot be shared out", where=self._where, cure="Leave `shards` out")
        self._require_no_gaps()
        return self._where

    def read(self, after: Offsets, limit: int, seconds: float) -> Messages:
        """The next rows, shard by shard; rows of one value come together, even above the limit."""
        until = monotonic() + seconds
        while True:
            with ThreadPoolExecutor(self._shards) as pool:
                parts = list(pool.map(lambda shard: self._next(shard, after, limit), range(self._shards)))
            found, now = Messages(), self._clock.now()
            for shard, rows in enumerate(parts):
                for row in rows:
                    values = dict(zip(self._columns, row, strict=False))
                    found.add(str(shard), self._number(row[-1]), now, _ENCODER.encode(values))
            if len(found) or monotonic() >= until:
                return found
            Event().wait(PAUSE_SECONDS)

    def lag(self, after: Offsets) -> dict[str, int]:
        """How many rows come after. Raises SourceError when one has come that never would."""
        self._require_no_gaps()
        counts = select(func.count()).select_from(self._table)
        return {str(shard): self._ask(counts.where(*self._beyond(shard, after)))[0][0] for shard in range(self._shards)}

    def done(self, until: Offsets) -> None:
        """A database keeps its rows."""

    def close(self) -> None:
        """Nothing is held open."""
        self._engine.dispose()

    def _require_no_gaps(self) -> None:
        gaps = self._ask(select(func.count()).select_from(self._table).where(self._by.is_(None)))[0][0]
        if gaps:
            what = f"{gaps:,} rows have no `{self._name}`: they would never be read"
            raise SourceError(what, where=self._where, cure="Fill it, or read a view without them")

    def _next(self, shard: int, after: Offsets, limit: int) -> list[tuple[Any, ...]]:
        wanted = select(*(self._table.c[name] for name in self._columns), self._by).select_from(self._table)
        wanted, many = wanted.order_by(self._by), max(limit // self._shards, 1)
        rows = self._ask(wanted.where(*self._beyond(shard, after)).limit(many))
        if len(rows) < many:
            return rows
        # The last value may have been cut: take all of its rows.
        last = rows[-1][-1]
        whole = self._ask(wanted.where(*self._of(shard), self._by == last))
        return [row for row in rows if row[-1] != last] + whole

    def _beyond(self, shard: int, after: Offsets) -> list[ColumnElement[bool]]:
        start = after.get(str(shard))
        value = _EPOCH + start * _MICROSECOND if self._times and start is not None else start
        return self._of(shard) + ([] if value is None else [self._by > value])

    def _of(self, shard: int) -> list[ColumnElement[bool]]:
        return [] if self._shards == 1 else [func.abs(self._by % self._shards) == shard]

    def _number(self, value: object) -> int:
        if isinstance(value, datetime):
            return (value - _EPOCH) // _MICROSECOND
        assert isinstance(value, int)  # noqa: S101  # `identity` has looked
        return value

    def _ask(self, what: Executable) -> list[tuple[Any, ...]]:
        try:
            connection = self._engine.connect()
        except SQLAlchemyError as error:
            raise self._silent(error) from None
        with connection:
            try:
                return [tuple(row) for row in connection.execute(what)]
            except SQLAlchemyError as error:
                if getattr(error, "connection_invalidated", False):
                    raise self._silent(error) from None
                cure = "Check the table, its columns and your rights"
                raise SourceError(f"cannot be read: {_words(error)}", where=self._where, cure=cure) from None

    def _silent(self, error: SQLAlchemyError) -> ServiceError:
        cure = "Check the setting `databases`, and that the database is up"
        return ServiceError(f"does not answer: {_words(error)}", where=self._where, cure=cure)


def _words(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", error)).splitlines()[0]


def _url(text: str) -> URL:
    found = make_url(text)
    return found.set(drivername="postgresql+psycopg") if found.drivername == "postgresql" else found
