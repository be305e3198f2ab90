"""Small training sets with a known truth, and the pipeline that asks about them."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from raypipe import Pipeline, Search, Stream, csv, days, hours, periods, request
from raypipe.contracts.records import TrainingSet
from raypipe.spec import Model

FEATURES = ("carrier", "route", "delay", "wind", "hour", "night")


def frame(rows: int, seed: int) -> pl.DataFrame:
    """Categories, numbers with gaps, a whole number and a flag; the label depends on all of them."""
    rng = np.random.default_rng(seed)
    carrier = rng.choice(["AA", "UA", "B6", "WN"], rows, p=[0.4, 0.3, 0.2, 0.1])
    route = rng.choice([f"r{i}" for i in range(30)], rows)
    delay, wind, hour = rng.gamma(1.0, 20.0, rows), rng.normal(10, 3, rows), rng.integers(0, 24, rows)
    odds = delay / 25 - 1.5 + (carrier == "B6") * 1.2 + (wind - 10) / 4 + (hour > 17) * 0.8 - (route == "r3") * 2.0
    label = rng.random(rows) < 1 / (1 + np.exp(-odds))
    gaps = rng.random(rows) < 0.1
    return pl.DataFrame(
        {
            "carrier": carrier,
            "route": pl.Series(route).set(pl.Series(rng.random(rows) < 0.05), None),
            "delay": pl.Series(delay).set(pl.Series(gaps), None),
            "wind": wind,
            "hour": hour,
            "night": (hour > 20) | (hour < 5),
            "asked_at": pl.Series(np.arange(rows) * 1_000_000, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "label": label,
        }
    )


def training_set(folder: Path, rows: int = 1_500, **changed: pl.DataFrame) -> TrainingSet:
    """Three periods on disk; ``changed`` puts another frame in a period's place."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": rows, "tune": rows // 2, "holdout": rows // 2}
    frames = {name: frame(size, seed) for seed, (name, size) in enumerate(sizes.items())} | changed
    for name, period in frames.items():
        period.write_parquet(folder / f"{name}.parquet")
    return TrainingSet(
        pipeline="late",
        definition="f" * 16,
        as_of=0,
        snapshots=(),
        folder=str(folder),
        digest=json.dumps([rows, sorted(changed)]),
        features=FEATURES,
        rows={name: len(period) for name, period in frames.items()},
        positives={
            name: int(period["label"].sum())
            for name, period in frames.items()
            if len(period) and period["label"].dtype == pl.Boolean
        },
        left_out={},
    )


def pipeline(*models: Model, trials: int = 4, metric: str = "auc", p99_ms: float | None = None) -> Pipeline:
    """A pipeline whose search is what counts here."""
    flights = Stream(
        "flights", csv("flights.csv"), id=["carrier"], time="at", columns={str: "carrier route", bool: "late"}
    )
    return Pipeline(
        "late",
        ask=flights.before("at", hours(1)),
        inputs=[request("carrier", "route", "at").with_features(carrier="carrier", route="route")],
        label=flights.label("late", settled_after=days(1)),
        split=periods(train="2013-01", tune="2013-02", holdout="2013-03"),
        search=Search(models, trials=trials, metric=metric, p99_ms=p99_ms),
    )
