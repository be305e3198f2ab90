"""Tables of other systems: one version after the other, each row once. Iceberg and Delta are real, and on this disk.

Snowflake, BigQuery, Databricks and ClickHouse are asked through Ray's readers, whose calls are answered here: no client
of theirs runs.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from raypipe.contracts.progress import Silent
from raypipe.errors import SourceError
from raypipe.lake import Lake
from raypipe.lake import elsewhere as room
from raypipe.spec import Stream, bigquery, clickhouse, databricks, delta, iceberg, snowflake
from raypipe.spec.files import Files

SCHEMA = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("fare", pa.float64())])
AT = datetime(2024, 1, 1, tzinfo=UTC)
CONNECTIONS = {
    "snowflake": {"account": "a", "user": "u", "password": "p"},
    "bigquery": {"project_id": "shop"},
    "databricks": {"host": "h", "token": "t", "warehouse_id": "w"},
    "clickhouse": {"dsn": "clickhouse://u@h/d"},
}


def table(*ids: int, **more: list[object]) -> pa.Table:
    rows = pa.table({"id": list(ids), "at": [AT] * len(ids), "fare": [float(i) for i in ids]}, SCHEMA)
    for name, values in more.items():
        rows = rows.append_column(name, pa.array(values))
    return rows


def trips(files: Files) -> Stream:
    return Stream("trips", files, id=["id"], time="at", columns={int: "id", datetime: "at", float: "fare"})


def take_in(lake: Lake, files: Files) -> tuple[list[int], int, tuple[str, ...]]:
    """What ids are there now, how many are new, and what changed of the columns."""
    snapshot = lake.ingest(trips(files), Silent())
    lake.publish([snapshot])
    return sorted(lake.frame(snapshot, ["id"]).collect()["id"].to_list()), snapshot.added, snapshot.changed


@pytest.mark.ray
def test_versions_of_an_iceberg_table(tmp_path: Path, ray_local: None) -> None:
    properties = {"type": "sql", "uri": f"sqlite:///{tmp_path}/shop.db", "warehouse": str(tmp_path / "shop")}
    catalog = SqlCatalog("elsewhere", **properties)
    catalog.create_namespace("shop")
    shop = catalog.create_table("shop.trips", SCHEMA)
    lake = Lake(tmp_path / "lake", connections={"iceberg": properties})
    shop.append(table(1, 2))
    assert take_in(lake, iceberg("shop.trips")) == ([1, 2], 2, ())
    assert take_in(lake, iceberg("shop.trips")) == ([1, 2], 0, ())
    with shop.update_schema() as update:
        update.union_by_name(table(3, note=["x"]).schema)
    shop.append(table(2, 3, note=["x", "y"]))
    ids, added, changed = take_in(lake, iceberg("shop.trips"))
    assert (ids, added) == ([1, 2, 3], 1)
    assert changed == ("iceberg shop.trips: `note` was added",)


@pytest.mark.ray
def test_versions_of_a_delta_table(tmp_path: Path, ray_local: None) -> None:
    from deltalake import write_deltalake

    lake, path = Lake(tmp_path / "lake"), str(tmp_path / "shop")
    write_deltalake(path, table(1, 2))
    assert take_in(lake, delta(path)) == ([1, 2], 2, ())
    write_deltalake(path, table(2, 3), mode="append")
    assert take_in(lake, delta(path)) == ([1, 2, 3], 1, ())
    write_deltalake(path, table(4).drop(["fare"]), mode="overwrite", schema_mode="overwrite")
    with pytest.raises(SourceError, match=r"delta .*shop: lacks column `fare`"):
        take_in(lake, delta(path))


class Answers:
    """Stands where Ray's readers do: says what is asked, and gives the hash or the rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ray.data import read_api

        self.asked: list[str] = []
        self.rows, self.version = table(1, 2), 1
        for name in ("read_snowflake", "read_bigquery", "read_databricks_tables", "read_clickhouse"):
            monkeypatch.setattr(read_api, name, self.answer)

    def answer(self, *args: Any, **more: Any) -> Any:
        self.asked.append(" ".join(map(str, (*args, *more.values()))))
        return _Rows(self.rows if "fare" in self.asked[-1] else pa.table({"n": [2], "h": [self.version]}))


class _Rows:
    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    def take_all(self) -> list[dict[str, object]]:
        return self._rows.to_pylist()

    def iter_batches(self, **_: object) -> list[pa.Table]:
        return [self._rows]


WAREHOUSES: dict[str, tuple[Callable[[str], Files], str]] = {
    "snowflake": (snowflake, 'SELECT id AS "id", at AS "at", fare AS "fare" FROM shop.trips'),
    "bigquery": (bigquery, "shop SELECT `id`, `at`, `fare` FROM `shop.trips` AS t"),
    "databricks": (databricks, "SELECT `id`, `at`, `fare` FROM shop.trips"),
    "clickhouse": (clickhouse, "shop.trips clickhouse://u@h/d ['`id`', '`at`', '`fare`']"),
}


@pytest.mark.parametrize("kind", WAREHOUSES)
def test_a_warehouse_is_read_when_its_rows_have_changed(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "find_spec", bool)  # all clients are there
    answers, lake = Answers(monkeypatch), Lake(tmp_path / "lake", connections=CONNECTIONS)
    declared, query = WAREHOUSES[kind]
    assert take_in(lake, declared("shop.trips"))[:2] == ([1, 2], 2)
    assert any(query in one for one in answers.asked)
    assert "XOR" not in answers.asked[0], "rows that are alike would cancel each other out"
    many = len(answers.asked)
    assert take_in(lake, declared("shop.trips"))[1] == 0
    assert len(answers.asked) == many + 1, "only the hash was asked for"
    answers.rows, answers.version = table(2, 3), 2
    cents = answers.rows.set_column(2, "fare", pa.array([Decimal("2.50"), None]))
    answers.rows = cents.set_column(0, "id", cents["id"].cast(pa.decimal128(38, 0)))
    assert take_in(lake, declared("shop.trips"))[:2] == ([1, 2, 3], 1)


@pytest.mark.parametrize("kind", [*WAREHOUSES, "iceberg"])
def test_nobody_said_how_to_log_in(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "find_spec", bool)
    files = (iceberg if kind == "iceberg" else WAREHOUSES[kind][0])("shop.trips")
    with pytest.raises(SourceError, match=rf"nobody said its `.*Write `\[{kind}\]` and `"):
        Lake(tmp_path / "lake").ingest(trips(files), Silent())


@pytest.mark.parametrize("kind", [*WAREHOUSES, "delta"])
def test_a_client_that_is_not_installed_is_named(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "find_spec", lambda _: None)
    files = (delta if kind == "delta" else WAREHOUSES[kind][0])("shop.trips")
    with pytest.raises(SourceError, match=rf"is not installed\. Run `pip install 'raypipe\[{kind}\]'`"):
        Lake(tmp_path / "lake", connections=CONNECTIONS).ingest(trips(files), Silent())


def test_what_a_client_complains_of_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"delta .*nothing .*: cannot be read: .*Check its name"):
        Lake(tmp_path / "lake").ingest(trips(delta(str(tmp_path / "nothing"))), Silent())
