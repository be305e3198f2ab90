"""A version is made again from its record alone; every kind of difference is planted and named."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import numpy as np
import polars as pl
import pytest

from raypipe import features, training
from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Candidate, Lineage, ModelVersion
from raypipe.errors import RegistryError
from raypipe.flows import Platform
from raypipe.flows.reproduce import reproduce, surroundings
from raypipe.lake import Lake
from raypipe.ledger import Ledger
from raypipe.registry import Registry, capture
from raypipe.spec import Pipeline, Stream, agg, csv, days, hours, models, periods, request, search

ROWS = 900
AS_OF = 1_372_636_800_000_000
TREES = {"num_iterations": 15, "early_stopping_round": 5, "num_leaves": 7, "bagging_fraction": 0.7, "bagging_freq": 1}
NETWORK = {"hidden": 8, "layers": 1, "dropout": 0.1, "learning_rate": 0.01, "weight_decay": 0.01, "batch_size": 128}
PARAMS = {
    "lightgbm": TREES,
    "linear": {"C": 0.1, "max_iter": 200},
    "network": NETWORK | {"epochs": 2, "patience": 2},
}
TUNED = dict.fromkeys(("tune_auc", "tune_log_loss", "tune_brier", "tune_average_precision", "tune_ece"), 0.5)


def pipeline_over(folder: Path) -> Pipeline:
    flights = Stream(
        "flights",
        csv(str(folder / "flights*.csv")),
        id=["carrier", "scheduled_at"],
        time="scheduled_at",
        columns={str: "carrier origin stamp", float: "distance dep_delay"},
        derive={"scheduled_at": pl.col("stamp").str.to_datetime(time_zone="UTC")},
        reveals={"scheduled_at": ["dep_delay"]},
    )
    asked = request("carrier", "origin", "scheduled_at", "distance").with_features(
        carrier="carrier", hour=pl.col("scheduled_at").dt.hour(), distance="distance"
    )
    recent = flights.at("scheduled_at").by("origin").features(recent=agg.mean("dep_delay", hours(12)))
    return Pipeline(
        "late",
        ask=flights.before("scheduled_at", hours(1)),
        inputs=[asked, recent],
        label=flights.label(pl.col("dep_delay") > 15, settled_after=days(1)),
        split=periods(train="2013-01", tune="2013-02", holdout="2013-03"),
        search=search.Search([models.Linear()]),
    )


def history() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    start = datetime(2013, 1, 1, 1, tzinfo=UTC)
    distance = rng.uniform(100, 2_500, ROWS)
    return pl.DataFrame(
        {
            "carrier": rng.choice(["AA", "UA", "B6"], ROWS),
            "origin": rng.choice(["EWR", "JFK"], ROWS),
            "stamp": [(start + timedelta(hours=2 * i)).strftime("%Y-%m-%dT%H:%M:%S") for i in range(ROWS)],
            "distance": distance,
            "dep_delay": rng.normal(10, 20, ROWS) + distance / 200,
        }
    )


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A workspace with one table."""
    home = tmp_path_factory.mktemp("home")
    history().write_csv(home / "flights.csv")
    ledger = Ledger.in_folder(home, ManualClock(AS_OF))
    registry = Registry(home / "registry", ledger, "")
    yield cast(Platform, SimpleNamespace(workspace=home, lake=Lake(home / "lake"), registry=registry, ledger=ledger))
    ledger.close()


def registered(platform: Platform, algorithm: str) -> ModelVersion:
    """A version as a run registers it."""
    home = platform.workspace
    pipeline = pipeline_over(home)
    snapshots = {source.name: platform.lake.ingest(source, Silent()) for source in pipeline.sources}
    made = features.build_training_set(pipeline, snapshots, platform.lake.frame, home / "sets", AS_OF, Silent())
    tuned = {name.removeprefix("tune_"): value for name, value in TUNED.items()}
    folder = home / "searches" / algorithm
    metrics = training.refit(pipeline, made, algorithm, PARAMS[algorithm], tuned, folder)
    candidate = Candidate(
        pipeline="late", training_set=made.digest, algorithm=algorithm, params=PARAMS[algorithm], seed=0,
        folder=str(folder), metrics=metrics, trials=(), reason="", experiment="",
    )  # fmt: skip
    return platform.registry.register(candidate, capture(pipeline, home / "pipeline.py", candidate, made))


@pytest.fixture(scope="module")
def linear(platform: Platform) -> ModelVersion:
    return registered(platform, "linear")


def altered(version: ModelVersion, **changes: object) -> ModelVersion:
    return msgspec.structs.replace(version, lineage=msgspec.structs.replace(version.lineage, **changes))


@pytest.mark.parametrize("algorithm", ["lightgbm", "linear", "network"])
def test_every_algorithm_is_made_again_to_the_bit(platform: Platform, algorithm: str) -> None:
    version = registered(platform, algorithm)
    # More rows come in after the model was made.
    later = history().with_columns(pl.col("stamp").str.replace("2013", str(2020 + len(algorithm)), literal=True))
    later.write_csv(platform.workspace / f"flights_{algorithm}.csv")
    pipeline = pipeline_over(platform.workspace)
    platform.lake.ingest(pipeline.sources[0], Silent())
    found = reproduce(platform, version, platform.workspace, Silent())
    assert [result for result in found.results if not result.same] == []
    assert found.identical
    assert found.because == ""
    compared = [result.what for result in found.results]
    assert compared[:3] == ["definition", "data", "training set"]
    assert {"model.onnx", "golden rows", "holdout auc", "holdout log_loss"} <= set(compared)
    assert ("model.txt" in compared, "model.skops" in compared) == (algorithm == "lightgbm", algorithm == "linear")
    assert list(platform.workspace.glob("reproduce-*")) == []


@pytest.mark.parametrize(
    ("changes", "what", "because"),
    [
        ({"snapshots": {"flights": 12}}, "data", "data"),
        ({"pipeline_definition": "other", "lock": {}}, "definition", "dependency"),
        ({"training_set": "other", "lock": {}}, "training set", "dependency"),
        ({"training_set": "other", "machine": "x86_64 of old"}, "training set", "hardware"),
        ({"training_set": "other", "commit": "abc", "lock": {}}, "training set", "code"),
        ({"training_set": "other"}, "training set", "data"),
    ],
)
def test_the_first_difference_is_named(
    platform: Platform, linear: ModelVersion, changes: dict[str, object], what: str, because: str
) -> None:
    found = reproduce(platform, altered(linear, **changes), platform.workspace, Silent())
    first = next(result for result in found.results if not result.same)
    assert (found.identical, first.what, found.because) == (False, what, because)
    # What can only follow from it is not told.
    assert found.results[-1] is first


def test_tables_that_were_changed_in_place_are_the_data_that_differs(tmp_path: Path) -> None:
    """Whoever wrote them beside the lake is found out, whether a file is gone, broken off, or has other rows."""
    home = tmp_path / "home"
    home.mkdir()
    history().write_csv(home / "flights.csv")
    ledger = Ledger.in_folder(home, ManualClock(AS_OF))
    registry = Registry(home / "registry", ledger, "")
    own = cast(Platform, SimpleNamespace(workspace=home, lake=Lake(home / "lake"), registry=registry, ledger=ledger))
    version = registered(own, "linear")
    assert reproduce(own, version, home, Silent()).identical
    (file,) = (home / "lake").rglob("flights/data/**/*.parquet")
    whole = file.read_bytes()
    pl.read_parquet(file).with_columns(pl.col("dep_delay") + 1).write_parquet(file)
    found = reproduce(own, version, home, Silent())
    assert (found.results[-1].what, found.because) == ("training set", "data")
    file.write_bytes(whole[:-10])
    found = reproduce(own, version, home, Silent())
    assert (found.results[-1].what, found.because) == ("data", "data")
    assert "table flights cannot be read" in found.results[-1].found
    file.unlink()
    found = reproduce(own, version, home, Silent())
    assert (found.results[-1].what, found.because) == ("data", "data")
    file.write_bytes(whole)
    assert reproduce(own, version, home, Silent()).identical
    ledger.close()


def test_another_model_is_told_by_its_bytes_scores_and_metrics(
    platform: Platform, linear: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*args: object) -> dict[str, float]:
        return refit(*args[:3], {"C": 100.0, "max_iter": 200}, *args[4:])  # type: ignore[arg-type]

    refit = training.refit
    monkeypatch.setattr(training, "refit", other)
    found = reproduce(platform, linear, platform.workspace, Silent())
    wrong = [result.what for result in found.results if not result.same]
    assert wrong[:3] == ["model.skops", "model.onnx", "golden rows"]
    assert "holdout log_loss" in wrong


def test_a_version_whose_files_are_damaged_is_refused(platform: Platform, linear: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    for file in Path(linear.folder).iterdir():
        content = file.read_bytes()
        (tmp_path / "bundle" / file.name).write_bytes(content[:-1] if file.name == bundle.GOLDEN else content)
    damaged = msgspec.structs.replace(linear, folder=str(tmp_path / "bundle"))
    with pytest.raises(RegistryError, match=r"golden\.parquet` is truncated"):
        reproduce(platform, damaged, platform.workspace, Silent())


def test_surroundings_of_a_changed_work_tree_are_not_the_same(linear: ModelVersion, tmp_path: Path) -> None:
    lineage: Lineage = msgspec.structs.replace(linear.lineage, commit="abc", dirty=True)
    code, lock, hardware = surroundings(lineage, tmp_path)
    assert (code.same, code.recorded, code.found) == (False, "abc, changed since", "no commit")
    assert (lock.same, hardware.same) == (True, True)
