"""dbt with DuckDB builds on our tables: the project of examples/dbt as it is, on a lake that a gate has passed."""

import json
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.flows.gate import gate
from raypipe.flows.ingest import ingest
from raypipe.spec import Pipeline, Search, Stream, checks, csv, days, hours, models, periods, request
from raypipe.wiring import connect
from tests.elsewhere.venvs import ROOT, done, python_with
from tests.flows.gated import LATE

DBT = ("dbt-core==1.11.16", "dbt-duckdb==1.11.1", "pyiceberg[sql-sqlite,pyarrow]==0.12.0")
ASK = """
import duckdb, json
with duckdb.connect("tables.duckdb", read_only=True) as base:
    print(json.dumps(base.sql("select origin, flights, dep_delay from by_origin order by origin").fetchall()))
"""


def published(folder: Path) -> list[list[object]]:
    """Flights in a lake; what there is to say of each origin, by hand."""
    (folder / "flights").mkdir()
    rows = [(number, ("JFK", "LGA", "EWR")[number % 3], number % 7 * 2.0) for number in range(90)]
    lines = [f"{number},{origin},2024-01-{1 + number % 28:02}T08:00:00Z,{late}\n" for number, origin, late in rows]
    bad = "90,JFK,2024-01-05T08:00:00Z,9000\n"
    (folder / "flights" / "a.csv").write_text("id,origin,at,dep_delay\n" + "".join(lines) + bad)
    flights = Stream(
        "flights",
        csv(str(folder / "flights" / "*.csv")),
        id=["id"],
        time="at",
        columns={int: "id", str: "origin", datetime: "at", float: "dep_delay"},
        gate=[checks.between("dep_delay", 0, 100).quarantine()],
    )
    pipeline = Pipeline(
        "flights",
        ask=flights.before("at", hours(1)),
        inputs=[request("origin")],
        label=flights.label(pl.col("dep_delay") > 5, settled_after=days(1)),
        split=periods(train="2024-01", tune="2024-02", holdout="2024-03"),
        search=Search([models.Linear()]),
    )
    platform = connect()
    try:
        taken = ingest(platform, Silent(), pipeline=pipeline).snapshots
        gate(platform, Silent(), pipeline=pipeline, snapshots=taken, as_of=LATE)
    finally:
        platform.ledger.close()
    by_origin = {name: [late for _, origin, late in rows if origin == name] for name in ("EWR", "JFK", "LGA")}
    return [[name, len(late), sum(late) / len(late)] for name, late in by_origin.items()]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_dbt_builds_on_what_a_gate_has_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = python_with(*DBT)
    monkeypatch.chdir(tmp_path)
    expected = published(tmp_path)
    project = ROOT / "examples" / "dbt"
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "DO_NOT_TRACK": "1",
        "RAYPIPE_CATALOG": f"sqlite:///{tmp_path}/.raypipe/lake/catalog.db",
        "DUCKDB": str(tmp_path / "tables.duckdb"),
    }
    written = ["--target-path", tmp_path / "target", "--log-path", tmp_path / "logs"]
    command = [python.with_name("dbt"), "run", "--project-dir", project, "--profiles-dir", project, *written]
    done(command, env=environment)
    assert json.loads(done([python, "-c", ASK], cwd=tmp_path)) == expected
