"""Our Iceberg tables as others read them, with nothing of raypipe between: pyiceberg's catalog, and DuckDB's SQL."""

from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog, load_catalog

from raypipe.contracts.progress import Silent
from raypipe.wiring import connect
from tests.cluster import life, servers

duckdb = pytest.importorskip("duckdb")
QUESTION = "SELECT town, count(*), round(sum(fare), 2) FROM trips GROUP BY town ORDER BY town"


def published(folder: Path) -> list[tuple[object, ...]]:
    """Trips that a gate has passed, and what `QUESTION` answers by the kernel of ours; then a file that none has."""
    life.ship(folder)
    outcome = life.live(folder)
    answer: dict[str, tuple[int, float]] = {}
    columns = ["id", "town", "started", "minutes", "fare"]
    for row in outcome.rows["trips"]:
        trip = dict(zip(columns, row, strict=False))
        many, total = answer.get(str(trip["town"]), (0, 0.0))
        answer[str(trip["town"])] = many + 1, total + float(str(trip["fare"]))
    (folder / "trips" / "c.csv").write_text(life.HEADER + life.line(5000, "Ur"))
    platform = connect()
    try:
        for source in life.pipeline(folder).sources:
            platform.lake.ingest(source, Silent())
    finally:
        platform.ledger.close()
    return [(town, many, round(total, 2)) for town, (many, total) in sorted(answer.items())]


def ask(catalog: Catalog) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """The question over a scan, and over the files of the snapshot as a view that reads them when asked."""
    table = catalog.load_table("lake.trips")
    with table.scan().to_duckdb("trips") as base:
        scanned = base.sql(QUESTION).fetchall()
    files = [task.file.file_path for task in table.scan().plan_files()]
    if files[0].startswith("s3://"):
        return scanned, scanned
    with duckdb.connect() as base:
        base.read_parquet(files).create_view("trips")
        return scanned, base.sql(QUESTION).fetchall()


def test_duckdb_reads_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = published(tmp_path)
    catalog = load_catalog("raypipe", type="sql", uri=f"sqlite:///{tmp_path}/.raypipe/lake/catalog.db")
    try:
        assert ask(catalog) == (expected, expected)
    finally:
        catalog.close()


def test_duckdb_reads_the_production_profile(production: Path, postgres: servers.Postgres, s3: servers.S3) -> None:
    expected = published(production)
    properties = {"uri": postgres.url().replace("postgresql:", "postgresql+psycopg:")}
    properties |= {"s3.endpoint": s3.environment["AWS_ENDPOINT_URL"], "s3.region": s3.environment["AWS_REGION"]}
    catalog = load_catalog("raypipe", type="sql", **properties)
    try:
        assert ask(catalog)[0] == expected
    finally:
        catalog.close()
