"""Killed at any point and asked again, the registry goes on, and never shows half a version."""

import os
import signal
from pathlib import Path

import pytest

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from tests.architecture.source import PACKAGE
from tests.processes import processes_with
from tests.registry.registering import register

PROCESSES = processes_with("tests.registry.test_kill", "mlflow.pyfunc")
WINDOWS = [
    "registry.before_rename",
    "registry.after_copy",
    "registry.after_ledger",
    "registry.after_mlflow_files",
    "registry.after_mlflow",
    "registry.after_promotion",
]


def register_until(failpoint: str, home: Path, folder: Path, uri: str) -> None:
    os.environ["RAYPIPE_FAILPOINT"] = f"{failpoint}=kill"
    os.chdir(folder)
    register(home, folder, uri, "because")


@pytest.mark.parametrize("failpoint", WINDOWS)
def test_killed_and_asked_again(tmp_path: Path, tracking_uri: str, make, clock: ManualClock, failpoint: str) -> None:
    candidate, lineage = make()
    (tmp_path / "candidate.json").write_text(candidate.to_json())
    (tmp_path / "lineage.json").write_text(lineage.to_json())
    home = tmp_path / "home"

    process = PROCESSES.Process(target=register_until, args=(failpoint, home, tmp_path, tracking_uri))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
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
    assert named == set(WINDOWS)
