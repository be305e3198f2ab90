"""The example's features: the trap is shut, nothing comes from the future, serving says what training said."""

from pathlib import Path

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import TrainingSet
from raypipe.features import OnlineFeatures, build_training_set, materialize
from raypipe.features.stores.lmdb import LmdbStore
from tests.features.flights import AS_OF, Files

HOUR = 3_600_000_000
PERIODS = ("train", "tune", "holdout")


def period(training_set: TrainingSet, name: str) -> pl.DataFrame:
    return pl.read_parquet(Path(training_set.folder) / f"{name}.parquet")


def test_every_row_of_history_is_asked_or_counted(flights: Files, training_set: TrainingSet) -> None:
    rows = sum(training_set.rows.values()) + sum(training_set.left_out.values())
    assert rows == flights.tables["flights"].height
    assert training_set.rows == {name: period(training_set, name).height for name in PERIODS}


def test_the_trap_is_shut(training_set: TrainingSet) -> None:
    """A flight without a tail number was cancelled, every one of them: the gap is news from the future."""
    assert training_set.left_out["no tailnum"] == 2512
    assert all(period(training_set, name)["tailnum"].null_count() == 0 for name in PERIODS)


def test_labels_settle_before_the_next_period(flights: Files, training_set: TrainingSet) -> None:
    settled = flights.pipeline.label.settled_after
    ends = [flights.pipeline.split.tune[0], flights.pipeline.split.holdout[0]]
    for name, end in zip(("train", "tune"), ends, strict=True):
        assert period(training_set, name)["asked_at"].max() + settled <= end
    assert training_set.left_out["label not settled"] > 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_flights_own_departure_changes_nothing(
    flights: Files, training_set: TrainingSet, tmp_path: Path, seed: int
) -> None:
    """A leak canary: what departure and landing reveal of a flight is in none of its own features."""
    asked = period(training_set, "holdout").sample(1, seed=seed)
    key = list(flights.pipeline.ask.stream.id)
    changed = Files.like(flights)
    hit = pl.all_horizontal(pl.col(name) == asked[name].item() for name in key)
    revealed = ("dep_delay", "arr_delay", "air_time")
    changed.tables["flights"] = changed.tables["flights"].with_columns(
        pl.when(hit).then(9_999.0).otherwise(pl.col(name)).alias(name) for name in revealed
    )
    built = build_training_set(changed.pipeline, changed.snapshots, changed.read, tmp_path, AS_OF, Silent())
    assert built.digest != training_set.digest
    before, after = (period(one, "holdout").filter(hit).drop("label") for one in (training_set, built))
    assert before.height == 1
    assert before.equals(after)


@pytest.mark.parametrize("moment", ["2013-05-20T14:30:00Z", "2013-06-24T21:00:00Z"])
def test_what_becomes_known_later_changes_nothing(
    flights: Files, training_set: TrainingSet, tmp_path: Path, moment: str
) -> None:
    """Another leak canary: history without anything that was revealed after a moment gives the same features before."""
    cut = pl.lit(moment).str.to_datetime(time_zone="UTC", time_unit="us")
    changed = Files.like(flights)
    known = changed.tables["flights"]
    for at, names in (("departed_at", ("dep_time", "dep_delay")), ("landed_at", ("arr_time", "arr_delay", "air_time"))):
        later = pl.col(at) > cut
        known = known.with_columns(pl.when(~later).then(pl.col(name)).alias(name) for name in names)
        known = known.with_columns(pl.when(~later).then(pl.col(at)).alias(at))
    flipped = pl.when(pl.col("scheduled_at") > cut).then(~pl.col("cancelled")).otherwise(pl.col("cancelled"))
    changed.tables["flights"] = known.with_columns(flipped.alias("cancelled"))
    changed.tables["weather"] = changed.tables["weather"].filter(pl.col("observed_at") <= cut)
    built = build_training_set(changed.pipeline, changed.snapshots, changed.read, tmp_path, AS_OF, Silent())
    keys = ["carrier", "flight", "origin", "dest", "asked_at"]
    compared = 0
    for name in PERIODS:
        # A label that comes or goes takes its row along: compare the rows that are in both.
        before = period(training_set, name).filter(pl.col("asked_at") <= cut).drop("label")
        after = period(built, name).filter(pl.col("asked_at") <= cut).drop("label")
        both = [one.join(other, on=keys, how="semi").sort(keys) for one, other in ((before, after), (after, before))]
        assert both[0].equals(both[1])
        compared += both[0].height
    assert built.digest != training_set.digest
    assert compared > 100_000


def test_rebuilding_gives_the_same_bytes(flights: Files, training_set: TrainingSet, tmp_path: Path) -> None:
    again = build_training_set(flights.pipeline, flights.snapshots, flights.read, tmp_path, AS_OF, Silent())
    assert again.digest == training_set.digest
    for name in PERIODS:
        files = [(Path(one.folder) / f"{name}.parquet").read_bytes() for one in (again, training_set)]
        assert files[0] == files[1]


def test_serving_says_what_training_said(flights: Files, training_set: TrainingSet, tmp_path: Path) -> None:
    store, watermark = LmdbStore(tmp_path / "online"), 1_371_400_000_000_000
    materialize(flights.pipeline, flights.snapshots, flights.read, store, watermark, Silent())
    time = pl.col("asked_at").cast(pl.Int64)
    asked = period(training_set, "holdout").filter((time >= watermark - 24 * HOUR) & (time <= watermark))
    assert asked.height > 500
    features = OnlineFeatures(flights.pipeline, store)
    answered = features.compute(asked.select(flights.pipeline.request.fields))
    assert answered.equals(asked.select(flights.pipeline.feature_names))
    assert answered.schema == asked.select(flights.pipeline.feature_names).schema
    one_by_one = [
        features.compute(row.select(flights.pipeline.request.fields)) for row in asked.head(100).iter_slices(1)
    ]
    assert pl.concat(one_by_one).equals(answered.head(100))
