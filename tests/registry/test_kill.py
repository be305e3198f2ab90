"""Killed at any point and asked again, the registry goes on, and never shows half a version."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from tests.architecture.source import PACKAGE, ROOT

BEFORE_MLFLOW = ["registry.before_rename", "registry.after_copy", "registry.after_ledger"]
FROM_MLFLOW_ON = ["registry.after_mlflow_files", "registry.after_mlflow", "registry.after_promotion"]


def run(home: Path, folder: Path, uri: str, failpoint: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"RAYPIPE_FAILPOINT": f"{failpoint}=kill"}
    command = [sys.executable, "-m", "tests.registry.registering", home, folder, uri, "because"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("failpoint", BEFORE_MLFLOW + FROM_MLFLOW_ON)
def test_killed_and_asked_again(tmp_path: Path, tracking_uri: str, make, clock: ManualClock, failpoint: str) -> None:
    candidate, lineage = make()
    (tmp_path / "candidate.json").write_text(candidate.to_json())
    (tmp_path / "lineage.json").write_text(lineage.to_json())
    home = tmp_path / "home"

    # Without MLflow, which takes seconds to import, where the process does not live to see it.
    killed = run(home, tmp_path, "" if failpoint in BEFORE_MLFLOW else tracking_uri, failpoint)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ledger = Ledger.in_folder(home, clock)
    registry = Registry(home / "registry", ledger, tracking_uri)
    for version in registry.versions("rides"):  # what is there, is there whole
        assert bundle.verify(Path(version.folder), version.digest)

    assert registry.register(candidate, lineage).version == 1
    assert registry.promote("rides", 1, expect=None, why="because").version == 1
    [version] = registry.versions("rides")
    assert version.aliases == ("champion",)
    assert bundle.verify(Path(version.folder), version.digest)
    shelf = home / "registry" / "models" / "rides"
    assert sorted(path.name for path in shelf.iterdir()) == sorted([".lock", version.digest])
    assert [entry.kind for entry in ledger.entries()] == ["model.registered", "model.promoted"]
    assert ledger.verify() == 2
    ledger.close()

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri, tracking_uri)
    [mirrored] = client.search_model_versions("name='rides'")
    assert mirrored.tags["raypipe.digest"] == version.digest
    assert client.get_model_version_by_alias("rides", "champion").version == mirrored.version
    [run_of_its_own] = client.search_runs([client.get_experiment_by_name("rides").experiment_id])
    assert run_of_its_own.info.run_id == mirrored.run_id


def test_every_crash_window_of_the_registry_is_killed_in() -> None:
    from tests.architecture.test_source import failpoint_sites

    named = {call.args[0].value for site, call in failpoint_sites() if site.startswith(f"{PACKAGE.name}/registry/")}
    assert named == {*BEFORE_MLFLOW, *FROM_MLFLOW_ON}
