"""Requests that were answered are replayed; what serving had other values of is named, with its key and its time."""

import os
import signal
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl
import pytest

from raypipe.contracts.logs import PREDICTIONS
from raypipe.contracts.parity import Parity
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import MATERIALIZED, Materialized, ModelVersion
from raypipe.errors import FeatureError
from raypipe.features import OnlineFeatures
from raypipe.flows import Platform, parity
from raypipe.flows.parity import Logged, from_file, from_lake
from raypipe.spec import Expression, FrozenMap, Stream, changed
from raypipe.stats import percentile
from tests.flows.test_materialize import Home, at
from tests.lake.sources import line
from tests.processes import processes_with

PROCESSES = processes_with("tests.flows.test_parity")
TIME = pl.Datetime("us", "UTC")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, pl.DataFrame]:
    """Two states of a store, requests that each answered, and the log of them; trips that came late afterwards."""
    house = Home(tmp_path_factory.mktemp("parity"))
    house.settle()
    parts = []
    for day, ids in enumerate((range(30), range(30, 40))):
        house.ship(f"day{day}", *(line(i, ("Bern", "Wien")[i % 2], fare=i / 7) for i in ids if i % 5))
        house.publish()
        now = at(31 + 10 * day)
        house.clock.advance(3_600_000_000)
        house.materialize(now)
        towns = ["Bern", "Wien", "Graz", "Bern"]
        kinds = {"started": TIME, "at": TIME}
        asked = pl.DataFrame({"town": towns, "started": [now - 3_600_000_000, now, now, now + 60_000_000]})
        asked = asked.with_columns(at=house.clock.now() + 1).cast(kinds)
        features = OnlineFeatures(house.pipeline, house.store)
        found = features.compute(asked.select("town", "started"))
        generation, watermark = features.state()
        parts.append(asked.hstack(found).with_columns(generation=generation, watermark=watermark))
    house.ship("late", *(line(i, "Bern", fare=1.0) for i in range(0, 30, 5)))
    house.publish()
    house.clock.advance(at(60))
    return house, pl.concat(parts)


def audit(house: Home, tmp_path: Path, log: pl.DataFrame) -> Parity:
    log.write_parquet(tmp_path / "log.parquet")
    logs = [from_file(tmp_path / "log.parquet", house.pipeline, 1_000)]
    return parity.parity(cast(Platform, house), Silent(), name="trips", logs=logs)


@pytest.mark.parametrize("lacks", [(), ("generation", "watermark")])
def test_what_was_served_is_what_was_known_then(
    told: tuple[Home, pl.DataFrame], tmp_path: Path, lacks: tuple[str, ...]
) -> None:
    house, log = told
    found = audit(house, tmp_path, log.drop(lacks))
    assert (found.equal, found.rows, found.left_out, found.mismatches) == (True, 8, {}, ())
    late = {one.feature: one.differ_now for one in found.features}
    assert late["trips"] == 4, "trips of Bern came late: every answer about it would be another one now"
    assert late["size"] == 0


@pytest.mark.parametrize("feature", ["fares", "trips", "dearest", "last_fare", "slow", "fading", "size"])
def test_a_planted_skew_is_named(told: tuple[Home, pl.DataFrame], tmp_path: Path, feature: str) -> None:
    house, log = told
    skew = pl.when(pl.int_range(pl.len()) == 5).then(pl.col(feature) + 1).otherwise(pl.col(feature))
    found = audit(house, tmp_path, log.with_columns(skew.alias(feature)))
    assert not found.equal
    assert [one.feature for one in found.features if one.differ_then] == [feature]
    (one,) = found.mismatches
    assert (one.feature, one.key, one.at) == (feature, {"town": "Wien"}, at(41))
    assert eval(one.online) == pytest.approx(eval(one.offline) + 1)


@pytest.mark.parametrize("off", [pl.col("trips") + 0.9, pl.col("trips").cast(pl.String) + ".5"])
def test_what_does_not_fit_a_features_type_differs(
    told: tuple[Home, pl.DataFrame], tmp_path: Path, off: pl.Expr
) -> None:
    """Cut off to its type, it would be what history gives."""
    house, log = told
    found = audit(house, tmp_path, log.with_columns(off.alias("trips")))
    assert [(one.feature, one.differ_then) for one in found.features if one.differ_then] == [("trips", log.height)]
    whole = audit(house, tmp_path, log.with_columns(pl.col("trips").cast(pl.Float64)))
    assert whole.equal, "a whole number is one however it is written"


def test_a_request_that_does_not_fit_its_type_is_told(told: tuple[Home, pl.DataFrame], tmp_path: Path) -> None:
    house, log = told
    with pytest.raises(FeatureError, match=r"`started` of row 0 is no Datetime.*: 'yesterday'"):
        audit(house, tmp_path, log.with_columns(started=pl.lit("yesterday")))
    with pytest.raises(FeatureError, match="`started` has no time zone"):
        audit(house, tmp_path, log.with_columns(pl.col("started").dt.replace_time_zone(None)))
    with pytest.raises(FeatureError, match="has no row"):
        audit(house, tmp_path, log.clear())
    odd = audit(house, tmp_path, log.with_columns(trips=pl.lit("many")))
    assert [one.feature for one in odd.features if one.differ_then] == ["trips"]


def test_the_moment_of_asking_may_be_in_any_unit(told: tuple[Home, pl.DataFrame], tmp_path: Path) -> None:
    house, log = told
    coarse = log.drop("generation", "watermark").with_columns(
        pl.col("at").dt.cast_time_unit("ms") + timedelta(seconds=1)
    )
    assert audit(house, tmp_path, coarse).equal


def test_every_value_that_differs_is_listed_or_the_first_ones(told: tuple[Home, pl.DataFrame], tmp_path: Path) -> None:
    house, log = told
    log.with_columns(pl.col("trips") + 1).write_parquet(tmp_path / "log.parquet")
    logs = [from_file(tmp_path / "log.parquet", house.pipeline, 1_000)]
    for at_most, listed in ((None, log.height), (2, 4)):  # two states answered
        found = parity.parity(cast(Platform, house), Silent(), name="trips", logs=logs, at_most=at_most)
        assert {one.feature: one.differ_then for one in found.features}["trips"] == log.height
        assert [one.feature for one in found.mismatches] == ["trips"] * listed


def test_a_skew_in_serving_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The percentile of one question is taken one place too low, where requests are answered and nowhere else."""
    house, place = Home(tmp_path), percentile.place_one
    house.settle()
    house.ship("a", *(line(i, minutes=10.0 + i, fare=1.0 + i) for i in range(30)))
    house.publish()
    sound = served(house, at(30), at(30))
    monkeypatch.setattr(percentile, "place_one", lambda rank, count: max(place(rank, count) - 1, 0))
    skewed = served(house, at(30), at(30))
    monkeypatch.undo()
    assert audit(house, tmp_path, sound).equal
    found = audit(house, tmp_path, skewed)
    assert [one.feature for one in found.features if one.differ_then] == ["slow"]
    (one,) = found.mismatches
    assert (one.feature, one.key, one.at) == ("slow", {"town": "Bern"}, at(30))
    assert eval(one.online) == eval(one.offline) - 1


class Late(Home):
    """Dear trips say themselves that they were published two hours after they ended."""

    @property
    def stream(self) -> Stream:
        kept = super().stream
        out = pl.when(pl.col("fare") > 50).then(pl.col("ended_at") + pl.duration(hours=2)).otherwise("ended_at")
        return changed(kept, derive=FrozenMap({**kept.derive, "out": Expression.of(out)}), published="out")


def served(house: Home, watermark: int, moment: int) -> pl.DataFrame:
    """What is answered about Bern at a moment from a state as known at an earlier one."""
    house.materialize(watermark)
    kinds = {"started": TIME, "at": TIME}
    asked = pl.DataFrame({"town": ["Bern"], "started": [moment], "at": [house.clock.now() + 1]}).cast(kinds)
    features = OnlineFeatures(house.pipeline, house.store)
    found = features.compute(asked.select("town", "started"))
    generation, known = features.state()
    return asked.hstack(found).with_columns(generation=generation, watermark=known)


def differ_now(house: Home, tmp_path: Path, log: pl.DataFrame) -> set[str]:
    house.clock.advance(at(200))
    found = audit(house, tmp_path, log)
    assert found.equal
    return {one.feature for one in found.features if one.differ_now}


def test_what_was_published_late_counts_as_late_by_its_own_time(tmp_path: Path) -> None:
    house = Late(tmp_path)
    house.settle()
    house.ship("a", *(line(i, fare=90.0 if i == 20 else 1.0 + i) for i in range(30)))
    house.publish()
    asked = [served(house, at(hour), at(hour)) for hour in (20, 21, 23)]
    assert [log["dearest"].item() for log in asked] == [20.0, 20.0, 90.0]
    assert differ_now(house, tmp_path, asked[0]) == set()
    assert {"dearest", "trips", "fares", "last_fare"} <= differ_now(house, tmp_path, asked[1])
    assert differ_now(house, tmp_path, asked[2]) == set()


def materialize_and_die(folder: Path) -> None:
    os.environ["RAYPIPE_FAILPOINT"] = "features.before_ledger=kill"
    Home(folder).materialize(at(20))


def test_a_state_whose_writer_died_before_the_ledger_knew_can_be_audited(tmp_path: Path) -> None:
    house = Home(tmp_path)
    house.settle()
    house.ship("a", *(line(i, fare=1.0 + i) for i in range(30)))
    house.publish()
    process = PROCESSES.Process(target=materialize_and_die, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert house.ledger.entries(MATERIALIZED, "trips") == []
    features = OnlineFeatures(house.pipeline, house.store)
    asked = pl.DataFrame({"town": ["Bern", "Wien"], "started": [at(20)] * 2}).cast({"started": TIME})
    used, at_once = features.compute(asked), pl.lit(house.clock.now() + 1).cast(TIME)
    generation, watermark = features.state()
    log = asked.hstack(used).with_columns(at=at_once, generation=generation, watermark=watermark)
    for run in range(3):
        found = audit(house, tmp_path, log)
        assert (found.equal, found.rows, found.left_out) == (True, 2, {}), run
        house.materialize(at(25))
    # The missing row comes first, and no row comes twice.
    kept = [Materialized.from_json(entry.body) for entry in house.ledger.entries(MATERIALIZED, "trips")]
    assert [one.watermark for one in kept] == [at(20), at(25)]


def test_a_store_that_lagged_behind_is_seen(tmp_path: Path) -> None:
    house = Home(tmp_path)
    house.settle()
    house.ship("a", *(line(i, fare=1.0 + i) for i in range(30)))
    house.publish()
    assert {"dearest", "trips", "fares", "last_fare"} <= differ_now(house, tmp_path, served(house, at(20), at(22)))


@pytest.mark.parametrize("feature", ["dearest", "last_fare", "fading"])
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_not_nothing(
    told: tuple[Home, pl.DataFrame], tmp_path: Path, feature: str, odd: float
) -> None:
    house, log = told
    place = log["town"].to_list().index("Graz")
    assert log[feature][place] is None, "nothing is known of Graz"
    skew = pl.when(pl.int_range(pl.len()) == place).then(odd).otherwise(pl.col(feature))
    found = audit(house, tmp_path, log.with_columns(skew.alias(feature)))
    (one,) = found.mismatches
    assert (one.feature, one.online, one.offline) == (feature, repr(odd), "None")


def test_integers_and_percentiles_are_the_same_bits_sums_nearly(
    told: tuple[Home, pl.DataFrame], tmp_path: Path
) -> None:
    house, log = told
    names = ("fares", "dearest", "last_fare", "slow", "fading")
    found = audit(house, tmp_path, log.with_columns(pl.col(*names) * (1 + 1e-12)))
    assert [one.feature for one in found.features if one.differ_then] == ["dearest", "last_fare", "slow"]


def test_what_cannot_be_replayed_is_counted(told: tuple[Home, pl.DataFrame], tmp_path: Path) -> None:
    house, log = told
    odd = log.drop("size").with_columns(
        generation=pl.when(pl.int_range(pl.len()) == 0).then(99).otherwise("generation"),
        town=pl.when(pl.int_range(pl.len()) == 1).then(None).otherwise("town"),
    )
    found = audit(house, tmp_path, odd)
    assert (found.rows, found.not_logged) == (6, ("size",))
    assert found.left_out == {
        "a field that must be there is not in the log": 1,
        "the ledger does not know the state it was answered from": 1,
    }


def test_a_file_that_is_no_log_is_said(told: tuple[Home, pl.DataFrame], tmp_path: Path) -> None:
    house, log = told
    with pytest.raises(FeatureError, match="lacks the column `at`"):
        audit(house, tmp_path, log.drop("at"))
    with pytest.raises(FeatureError, match="cannot be read"):
        from_file(tmp_path / "none.parquet", house.pipeline, 1)


def test_the_prediction_log_is_replayed_by_each_versions_definition(
    told: tuple[Home, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    house, log = told
    fields = ["town", "started"]
    rows = [
        {
            "request_id": str(i), "row": 0, "at": row["at"], "version": 7, "generation": row["generation"],
            "watermark": row["watermark"],
            "request": pl.DataFrame([{n: row[n] for n in fields}]).with_columns(
                pl.col("started").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).write_ndjson().strip(),
            "features": pl.DataFrame([{n: v for n, v in row.items() if n in house.pipeline.feature_names}])
                .write_ndjson().strip(),
        }
        for i, row in enumerate(log.cast({"watermark": TIME}).iter_rows(named=True))
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema={n: k for n, k in PREDICTIONS.columns.items() if n in rows[0]})
    monkeypatch.setattr("raypipe.flows.parity.bundle.pipeline", lambda _: house.pipeline)
    versions = [cast(ModelVersion, SimpleNamespace(version=7, folder="."))]
    logs: list[Logged] = list(from_lake(frame, versions))
    found = parity.parity(cast(Platform, house), Silent(), name="trips", logs=logs)
    assert (found.equal, found.rows, found.not_logged) == (True, 8, ())
    with pytest.raises(FeatureError, match="version 7, which is not registered"):
        list(from_lake(frame, []))
