"""A candidate becomes a version once, whole, and for ever."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import polars as pl
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.errors import RegistryError, WorkspaceError
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from tests.architecture.source import ROOT
from tests.contracts.bundles import ROWS


def test_a_version_says_what_it_is(registry: Registry, make, clock: ManualClock) -> None:
    candidate, lineage = make(auc=0.75)
    version = registry.register(candidate, lineage)
    assert (version.name, version.version, version.aliases) == ("rides", 1, ())
    assert version.algorithm == "linear"
    assert version.metrics == {"auc": 0.75, "log_loss": 0.5}
    assert version.created == clock.now()
    assert version.lineage == lineage
    assert version.digest == bundle.verify(Path(candidate.folder)).digest
    assert bundle.verify(Path(version.folder), version.digest)
    assert registry.get("rides", 1) == version
    assert registry.names() == ["rides"]


def test_the_files_no_longer_depend_on_the_candidate(registry: Registry, make) -> None:
    candidate, lineage = make()
    version = registry.register(candidate, lineage)
    shutil.rmtree(candidate.folder)
    assert bundle.verify(Path(version.folder), version.digest)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in Path(version.folder).iterdir()}
    assert modes == {0o444}


def test_the_same_is_registered_once(registry: Registry, make, ledger: Ledger, clock: ManualClock) -> None:
    candidate, lineage = make()
    first = registry.register(candidate, lineage)
    clock.advance(1_000)
    assert registry.register(candidate, lineage) == first
    # Made again: in another run, from another commit, in other folders. It is the same model of the same data.
    again, _ = make()
    later = msgspec.structs.replace(lineage, run_id="other", commit="f" * 40, dirty=True, lock={})
    assert registry.register(again, later) == first
    assert len(ledger.entries()) == 1


def test_other_files_or_other_data_are_another_version(registry: Registry, make) -> None:
    versions = [
        registry.register(*made) for made in (make(1.0), make(2.0), make(2.0, snapshot=12), make(2.0, training_set="s"))
    ]
    assert [version.version for version in versions] == [1, 2, 3, 4]
    assert versions[1].digest == versions[2].digest  # the same files, kept once
    assert registry.versions("rides") == versions
    assert registry.register(*make(2.0)).version == 2


def test_a_registry_is_found_again_elsewhere(registry: Registry, make, tmp_path: Path, clock: ManualClock) -> None:
    """A workspace that was moved is whole: no record holds an absolute path."""
    version = registry.register(*make())
    shutil.copytree(tmp_path / "home", tmp_path / "moved")
    shutil.rmtree(tmp_path / "home" / "registry")
    ledger = Ledger.in_folder(tmp_path / "moved", clock)
    found = Registry(tmp_path / "moved" / "registry", ledger, "").get("rides", 1)
    assert msgspec.structs.replace(found, folder=version.folder) == version
    assert bundle.verify(Path(found.folder), found.digest)
    ledger.close()


def reseal(candidate, **changes: object) -> None:
    folder = Path(candidate.folder)
    parts = {name: getattr(bundle, name)(folder) for name in ("signature", "pipeline", "card", "golden")}
    bundle.write(folder, **(parts | changes))
    bundle.seal(folder)


NAN_SCORES = pl.Series([0.1, 0.2, float("nan"), 0.1, 0.1])
REFUSED = {
    "another pipeline": (lambda c: {"pipeline": "others"}, None, "its pipeline is `rides`, but `others`"),
    "a path for a name": (lambda c: {"pipeline": "../rides"}, None, "`../rides` cannot name a model"),
    "another algorithm": (lambda c: {"algorithm": "network"}, None, "its algorithm is `linear`, but `network`"),
    "another training set": (lambda c: {"training_set": "set-2"}, None, "its training set is `set-2`, but `set-1`"),
    "no number": (lambda c: {"metrics": {"auc": float("nan")}}, None, "metric auc is nan"),
    "no files": (lambda c: {"folder": c.folder + "-not"}, None, "cannot be read: No such file"),
    "other scores": (None, ROWS.with_columns(score=0.5), "the model scores golden row 0 0.6"),
    "scores that are no numbers": (None, ROWS.with_columns(score=NAN_SCORES), "no golden rows with scores"),
    "scores that are no probabilities": (None, ROWS.with_columns(score=1.5), "no golden rows with scores"),
    "no golden rows": (None, ROWS.head(0).with_columns(score=pl.lit(0.5)), "no golden rows with scores"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    registry: Registry, make, ledger: Ledger, tmp_path: Path, name: str
) -> None:
    change, golden, told = REFUSED[name]
    candidate, lineage = make()
    if change is not None:
        candidate = msgspec.structs.replace(candidate, **change(candidate))
    if golden is not None:
        reseal(candidate, golden=golden)
    with pytest.raises(RegistryError, match=told):
        registry.register(candidate, lineage)
    assert ledger.entries() == []
    assert not (tmp_path / "home" / "registry").exists()


def test_lineage_of_another_definition_is_refused(registry: Registry, make) -> None:
    candidate, lineage = make()
    with pytest.raises(RegistryError, match="its definition is"):
        registry.register(candidate, msgspec.structs.replace(lineage, pipeline_definition="other"))


@pytest.mark.parametrize("name", ["model.onnx", "card.json", "manifest.json"])
def test_a_damaged_candidate_is_refused(registry: Registry, make, name: str) -> None:
    candidate, lineage = make()
    path = Path(candidate.folder) / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RegistryError, match=f"file `{name}`"):
        registry.register(candidate, lineage)


def test_a_model_that_is_none_is_refused(registry: Registry, make, capfd: pytest.CaptureFixture[str]) -> None:
    candidate, lineage = make()
    (Path(candidate.folder) / "model.onnx").write_bytes(b"no model")
    bundle.seal(Path(candidate.folder))
    with pytest.raises(RegistryError, match=r"file `model\.onnx` cannot be loaded"):
        registry.register(candidate, lineage)
    assert capfd.readouterr().err == ""


def test_damage_to_a_kept_version_is_told_and_not_overwritten(registry: Registry, make) -> None:
    candidate, lineage = make()
    kept = Path(registry.register(candidate, lineage).folder) / "model.txt"
    kept.chmod(0o644)
    kept.write_text("tampered with")
    with pytest.raises(RegistryError, match=r"file `model\.txt` is (altered|truncated)"):
        registry.register(candidate, lineage)


def test_left_overs_of_a_killed_copy_are_cleared(registry: Registry, make, tmp_path: Path) -> None:
    shelf = tmp_path / "home" / "registry" / "models" / "rides"
    (shelf / ".incoming-x").mkdir(parents=True)
    (shelf / ".incoming-x" / "model.onnx").write_bytes(b"half")
    version = registry.register(*make())
    assert sorted(path.name for path in shelf.iterdir()) == sorted([".lock", version.digest])


def test_a_folder_that_cannot_be_written_is_a_sentence(make, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be written"):
        Registry(tmp_path / "file" / "registry", ledger, "").register(*make())
    assert ledger.entries() == []


def test_no_space_for_a_copy_is_a_sentence_and_leaves_nothing(
    registry: Registry, make, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    made = make()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(WorkspaceError, match="No space left on device"):
            registry.register(*made)
    assert ledger.entries() == []
    assert registry.register(*made).version == 1


def test_another_process_that_writes_is_waited_for(registry: Registry, make, tmp_path: Path) -> None:
    shelf = tmp_path / "home" / "registry" / "models" / "rides"
    shelf.mkdir(parents=True)
    hold = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", hold, str(shelf / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        impatient = Registry(tmp_path / "home" / "registry", registry._ledger, "", lock_seconds=0.2)
        with pytest.raises(RegistryError, match="another process has been writing for too long"):
            impatient.register(*make())
        process.kill()  # what a killed process held is free again
    assert registry.register(*make()).version == 1


def test_many_processes_register_the_same_at_once(registry: Registry, make, tmp_path: Path) -> None:
    candidate, lineage = make()
    (tmp_path / "candidate.json").write_text(candidate.to_json())
    (tmp_path / "lineage.json").write_text(lineage.to_json())
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.registry.registering", tmp_path / "home", tmp_path, ""],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    told = [process.communicate(timeout=120) for process in processes]
    assert [out for out, _ in told] == ["1\n"] * 4, told
    assert [version.version for version in registry.versions("rides")] == [1]


def test_hosts_without_a_common_lock_still_number_each_version_once(
    registry: Registry, make, tmp_path: Path, ledger: Ledger
) -> None:
    """Two registries over one ledger with folders of their own, as on two machines: the ledger alone decides."""
    other = Registry(tmp_path / "other" / "registry", ledger, "")
    made = [make(float(n)) for n in range(1, 5)]
    assert [registry.register(*made[0]).version, other.register(*made[1]).version] == [1, 2]
    assert other.register(*made[0]).version == 1
    assert [registry.register(*made[2]).version, other.register(*made[3]).version] == [3, 4]


def test_a_number_that_another_host_takes_first_is_left_to_it(
    registry: Registry, make, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Registry(tmp_path / "other" / "registry", ledger, "")
    first, second = make(1.0), make(2.0)
    append = ledger.append

    def overtaken(key: str, kind: str, subject: str, body: str) -> object:
        monkeypatch.setattr(ledger, "append", append)
        other.register(*second)
        return append(key, kind, subject, body)

    monkeypatch.setattr(ledger, "append", overtaken)
    assert registry.register(*first).version == 2
    assert [version.metrics for version in registry.versions("rides")] == [second[0].metrics, first[0].metrics]
    assert registry.register(*second).version == 1
