"""The one append-only history: every decision and every effect outside the process is one row, chained by hash."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    select,
)
from sqlalchemy.exc import IntegrityError

from raypipe.clock import Clock
from raypipe.errors import LedgerError

_ROWS = Table(
    "ledger",
    MetaData(),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("key", String(255), nullable=False, unique=True),
    Column("kind", String(64), nullable=False, index=True),
    Column("subject", String(255), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
_GENESIS = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One row: what happened (``kind``), to whom (``subject``), when (microseconds UTC), and its JSON ``body``."""

    seq: int
    key: str
    kind: str
    subject: str
    at: int
    body: str
    previous: str
    hash: str


class Ledger:
    """An append-only table with a unique key: idempotence lock, outbox, audit log and time line at once.

    Safe for several processes: the database orders the appends, and a row's hash covers the row before it.

    Args:
        url: a SQLAlchemy URL, such as ``sqlite:////path/ledger.db`` or ``postgresql+psycopg://…``.
        clock: stamps the rows.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self._engine = create_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _sqlite_pragmas)
            # Immediate: the write lock is taken before the last row is read, so no two writers chain to one row.
            event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        _ROWS.metadata.create_all(self._engine)

    @classmethod
    def in_folder(cls, folder: Path, clock: Clock) -> "Ledger":
        """The ledger of a workspace on this machine: one SQLite file."""
        folder.mkdir(parents=True, exist_ok=True)
        return cls(f"sqlite:///{folder / 'ledger.db'}", clock)

    def append(self, key: str, kind: str, subject: str, body: str = "{}") -> Entry:
        """Add a row, once: the same key with the same content gives the row that is there.

        Raises:
            LedgerError: the key is there with another content.
        """
        try:
            with self._engine.begin() as connection:
                present = self._find(connection, key)
                entry = present or self._insert(connection, key, kind, subject, body)
        except IntegrityError:
            # Another writer came between the look and the insert (databases without our immediate lock).
            return self.append(key, kind, subject, body)
        if (entry.kind, entry.subject, entry.body) != (kind, subject, body):
            raise LedgerError(f"key `{key}` is there with another content", where="ledger", cure="Use a key of its own")
        return entry

    def get(self, key: str) -> Entry | None:
        """The row with this key."""
        with self._engine.begin() as connection:
            return self._find(connection, key)

    def entries(self, kind: str | None = None, subject: str | None = None) -> list[Entry]:
        """Rows in order, all or those of a kind and subject."""
        query = select(_ROWS).order_by(_ROWS.c.seq)
        if kind is not None:
            query = query.where(_ROWS.c.kind == kind)
        if subject is not None:
            query = query.where(_ROWS.c.subject == subject)
        with self._engine.begin() as connection:
            return [Entry(*row) for row in connection.execute(query)]

    def verify(self) -> int:
        """Walk the chain and return how many rows it has.

        Raises:
            LedgerError: a row was changed, removed, inserted or reordered; names the first.
        """
        previous, count = _GENESIS, 0
        for entry in self._walk():
            count += 1
            expected = _hash(entry.seq, entry.key, entry.kind, entry.subject, entry.at, entry.body, previous)
            if (entry.seq, entry.previous, entry.hash) != (count, previous, expected):
                raise LedgerError(f"row {entry.seq} (`{entry.key}`) is not what was written", where="ledger")
            previous = entry.hash
        return count

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _walk(self) -> Iterator[Entry]:
        yield from self.entries()

    def _find(self, connection: Connection, key: str) -> Entry | None:
        row = connection.execute(select(_ROWS).where(_ROWS.c.key == key)).first()
        return None if row is None else Entry(*row)

    def _insert(self, connection: Connection, key: str, kind: str, subject: str, body: str) -> Entry:
        json.loads(body)
        last = connection.execute(select(_ROWS.c.seq, _ROWS.c.hash).order_by(_ROWS.c.seq.desc()).limit(1)).first()
        seq, previous = (1, _GENESIS) if last is None else (last.seq + 1, last.hash)
        at = self._clock.now()
        entry = Entry(seq, key, kind, subject, at, body, previous, _hash(seq, key, kind, subject, at, body, previous))
        connection.execute(_ROWS.insert().values(**vars(entry)))
        return entry


def _hash(*parts: object) -> str:
    return sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


def _sqlite_pragmas(connection: object, _: object) -> None:
    # SQLAlchemy's driver-level autocommit off would open transactions of its own before ours.
    connection.isolation_level = None  # type: ignore[attr-defined]  # a sqlite3.Connection
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()
