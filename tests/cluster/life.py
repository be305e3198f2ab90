"""The life of a small model's data, from files to features that can be asked for, on whatever the settings name."""

import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from raypipe import features
from raypipe.contracts.progress import Silent
from raypipe.features.opening import open_lmdb, open_redis
from raypipe.flows import Platform
from raypipe.flows.gate import gate
from raypipe.flows.ingest import ingest
from raypipe.flows.train import build
from raypipe.spec import Pipeline, Search, agg, checks, days, hours, lint, models, periods, request
from raypipe.wiring import connect
from tests.flows.gated import LATE
from tests.lake.sources import HEADER, START, line, towns, trips

__all__ = ["HEADER", "line", "live", "live_until", "pipeline", "ship"]


def pipeline(folder: Path) -> Pipeline:
    """Trips that end in a town; one of them costs more than can be."""
    places = towns(folder / "towns.csv")
    stream = trips(folder / "trips", at=places, gate=[checks.between("fare", 0, 100).quarantine()])
    recent = stream.at("ended_at").by("town").features(trips_7d=agg.count(days(7)), fare_7d=agg.mean("fare", days(7)))
    value = Pipeline(
        "trips",
        ask=stream.before("started", hours(1)),
        inputs=[request("id", "town", "started").with_features(hour=pl.col("started").dt.hour()), recent],
        label=stream.label(pl.col("fare") > 5, settled_after=days(1)),
        split=periods(train="2024-01", tune="2024-02", holdout="2024-03"),
        search=Search([models.Linear()]),
    )
    lint(value)
    return value


def ship(folder: Path) -> None:
    """The files."""
    (folder / "trips").mkdir()
    (folder / "towns.csv").write_text("town,zone,size\nBern,CET,1\nOslo,CET,2\n")
    half = [line(i, "Bern" if i % 3 else "Oslo", fare=4.0 + i % 4) for i in range(1, 2000, 2)]
    other = [line(i, "Oslo" if i % 5 else "Bern", fare=900.0 if i == 40 else 5.5) for i in range(0, 2000, 2)]
    (folder / "trips" / "a.csv").write_text(HEADER + "".join(half))
    (folder / "trips" / "b.csv").write_text(HEADER + "".join(half[:10] + other))


@dataclass(frozen=True)
class Outcome:
    """What came of it: rows of each table, rows set aside, digest of the training set, features of two towns."""

    rows: dict[str, list[tuple[object, ...]]]
    aside: int
    training_set: str
    asked: list[tuple[object, ...]]


def live(folder: Path) -> Outcome:
    """Ingest, gate, features, materialize; again where it was left."""
    platform = connect()
    try:
        return _live(platform, pipeline(folder))
    finally:
        platform.ledger.close()


def _live(platform: Platform, value: Pipeline) -> Outcome:
    snapshots = ingest(platform, Silent(), pipeline=value).snapshots
    passed = gate(platform, Silent(), pipeline=value, snapshots=snapshots, as_of=LATE).snapshots
    made = build(platform, Silent(), pipeline=value, snapshots=passed, as_of=LATE)
    by_name = {snapshot.table: snapshot for snapshot in passed}
    as_of = int((START + days(60)).timestamp()) * 1_000_000
    features.materialize(value, by_name, platform.lake.frame, platform.store, as_of, Silent())
    platform.ledger.append(f"lived:{value.name}", "stage.lived", value.name)
    reader = (
        open_redis(value, platform.online_url)
        if platform.online_url
        else open_lmdb(value, str(platform.workspace / "online"))
    )
    when = pl.Series("started", [START + days(60) + hours(1)] * 2, dtype=pl.Datetime("us", "UTC"))
    asked = reader.compute(pl.DataFrame({"id": [1, 2], "town": ["Bern", "Oslo"], "started": when}))
    platform.ledger.verify()
    stream = next(source for source in value.sources if source.name == "trips")
    return Outcome(
        {one.table: platform.lake.frame(one).collect().rows() for one in passed},
        platform.lake.quarantined(stream).collect().height,
        made.digest,
        asked.rows(),
    )


def live_until(folder: Path, failpoint: str) -> None:
    """The same, killed on the way."""
    os.environ["RAYPIPE_FAILPOINT"] = failpoint
    live(folder)
