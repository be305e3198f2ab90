"""The one append-only history: every decision and every effect outside the process is one row, chained by hash."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from sqlalchemy import (
    URL,
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
    func,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError

from raypipe.clock import Clock
from raypipe.contracts.databases import database_url
from raypipe.errors import FencedError, KeyTakenError, LedgerError, NotAllowedError, WorkspaceError

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
COLUMNS = frozenset(column.name for column in _ROWS.columns)
#: What the first row names as the hash before it.
GENESIS = "0" * 64
_WRITES = "raypipe_writes"
_TRIES = 100
#: What PostgreSQL answers when rights, or the policy of a table, forbid it.
_DENIED = "42501"


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

    Raises:
        LedgerError: the database cannot be opened, or is none.
    """

    def __init__(self, url: str | URL, clock: Clock) -> None:
        self._clock = clock
        self._fence = ""
        self._engine = create_engine(url)
        self._name = self._engine.url.database or self._engine.url.render_as_string()
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _sqlite_pragmas)
            event.listen(self._engine, "begin", _sqlite_begin)
        else:
            event.listen(self._engine, "begin", _postgres_begin)
        with self._connection(writes=True) as connection:
            _ROWS.metadata.create_all(connection)

    @classmethod
    def in_folder(cls, folder: Path, clock: Clock) -> "Ledger":
        """The ledger of a workspace on this machine: one SQLite file.

        Raises:
            WorkspaceError: the folder cannot be made.
            LedgerError: the file cannot be opened, or is no ledger.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(f"cannot be made: {error.strerror}", where=str(folder)) from None
        return cls(URL.create("sqlite", database=str(folder / "ledger.db")), clock)

    @classmethod
    def at(cls, url: str, clock: Clock) -> "Ledger":
        """The ledger of a cluster: a table in PostgreSQL.

        Args:
            url: of the database, or a reference to one (``env:NAME``, ``file:/path``).
            clock: stamps the rows.

        Raises:
            SettingsError: it is no such URL, or its driver is not installed.
            LedgerError: the database cannot be reached.
        """
        return cls(database_url(url), clock)

    def fenced(self, key: str) -> "Ledger":
        """The same history for who holds a lease: once there is a row with this key, it takes none from them.

        The look and the write are one transaction, so it does not matter for how long the holder slept between them.
        """
        mine = copy(self)
        mine._fence = key
        return mine

    def append(self, key: str, kind: str, subject: str, body: str = "{}") -> Entry:
        """Add a row, once: the same key with the same content gives the row that is there.

        Raises:
            KeyTakenError: the key is there with another content.
            FencedError: this history is that of a lease, and somebody else has it now.
            LedgerError: the row cannot be written.
        """
        json.loads(body)
        entry = self._append(key, kind, subject, body)
        if (entry.kind, entry.subject, entry.body) != (kind, subject, body):
            raise KeyTakenError(f"key `{key}` is there with another content", where="ledger", cure="Use its own key")
        return entry

    def get(self, key: str) -> Entry | None:
        """The row with this key."""
        with self._connection() as connection:
            return self._find(connection, key)

    def row(self, seq: int) -> Entry | None:
        """The row with this number, from 1."""
        with self._connection() as connection:
            row = connection.execute(select(_ROWS).where(_ROWS.c.seq == seq)).first()
        return None if row is None else Entry(*row)

    def entries(self, kind: str | None = None, subject: str | None = None, holding: str = "") -> list[Entry]:
        """Rows in order, all or those of a kind and subject; only those whose body has ``holding`` in it.

        The database looks for the text, so that a few rows of a long history are found without reading all of it.
        """
        return list(self._walk(kind, subject, holding))

    def count(self, kind: str, subject: str) -> int:
        """How many rows there are of a kind and subject."""
        query = select(func.count()).where(_ROWS.c.kind == kind, _ROWS.c.subject == subject)
        with self._connection() as connection:
            return connection.execute(query).scalar_one()

    def subjects(self, kind: str) -> list[str]:
        """Whom the rows of a kind are about, each once, by name."""
        query = select(_ROWS.c.subject).where(_ROWS.c.kind == kind).distinct().order_by(_ROWS.c.subject)
        with self._connection() as connection:
            return list(connection.execute(query).scalars())

    def verify(self, anchor: Entry | None = None, signed: Mapping[int, str] | None = None) -> int:
        """Walk the chain and return how many rows it has.

        A chain alone cannot tell that its end was cut off, or that all of it was written anew. Compare it with a row
        that was seen before and kept elsewhere.

        Args:
            anchor: a row that must still be there, as it was.
            signed: the hash that each of these rows had when it was signed; see ``ledger.checkpoint``.

        Raises:
            LedgerError: a row was changed, removed, inserted or reordered; names the first.
        """
        previous, count = GENESIS, 0
        for entry in self._walk():
            count += 1
            if entry.seq != count:
                raise LedgerError(f"row {count} is missing", where="ledger")
            expected = _hash(entry.seq, entry.key, entry.kind, entry.subject, entry.at, entry.body, previous)
            if (entry.previous, entry.hash) != (previous, expected):
                raise LedgerError(f"row {entry.seq} (`{entry.key}`) is not what was written", where="ledger")
            if anchor is not None and anchor.seq == count and anchor != entry:
                raise LedgerError(f"row {entry.seq} is not the row that was there before", where="ledger")
            if signed and signed.get(count, entry.hash) != entry.hash:
                raise LedgerError(f"row {entry.seq}, or one before it, is not what was signed", where="ledger")
            previous = entry.hash
        if signed and (most := max(signed)) > count:
            raise LedgerError(f"it ends at row {count}, but had {most} rows when it was signed", where="ledger")
        if anchor is not None and anchor.seq > count:
            raise LedgerError(f"it ends at row {count}, but had {anchor.seq} rows before", where="ledger")
        return count

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextmanager
    def _connection(self, *, writes: bool = False) -> Iterator[Connection]:
        """One transaction; the database's own complaints become ours, in one sentence."""
        try:
            with self._engine.connect().execution_options(**{_WRITES: writes}) as connection, connection.begin():
                yield connection
        except IntegrityError:
            raise
        except DBAPIError as error:
            cure = "Check that the file can be written and its disk has space"
            if self._engine.dialect.name != "sqlite":
                cure = "`raypipe doctor` says what is wrong with the database"
            what = " ".join(str(error.orig).split())
            if getattr(error.orig, "sqlstate", "") == _DENIED:
                cure = "Let a role do it that may: see cluster/postgres/roles.sql"
                raise NotAllowedError(what, where=f"ledger {self._name}", cure=cure) from None
            raise LedgerError(what, where=f"ledger {self._name}", cure=cure) from error

    def _walk(self, kind: str | None = None, subject: str | None = None, holding: str = "") -> Iterator[Entry]:
        query = select(_ROWS).order_by(_ROWS.c.seq)
        if kind is not None:
            query = query.where(_ROWS.c.kind == kind)
        if subject is not None:
            query = query.where(_ROWS.c.subject == subject)
        if holding:
            query = query.where(_ROWS.c.body.contains(holding, autoescape=True))
        with self._connection() as connection:
            for row in connection.execution_options(yield_per=1_000).execute(query):
                yield Entry(*row)

    def _append(self, key: str, kind: str, subject: str, body: str) -> Entry:
        for _ in range(_TRIES):
            try:
                with self._connection(writes=True) as connection:
                    if self._fence and self._find(connection, self._fence):
                        raise FencedError(f"`{self._fence}` is there: the work is somebody else's now", where="ledger")
                    return self._find(connection, key) or self._insert(connection, key, kind, subject, body)
            except IntegrityError:
                # Another writer came between the look and the insert; only databases without our immediate lock.
                continue
        raise LedgerError(f"key `{key}` was overtaken {_TRIES} times", where=f"ledger {self._name}", cure="Try again")

    def _find(self, connection: Connection, key: str) -> Entry | None:
        row = connection.execute(select(_ROWS).where(_ROWS.c.key == key)).first()
        return None if row is None else Entry(*row)

    def _insert(self, connection: Connection, key: str, kind: str, subject: str, body: str) -> Entry:
        last = connection.execute(select(_ROWS.c.seq, _ROWS.c.hash).order_by(_ROWS.c.seq.desc()).limit(1)).first()
        seq, previous = (1, GENESIS) if last is None else (last.seq + 1, last.hash)
        at = self._clock.now()
        entry = Entry(seq, key, kind, subject, at, body, previous, _hash(seq, key, kind, subject, at, body, previous))
        connection.execute(_ROWS.insert().values(**vars(entry)))
        return entry


def _hash(*parts: object) -> str:
    return sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


def _sqlite_begin(connection: Connection) -> None:
    # Immediate: the write lock is taken before the last row is read, so no two writers chain to one row. A reader
    # takes no lock, so that it never waits for a writer.
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres_begin(connection: Connection) -> None:
    # One writer at a time, until its transaction ends: so no two chain to one row, and none has to try again.
    if connection.get_execution_options().get(_WRITES):
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('raypipe ledger'))"))


def _sqlite_pragmas(connection: object, _: object) -> None:
    # The driver would otherwise open transactions of its own before ours.
    connection.isolation_level = None  # type: ignore[attr-defined]  # a sqlite3.Connection
    cursor = connection.cursor()  # type: ignore[attr-defined]
    # First the patience: turning on WAL needs the file for itself, and several processes may open a new one at once.
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
