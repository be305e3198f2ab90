"""Least privilege in PostgreSQL: each part logs in with its own password and can do its work, and nothing else."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from pyiceberg.catalog.sql import SqlCatalogBaseTable
from sqlalchemy import create_engine, inspect

from raypipe.clock import ManualClock, SystemClock
from raypipe.contracts import bundle
from raypipe.contracts.databases import database_url
from raypipe.contracts.progress import Silent
from raypipe.errors import LedgerError, NotAllowedError, RaypipeError
from raypipe.flows.register import register
from raypipe.lake.catalog import open_catalog
from raypipe.ledger import Ledger
from raypipe.ledger.examine import examine
from raypipe.ledger.ledger import _ROWS
from raypipe.registry import Registry
from raypipe.registry.releases import RELEASED
from raypipe.registry.rows import DEPLOYED, PROMOTED
from tests.cluster import servers
from tests.registry.making import lineage_of, make_candidate, make_training_set

SQL = Path(__file__).parents[2] / "cluster" / "postgres" / "roles.sql"
ROLES = ("reader", "server", "trainer", "promoter")
DENIED = "permission denied|row-level security|never changed or removed"


@pytest.fixture(scope="module")
def logins(postgres: servers.Postgres) -> Iterator[Callable[[str], str]]:
    """The URL by which each part logs in, and `owner`'s."""
    postgres.run("CREATE DATABASE roles OWNER raypipe")
    postgres.run("ALTER ROLE raypipe CREATEROLE")
    with psycopg.connect(plain(postgres, "raypipe"), autocommit=True) as owner:
        for _ in range(2):  # again changes nothing
            owner.execute(SQL.read_bytes())
        for role in ROLES:
            owner.execute(f"CREATE ROLE one_{role} LOGIN PASSWORD 'of {role}' IN ROLE raypipe_{role}")
    yield (
        lambda role: (
            plain(postgres, "raypipe") if role == "owner" else postgres.url(f"one_{role}", "roles", f"of%20{role}")
        )
    )
    postgres.run("DROP DATABASE roles WITH (FORCE)")


def plain(postgres: servers.Postgres, user: str) -> str:
    return postgres.url(user, "roles")


@pytest.fixture
def ledgers(logins: Callable[[str], str]) -> Iterator[Callable[[str], Ledger]]:
    opened: list[Ledger] = []

    def open_as(role: str) -> Ledger:
        opened.append(Ledger.at(logins(role), SystemClock()))
        return opened[-1]

    yield open_as
    for ledger in opened:
        ledger.close()


def test_the_tables_are_those_that_raypipe_makes(logins: Callable[[str], str]) -> None:
    engine = create_engine(database_url(logins("owner")))
    found = inspect(engine)
    for table in (_ROWS, *SqlCatalogBaseTable.metadata.tables.values()):
        there = {column["name"]: (str(column["type"]), column["nullable"]) for column in found.get_columns(table.name)}
        assert there == {column.name: (str(column.type), bool(column.nullable)) for column in table.columns}
        assert set(found.get_pk_constraint(table.name)["constrained_columns"]) == {c.name for c in table.primary_key}
        assert {index.name for index in table.indexes} <= {index["name"] for index in found.get_indexes(table.name)}
    engine.dispose()


def test_the_password_is_asked_for(postgres: servers.Postgres) -> None:
    with pytest.raises(LedgerError, match="password authentication failed"):
        Ledger.at(postgres.url("one_trainer", "roles", "of%20promoter"), SystemClock())


def test_who_may_add_what(ledgers: Callable[[str], Ledger]) -> None:
    learned, answers = {"stage.train", "model.registered"}, {PROMOTED, RELEASED, DEPLOYED}
    may = {"reader": set(), "server": set(), "trainer": learned, "promoter": learned | answers}
    for role, kinds in may.items():
        ledger = ledgers(role)
        for kind in sorted(learned | answers):
            if kind in kinds:
                assert ledger.append(f"{role}/{kind}", kind, "flights").kind == kind
            else:
                with pytest.raises(NotAllowedError, match=DENIED):
                    ledger.append(f"{role}/{kind}", kind, "flights")
        assert ledger.verify() == len(ledger.entries())


@pytest.mark.parametrize("role", [*ROLES, "owner"])
@pytest.mark.parametrize(
    "statement",
    ["UPDATE ledger SET body = '{}'", "DELETE FROM ledger", "TRUNCATE ledger"],
)
def test_nobody_changes_the_past(logins: Callable[[str], str], role: str, statement: str) -> None:
    with (
        psycopg.connect(logins(role)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match=DENIED),
    ):
        connection.execute(statement)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE ledger",
        "ALTER TABLE ledger DISABLE TRIGGER ALL",
        "ALTER TABLE ledger DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE mine (a int)",
        "SET ROLE raypipe",
        "GRANT raypipe_promoter TO CURRENT_USER",
    ],
)
def test_nobody_helps_themselves(logins: Callable[[str], str], role: str, statement: str) -> None:
    with psycopg.connect(logins(role)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_rows_go_on_top_of_the_last_one(logins: Callable[[str], str], ledgers: Callable[[str], Ledger]) -> None:
    last = ledgers("promoter").append("on/top", "stage.train", "flights")
    row = "INSERT INTO ledger VALUES (%s, %s, 'k', 's', 1, '{}', %s, 'h')"
    for seq, previous in ((last.seq + 2, last.hash), (last.seq + 1, "0" * 64), (0, last.hash)):
        with psycopg.connect(logins("promoter")) as connection, pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(row, (seq, f"forged/{seq}", previous))


def test_a_trainer_registers_and_somebody_else_promotes(
    ledgers: Callable[[str], Ledger], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Here:
        registry = Registry(tmp_path / "registry", ledgers("trainer"), "")

    candidate = make_candidate(tmp_path / "candidate", 1.0, 0.7, "set-1")
    pipeline = bundle.pipeline(Path(candidate.folder))
    file = Path(candidate.folder).parent / "definition" / "pipeline.py"
    more = {"pipeline": pipeline, "file": file, "candidate": candidate, "training_set": make_training_set("set-1")}
    version = register(Here, Silent(), **more)  # type: ignore[arg-type]
    assert (version.version, version.aliases) == (1, ())
    assert "may not promote" in caplog.text
    promoted = Registry(tmp_path / "registry", ledgers("promoter"), "").promote(
        version.name, 1, expect=None, why="looked at", who="Ada"
    )
    assert promoted.aliases == ("champion",)
    server = Registry(tmp_path / "registry", ledgers("server"), "")
    champion = server.champion(version.name)
    assert champion is not None
    for forbidden in (
        lambda: server.promote(version.name, 1, expect=1, why="w", slot="challenger"),
        lambda: server.register(candidate, lineage_of(candidate, pipeline, 99)),
        lambda: server.rollback(version.name, "w"),
    ):
        with pytest.raises(RaypipeError):
            forbidden()
    assert len(server.versions(version.name)) == 1


def test_who_may_write_which_tables(logins: Callable[[str], str], tmp_path: Path) -> None:
    warehouse = str(tmp_path / "warehouse")
    trainer = open_catalog(tmp_path, logins("trainer"), warehouse)
    trainer.create_namespace_if_not_exists("predictions")
    schema = trainer.create_table("lake.trips", _schema()).schema()
    server = open_catalog(tmp_path, logins("server"), warehouse)
    assert server.load_table("lake.trips").schema() == schema
    log = server.create_table("predictions.flights", schema)
    with log.transaction() as change:
        change.set_properties({"a": "b"})
    for role in ("server", "reader", "promoter"):
        catalog = open_catalog(tmp_path, logins(role), warehouse)
        with pytest.raises(Exception, match=DENIED):
            catalog.create_table(f"lake.of_{role}", schema)
        with pytest.raises(Exception, match=f"{DENIED}|updated by another process|No such table|does not exist"):
            catalog.load_table("lake.trips").transaction().set_properties({"x": "y"}).commit_transaction()
    assert "x" not in trainer.load_table("lake.trips").properties


def _schema() -> object:
    from pyiceberg.schema import Schema
    from pyiceberg.types import LongType, NestedField

    return Schema(NestedField(1, "id", LongType()))


def test_the_doctor_sees_the_difference(logins: Callable[[str], str], clock: ManualClock) -> None:
    rights = {role: {f.check: f for f in examine(logins(role), clock)}["rights"] for role in ("trainer", "owner")}
    assert {role: finding.state for role, finding in rights.items()} == {"trainer": "ok", "owner": "warning"}
    assert rights["trainer"].detail == "one_trainer may only add rows"
