"""How a ledger's database is: there, of the right shape, closed to changes, with the right time."""

from collections.abc import Iterator

from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from raypipe.clock import Clock
from raypipe.contracts.databases import database_url
from raypipe.contracts.findings import Finding, clock
from raypipe.errors import SettingsError
from raypipe.ledger.ledger import COLUMNS

_REACH = "Check host, port and network; the user and its password; and that the database exists"


def examine(url: str, ours: Clock) -> Iterator[Finding]:
    """Look at the ledger's PostgreSQL database; nothing is changed.

    Args:
        url: of the database, or a reference to one.
        ours: the clock of this machine.
    """
    try:
        engine = create_engine(database_url(url))
    except SettingsError as error:
        yield Finding(part="ledger", check="reached", state="fault", detail=error.what, cure=error.cure)
        return
    try:
        with engine.connect() as connection:
            yield from _look(connection, ours)
    except DBAPIError as error:
        yield Finding(
            part="ledger", check="reached", state="fault", detail=" ".join(str(error.orig).split()), cure=_REACH
        )
    finally:
        engine.dispose()


def _look(connection: Connection, ours: Clock) -> Iterator[Finding]:
    version = connection.execute(text("SHOW server_version")).scalar_one()
    who = connection.execute(text("SELECT current_user")).scalar_one()
    yield Finding(part="ledger", check="reached", state="ok", detail=f"PostgreSQL {version}, as {who}")
    before = ours.now() / 1e6
    theirs = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    yield clock("ledger", theirs, before, ours.now() / 1e6)
    there = inspect(connection)
    if not there.has_table("ledger"):
        cure = "The first run makes it; or make it with the roles of cluster/postgres/roles.sql"
        yield Finding(part="ledger", check="schema", state="warning", detail="has no table yet", cure=cure)
        return
    if lacking := COLUMNS - {column["name"] for column in there.get_columns("ledger")}:
        detail = f"table ledger lacks {', '.join(sorted(lacking))}"
        cure = "It is not ours: name another database"
        yield Finding(part="ledger", check="schema", state="fault", detail=detail, cure=cure)
        return
    rows = connection.execute(text("SELECT count(*) FROM ledger")).scalar_one()
    yield Finding(part="ledger", check="schema", state="ok", detail=f"{rows:,} rows")
    may = connection.execute(
        text("SELECT has_table_privilege('ledger', 'UPDATE') OR has_table_privilege('ledger', 'DELETE')")
    ).scalar_one()
    if may:
        cure = "Give each part a role of its own: cluster/postgres/roles.sql"
        detail = f"{who} may change and delete rows"
        yield Finding(part="ledger", check="rights", state="warning", detail=detail, cure=cure)
    else:
        yield Finding(part="ledger", check="rights", state="ok", detail=f"{who} may only add rows")
