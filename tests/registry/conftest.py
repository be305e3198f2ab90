"""Registries with and without an MLflow behind them, and candidates to register."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.records import Candidate, Lineage
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from tests.registry.making import lineage_of, make_candidate

Made = tuple[Candidate, Lineage]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow without a server keeps its files below the working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path, clock: ManualClock) -> Iterator[Ledger]:
    found = Ledger.in_folder(tmp_path / "home", clock)
    yield found
    found.close()


@pytest.fixture
def registry(tmp_path: Path, ledger: Ledger) -> Registry:
    """A registry that nothing mirrors."""
    return Registry(tmp_path / "home" / "registry", ledger, "")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    """Makes a candidate and its lineage; another weight, another model."""

    def made(weight: float = 1.0, auc: float = 0.7, training_set: str = "set-1", snapshot: int = 11) -> Made:
        folder = tmp_path / f"candidate-{weight}-{auc}-{training_set}-{snapshot}"
        shutil.rmtree(folder, ignore_errors=True)
        candidate = make_candidate(folder, weight, auc, training_set)
        return candidate, lineage_of(candidate, bundle.pipeline(Path(candidate.folder)), snapshot)

    return made


@pytest.fixture
def tracking_uri(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An MLflow of this test's own; files of runs land in this test's folder."""
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{shutil.copy(empty_mlflow, tmp_path / 'mlflow.db')}"


@pytest.fixture
def mirrored(tmp_path: Path, ledger: Ledger, tracking_uri: str) -> Registry:
    """A registry with an MLflow behind it."""
    return Registry(tmp_path / "home" / "registry", ledger, tracking_uri)
