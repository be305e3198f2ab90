"""Rows of real databases: PostgreSQL and SQLite, read on from where the last reading ended."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from raypipe.contracts.progress import Silent
from raypipe.errors import ServiceError, SourceError
from raypipe.lake import Lake
from raypipe.spec import Stream, sql
from tests.cluster.servers import postgres
from tests.lake.sources import START, trips


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(tmp_path_factory.mktemp("pg")) as found:
        yield found.url()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shop.db'}"
    return str(request.getfixturevalue("server"))


@pytest.fixture
def shop(url: str) -> Iterator[Engine]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    kind = "TEXT" if url.startswith("sqlite") else "TIMESTAMPTZ"
    with engine.begin() as database:
        database.execute(text("DROP TABLE IF EXISTS trips"))
        database.execute(
            text(f"CREATE TABLE trips (id BIGINT, town TEXT, started {kind}, minutes NUMERIC, fare FLOAT, n BIGINT)")
        )
    yield engine
    engine.dispose()


def insert(shop: Engine, *ids: int, n: int | None = None) -> None:
    with shop.begin() as database:
        for id in ids:
            values = {"id": id, "started": (START + timedelta(hours=id)).isoformat(), "n": id if n is None else n}
            database.execute(text("INSERT INTO trips VALUES (:id, 'Bern', :started, 10, 7.5, :n)"), values)


def stream(by: str = "id", shards: int = 1) -> Stream:
    more = {int: "id n", str: "town", datetime: "started", float: "minutes fare"}
    return trips(None, live=sql("shop", "trips", by=by, shards=shards, at_most_bad=0.5), columns=more)


def ids(lake: Lake, of: Stream) -> list[int]:
    snapshot = lake.ingest(of, Silent())
    lake.publish([snapshot])
    return sorted(lake.frame(snapshot, ["id"]).collect()["id"].to_list())


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_come_once_and_go_on(tmp_path: Path, url: str, shop: Engine, shards: int) -> None:
    lake = Lake(tmp_path / "lake", connections={"sql": {"shop": url}})
    insert(shop, *range(20))
    assert ids(lake, stream(shards=shards)) == [*range(20)]
    insert(shop, *range(20, 25))
    assert ids(lake, stream(shards=shards)) == [*range(25)]
    taken = lake.ingest(stream(shards=shards), Silent()).taken
    assert taken is not None
    assert (taken.read, taken.bad, max(taken.last.values())) == (25, 0, 24)


def test_rows_of_one_value_come_together(tmp_path: Path, url: str, shop: Engine) -> None:
    lake, of = Lake(tmp_path / "lake", connections={"sql": {"shop": url}}), stream(by="n")
    insert(shop, 1, 2, n=1)
    lake.ingest(of, Silent())
    insert(shop, *range(3, 9), n=2)
    insert(shop, 9, n=3)
    with lake.follow(of) as following:
        sizes = []
        while (batch := following.take(0.0, limit=2)) is not None:
            sizes.append(batch.read)
    assert sizes == [6, 1]
    assert ids(lake, of) == [*range(1, 10)]


def test_times_are_read_on_from(tmp_path: Path, server: str) -> None:
    engine = create_engine(server.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as database:
        database.execute(text("DROP TABLE IF EXISTS trips"))
        database.execute(
            text("CREATE TABLE trips (id INT, town TEXT, started TIMESTAMPTZ, minutes FLOAT, fare FLOAT, n INT)")
        )
    lake, of = Lake(tmp_path / "lake", connections={"sql": {"shop": server}}), stream(by="started")
    insert(engine, 1, 2)
    assert ids(lake, of) == [1, 2]
    insert(engine, 3)
    assert ids(lake, of) == [1, 2, 3]
    engine.dispose()


def test_a_row_that_does_not_fit_is_set_aside(tmp_path: Path, url: str, shop: Engine) -> None:
    lake, of = Lake(tmp_path / "lake", connections={"sql": {"shop": url}}), stream()
    with shop.begin() as database:
        database.execute(text("ALTER TABLE trips DROP COLUMN n"))
        database.execute(text("ALTER TABLE trips ADD COLUMN n TEXT"))
    insert(shop, 1, 2)
    assert ids(lake, of) == []
    bad = lake.quarantined(of).collect()
    assert bad["origin"].to_list() == ["sql:shop/trips/0"] * 2
    assert "got `str` - at `$.n`" in bad["reason"][0]


def test_what_cannot_be_read_is_said(tmp_path: Path, url: str, shop: Engine) -> None:
    lake = Lake(tmp_path / "lake", connections={"sql": {"shop": url}})
    insert(shop, 1)
    with pytest.raises(SourceError, match="`town` is str"):
        lake.ingest(stream(by="town"), Silent())
    with shop.begin() as database:
        database.execute(text("UPDATE trips SET n = NULL"))
    with pytest.raises(SourceError, match="1 rows have no `n`"):
        lake.ingest(stream(by="n"), Silent())
    with shop.begin() as database:
        database.execute(text("DROP TABLE trips"))
    with pytest.raises(SourceError, match=r"sql shop/trips: cannot be read: .*trips"):
        lake.ingest(stream(), Silent())
    with pytest.raises(SourceError, match="nobody said where the database `shop` is"):
        Lake(tmp_path / "other").ingest(stream(), Silent())


def test_a_row_that_would_never_be_read_stops_whoever_follows(tmp_path: Path, url: str, shop: Engine) -> None:
    """It may come long after reading began."""
    lake, of = Lake(tmp_path / "lake", connections={"sql": {"shop": url}}), stream(by="n")
    insert(shop, 1)
    assert ids(lake, of) == [1]
    with lake.follow(of) as following:
        insert(shop, 2)
        assert following.lag() == {"0": 1}
        with shop.begin() as database:
            database.execute(text("UPDATE trips SET n = NULL WHERE id = 2"))
        with pytest.raises(SourceError, match="1 rows have no `n`"):
            following.lag()


def test_a_database_that_does_not_answer_is_no_fault_of_its_rows(tmp_path: Path) -> None:
    with postgres(tmp_path / "pg") as other:
        url = other.url()
    lake = Lake(tmp_path / "lake", connections={"sql": {"shop": url}})
    with pytest.raises(ServiceError, match="sql shop/trips: does not answer"):
        lake.ingest(stream(), Silent())
