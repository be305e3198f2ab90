"""A run makes a version champion by the pipeline's rule, once; what somebody has decided since then stays."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from msgspec import structs
from sklearn.metrics import roc_auc_score

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.holdout import PIPELINE
from raypipe.contracts.progress import Silent
from raypipe.flows.register import register, register_line
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from raypipe.spec import changed, retrain
from tests.registry.making import make_candidate, make_training_set


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", Ledger.in_folder(tmp_path, ManualClock(1)), "")


def run(
    registry: Registry,
    folder: Path,
    weight: float,
    auc: float,
    later: bool = False,
    rows: str = "set-1",
    snapshot: int = 11,
    kept: Path | None = None,
) -> str:
    """What a run says of a candidate."""
    candidate = make_candidate(folder, weight, auc, rows)
    if later:
        definition = Path(candidate.folder) / PIPELINE
        told = json.loads(definition.read_text())
        told["split"]["holdout"][1]["utc"] = "2030-01-01T00:00:00+00:00"
        definition.write_text(json.dumps(told))
        bundle.seal(Path(candidate.folder))
    pipeline = bundle.pipeline(Path(candidate.folder))
    file = Path(candidate.folder).parent / "definition" / "pipeline.py"
    learned_from = structs.replace(make_training_set(rows, snapshot), folder=str(kept or ""))
    made = {"pipeline": pipeline, "file": file, "candidate": candidate, "training_set": learned_from}
    platform = SimpleNamespace(registry=registry)
    return register_line(registry, register(platform, Silent(), **made))  # type: ignore[arg-type]


def champion(registry: Registry) -> int:
    found = registry.champion("rides")
    assert found is not None
    return found.version


def test_the_same_run_again_does_not_undo_what_was_decided(registry: Registry, tmp_path: Path) -> None:
    assert run(registry, tmp_path / "1", 1.0, 0.8) == "rides/1 (champion)"
    assert run(registry, tmp_path / "2", 2.0, 0.7).startswith("rides/2 (not promoted, rides/1 stays: by the pipeline's")
    registry.promote("rides", 2, expect=1, why="a person decided", who="Ada")
    said = run(registry, tmp_path / "again", 1.0, 0.8)
    assert said.startswith("rides/1 (not promoted, rides/2 stays: it was champion before")
    assert champion(registry) == 2


def test_what_is_the_champion_to_the_byte_is_no_new_version(registry: Registry, tmp_path: Path) -> None:
    """A table has another snapshot since, with no row that this model learned from."""
    run(registry, tmp_path / "1", 1.0, 0.8)
    assert run(registry, tmp_path / "again", 1.0, 0.8, snapshot=12) == "rides/1 (champion)"
    assert len(registry.versions("rides")) == 1
    assert run(registry, tmp_path / "rows", 1.0, 0.8, rows="set-2", snapshot=12).startswith("rides/2 ")
    assert run(registry, tmp_path / "model", 2.0, 0.8, rows="set-2").startswith("rides/3 ")


def test_a_better_one_on_the_same_holdout_takes_over_once(registry: Registry, tmp_path: Path) -> None:
    run(registry, tmp_path / "1", 1.0, 0.7)
    assert run(registry, tmp_path / "2", 2.0, 0.8) == "rides/2 (champion)"
    registry.rollback("rides", "worse after all", who="Ada")
    assert "rides/1 stays: it was champion before" in run(registry, tmp_path / "again", 2.0, 0.8)
    assert champion(registry) == 1


def test_a_policy_that_was_changed_after_the_search_is_in_the_version(registry: Registry, tmp_path: Path) -> None:
    run(registry, tmp_path / "1", 1.0, 0.7)
    candidate = make_candidate(tmp_path / "again", 1.0, 0.7, "set-1")
    pipeline = changed(bundle.pipeline(Path(candidate.folder)), retrain=retrain.fraud())
    file = Path(candidate.folder).parent / "definition" / "pipeline.py"
    made = {"pipeline": pipeline, "file": file, "candidate": candidate, "training_set": make_training_set("set-1")}
    for _ in range(2):
        version = register(SimpleNamespace(registry=registry), Silent(), **made)  # type: ignore[arg-type]
        assert (version.version, version.aliases) == (2, ("champion",))
        assert bundle.pipeline(Path(version.folder)).retrain == retrain.fraud()
    assert bundle.pipeline(Path(registry.get("rides", 1).folder)).retrain != retrain.fraud()


def test_figures_of_different_periods_decide_nothing(registry: Registry, tmp_path: Path) -> None:
    run(registry, tmp_path / "1", 1.0, 0.7)
    assert "judged on different periods" in run(registry, tmp_path / "2", 2.0, 0.9, later=True)
    assert champion(registry) == 1


def holdout(folder: Path, *, turned: bool) -> float:
    """Labels that are true where the fare is high, or where it is low; gives the AUC of the model of these bundles."""
    fare = np.random.default_rng(0).normal(size=500)
    label = (fare > 0) ^ turned
    folder.mkdir()
    frame = pl.DataFrame({"zone": ["a"] * 500, "fare": fare, "hour": [3] * 500, "label": label})
    frame.cast({"hour": pl.Int8}).write_parquet(folder / "holdout.parquet")
    return float(roc_auc_score(label, fare))  # it rises with the fare


@pytest.mark.parametrize("turned", [True, False])
def test_a_champion_is_judged_on_the_rows_of_its_rival(registry: Registry, tmp_path: Path, turned: bool) -> None:
    """The data was mended since: what the champion learned is wrong by now, whatever it was told of old rows."""
    run(registry, tmp_path / "1", 1.0, 0.9)
    real = holdout(tmp_path / "kept", turned=turned)
    said = run(registry, tmp_path / "2", 2.0, 0.8, rows="set-2", kept=tmp_path / "kept")
    assert real == (0.0 if turned else 1.0)
    assert (said == "rides/2 (champion)") is turned
    if turned:
        assert registry.history("rides")[-1][1].why == "holdout auc 0.8000 against 0.0000 of version 1"


def test_a_champion_that_cannot_answer_the_rows_keeps_its_figure(registry: Registry, tmp_path: Path) -> None:
    run(registry, tmp_path / "1", 1.0, 0.9)
    assert "rides/1 stays" in run(registry, tmp_path / "2", 2.0, 0.8, rows="set-2", kept=tmp_path / "gone")
