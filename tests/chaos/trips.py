"""The pipeline that chaos runs: trips whose files, model and log the environment names."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from raypipe import Log, Pipeline, Search, Stream, agg, checks, csv, days, hours, minutes, models, periods, request

FOLDER = Path(os.environ.get("CHAOS_DATA", "/nowhere"))
START, EVERY = datetime(2024, 1, 1, tzinfo=UTC), timedelta(minutes=10)
HEADER = "id,town,started,minutes,fare\n"

trips = Stream(
    "trips",
    history=csv(str(FOLDER / "*.csv")),
    id=["id"],
    time="started",
    columns={int: "id", str: "town", datetime: "started", float: "minutes fare"},
    derive={"ended_at": pl.col("started") + pl.duration(seconds=(pl.col("minutes") * 60).round())},
    reveals={"ended_at": ["minutes", "fare"]},
    delay=minutes(5),
    gate=[checks.between("fare", 0, 100)],
)
recent = trips.at("ended_at").by("town").features(trips_1d=agg.count(days(1)), fare_7d=agg.mean("fare", days(7)))
pipeline = Pipeline(
    os.environ.get("CHAOS_NAME", "trips"),
    ask=trips.before("started", hours(1)),
    inputs=[request("id", "town", "started").with_features(hour=pl.col("started").dt.hour()), recent],
    label=trips.label(pl.col("fare") > 10, settled_after=days(1)),
    split=periods(train="2024-01", tune="2024-02", holdout="2024-03"),
    search=Search([models.Network(workers=2, epochs=6)], trials=1)
    if os.environ.get("CHAOS_MODEL") == "network"
    else Search([models.LightGBM()], trials=2),
    log=Log(mode="strict") if os.environ.get("CHAOS_LOG") == "strict" else Log(),
    as_of="2024-04-01",
)


def line(number: int) -> str:
    """One trip: long ones, and those at night, cost more."""
    started = START + EVERY * number
    long, night = number * 7 % 31, started.hour < 6
    return f"{number},{'Bern' if number % 3 else 'Oslo'},{started.isoformat()},{5 + long},{long * 0.5 + 6 * night}\n"


def ship(folder: Path, rows: int = 13_000, files: int = 20) -> None:
    """Write the files; every one repeats the last rows of the one before, as deliveries do."""
    folder.mkdir(parents=True, exist_ok=True)
    size = rows // files
    for place in range(files):
        numbers = range(max(0, place * size - 10), (place + 1) * size)
        (folder / f"{place:03d}.csv").write_text(HEADER + "".join(map(line, numbers)))
