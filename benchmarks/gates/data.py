"""A million visits in twenty columns, the gate that they pass, and a fault for each check."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from raypipe.spec import Pipeline, Search, Stream, Table, checks, days, hours, models, parquet, periods, request
from raypipe.spec.checks import Check

AS_OF = datetime(2025, 1, 1, tzinfo=UTC)
NOW = int(AS_OF.timestamp()) * 1_000_000
STORES, TOWNS = 500, [f"town {i:02}" for i in range(40)]
CHANNELS, STATUSES = ("web", "shop", "phone"), ("new", "paid", "sent", "back")

stores = Table("stores", parquet("stores.parquet"), key="store", columns={int: "store"})
#: Each kind of check by the name under which all systems report it.
GATE: dict[str, Check] = {
    "not null id": checks.not_null("id"),
    "not null store": checks.not_null("store"),
    "not null sku": checks.not_null("sku"),
    "not null town": checks.not_null("town"),
    "null share of email": checks.not_null("email", at_least=0.9),
    "price": checks.between("price", 0, 1_000),
    "units": checks.between("units", 1, 100),
    "tax": checks.between("tax", 0, 500),
    "lat": checks.between("lat", -90, 90),
    "lon": checks.between("lon", -180, 180),
    "channel": checks.one_of("channel", *CHANNELS),
    "status": checks.one_of("status", *STATUSES),
    "sku": checks.matches("sku", "[A-Z]{3}-[0-9]{4}"),
    "email": checks.matches("email", r"[a-z0-9.]+@[a-z]+\.[a-z]{2,3}"),
    "unique id": checks.unique("id"),
    "median price": checks.quantile("price", 0.5, 20, 60),
    "towns": checks.cardinality("town", 10, 50),
    "like before": checks.rows_like_before(within=0.1),
    "fresh": checks.fresh(within=hours(6)),
    "lag": checks.lag(within=hours(2)),
    "store": checks.refers("store", to=stores),
    "total": checks.holds(pl.col("total") >= pl.col("price")),
    "drift of score": checks.drift("score", 0.1),
    "drift of town": checks.drift("town", 0.1),
}
visits = Stream(
    "visits",
    parquet("visits.parquet"),
    id=["id"],
    time="at",
    columns={
        int: "id store units stock",
        float: "price tax total weight lat lon score",
        str: "sku town channel email status",
        bool: "online",
        datetime: "at",
    },
    gate=list(GATE.values()),
)
pipeline = Pipeline(
    "visits",
    ask=visits.before("at"),
    inputs=[request("id", "at")],
    label=visits.label(pl.col("online"), settled_after=days(1)),
    split=periods(train="2024-01", tune="2024-02", holdout="2024-03"),
    search=Search([models.Linear()]),
)


def sound(rows: int, first: int, seed: int) -> pl.DataFrame:
    """Visits with ids from ``first`` on, the last of them an hour before the run's moment."""
    rng = np.random.default_rng(seed)
    price = np.minimum(rng.lognormal(3.6, 0.5, rows), 900).round(2)
    tax = (price * 0.2).round(2)
    at = pl.Series(np.sort(NOW - 3_600_000_000 - rng.integers(0, 365 * 86_400_000_000, rows))).cast(
        pl.Datetime("us", "UTC")
    )
    at[-1] = AS_OF - timedelta(hours=1)
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    parts = pl.DataFrame(
        {f"l{i}": letters[rng.integers(0, 26, rows)] for i in range(3)} | {"n": rng.integers(1000, 9999, rows)}
    )
    email = pl.format("user.{}@mail.com", pl.Series("e", rng.integers(0, 10**6, rows)))
    return parts.select(
        id=pl.int_range(first, first + rows, dtype=pl.Int64),
        store=pl.Series(rng.integers(0, STORES, rows)),
        units=pl.Series(rng.integers(1, 100, rows)),
        stock=pl.Series(rng.integers(0, 10_000, rows)),
        price=pl.Series(price),
        tax=pl.Series(tax),
        total=pl.Series(price + tax),
        weight=pl.Series(rng.gamma(2, 3, rows)),
        lat=pl.Series(rng.uniform(-90, 90, rows)),
        lon=pl.Series(rng.uniform(-180, 180, rows)),
        score=pl.Series(rng.normal(0, 1, rows)),
        sku=pl.format("{}{}{}-{}", "l0", "l1", "l2", "n"),
        town=pl.Series(np.array(TOWNS)[rng.integers(0, len(TOWNS), rows)]),
        channel=pl.Series(np.array(CHANNELS)[rng.integers(0, 3, rows)]),
        email=pl.when(pl.Series(rng.random(rows) > 0.05)).then(email),
        status=pl.Series(np.array(STATUSES)[rng.integers(0, 4, rows)]),
        online=pl.Series(rng.random(rows) > 0.5),
        at=at,
        event_time=at,
        known_at=at + timedelta(minutes=20),
    )


def _at(column: str, value: object, rows: int = 7) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """The first rows get another value."""
    return lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) < rows)
        .then(pl.lit(value))
        .otherwise(pl.col(column))
        .cast(frame.schema[column])
        .alias(column)
    )


def _all(**changes: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(**changes)


#: For each check what breaks it, and how many rows fail; None where it judges the whole.
FAULTS: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], int | None]] = {
    "schema": (_all(units=pl.col("units").cast(pl.String)), None),
    "not null id": (_at("id", None), 7),
    "not null store": (_at("store", None), 7),
    "not null sku": (_at("sku", None), 7),
    "not null town": (_at("town", None), 7),
    "null share of email": (_all(email=pl.when(pl.int_range(pl.len()) % 2 == 0).then("email")), None),
    "price": (_at("price", -1.0), 7),
    "units": (_at("units", 101), 7),
    "tax": (_at("tax", 500.01), 7),
    "lat": (_at("lat", 90.5), 7),
    "lon": (_at("lon", -181.0), 7),
    "channel": (_at("channel", "fax"), 7),
    "status": (_at("status", "NEW"), 7),
    "sku": (_at("sku", "AB-12345"), 7),
    "email": (_at("email", "nobody"), 7),
    "unique id": (_at("id", 1_000_000_007, 8), 7),
    "median price": (_all(price=pl.col("price") / 10), None),
    "towns": (_all(town=pl.format("town {}", pl.col("id") % 60)), None),
    "like before": (lambda frame: frame.head(frame.height * 8 // 10), None),
    "fresh": (_all(**{name: pl.col(name) - timedelta(hours=9) for name in ("event_time", "known_at")}), None),
    "lag": (_at("event_time", datetime(2023, 1, 1, tzinfo=UTC)), 7),
    "store": (_at("store", STORES + 1), 7),
    "total": (_at("total", -1.0), 7),
    "drift of score": (_all(score=pl.col("score") + 1), None),
    "drift of town": (_all(town=pl.when(pl.col("units") < 33).then(pl.lit(TOWNS[0])).otherwise("town")), None),
}  # fmt: skip


def write(folder: Path, rows: int) -> tuple[Path, Path]:
    """The new visits and those of before, as Parquet; ids go on from one to the other."""
    new, before = folder / "new.parquet", folder / "before.parquet"
    sound(rows, rows, 1).write_parquet(new, row_group_size=2**17)
    sound(rows, 0, 2).write_parquet(before, row_group_size=2**17)
    pl.DataFrame({"store": range(STORES)}).write_parquet(folder / "stores.parquet")
    return new, before
