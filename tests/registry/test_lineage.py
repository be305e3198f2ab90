"""What is written down of where a model came from."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from raypipe.contracts import bundle
from raypipe.contracts.records import Lineage, Trial
from raypipe.registry import capture
from raypipe.registry.lineage import git_state, installed
from raypipe.spec import fingerprint
from tests.registry.making import AS_OF, make_candidate, make_training_set


def git(folder: Path, *command: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *command], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one committed pipeline in a sub-folder."""
    folder = tmp_path / "repository"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "pipeline.py").write_text("x = 1\n")
    (folder / "helper.py").write_text("y = 1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_the_commit(repository: Path) -> None:
    assert git_state(repository / "models" / "pipeline.py") == (git(repository, "rev-parse", "HEAD"), False)


@pytest.mark.parametrize("changed", ["models/pipeline.py", "helper.py"])
def test_a_changed_tree_is_dirty(repository: Path, changed: str) -> None:
    (repository / changed).write_text("z = 1\n")
    assert git_state(repository / "models" / "pipeline.py")[1]


def test_a_workspace_beside_the_pipeline_is_no_change(repository: Path) -> None:
    (repository / "models" / ".raypipe").mkdir()
    (repository / "models" / ".raypipe" / "ledger.db").touch()
    assert not git_state(repository / "models" / "pipeline.py")[1]


def test_a_pipeline_that_was_never_committed_is_dirty(repository: Path) -> None:
    (repository / "models" / "new.py").touch()
    assert git_state(repository / "models" / "new.py") == (git(repository, "rev-parse", "HEAD"), True)


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert git_state(tmp_path / "pipeline.py") == ("", False)


def test_no_repository(tmp_path: Path) -> None:
    assert git_state(tmp_path / "pipeline.py") == ("", False)


def test_no_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert git_state(repository / "models" / "pipeline.py") == ("", False)


def test_the_repository_of_a_hook_is_not_the_files(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hooked").mkdir()
    git(tmp_path / "hooked", "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "hooked" / ".git"))
    assert git_state(repository / "models" / "pipeline.py")[0] != ""


def test_the_lock_is_what_pip_says() -> None:
    command = [sys.executable, "-m", "pip", "list", "--format", "freeze", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told = dict(line.split("==") for line in done.stdout.split() if "==" in line)
    lock = installed()
    wrong = {
        name for name, version in told.items() if lock.get(name.lower().replace("_", "-").replace(".", "-")) != version
    }
    assert not wrong
    assert lock["python"] == sys.version.split()[0]
    assert lock["polars"] == metadata.version("polars")
    assert list(lock)[1:] == sorted(list(lock)[1:])


def captured(tmp_path: Path, **changes: object) -> Lineage:
    candidate = make_candidate(tmp_path)
    pipeline = bundle.pipeline(Path(candidate.folder))
    candidate = msgspec.structs.replace(candidate, **changes)
    return capture(pipeline, tmp_path / "pipeline.py", candidate, make_training_set())


def test_everything_is_written_down(tmp_path: Path) -> None:
    lineage = captured(tmp_path)
    assert lineage.pipeline_definition == fingerprint(bundle.pipeline(tmp_path / "bundle"))
    assert (lineage.feature_definition, lineage.training_set, lineage.as_of) == ("features-1", "set-1", AS_OF)
    assert lineage.snapshots == {"zones": 5, "rides": 11}
    assert [(file.path, file.digest) for file in lineage.files] == [
        ("rides.csv", "ab")
    ]  # once, though two tables name it
    assert (lineage.params, lineage.seed) == ({"weight": 1.0}, 7)
    assert Lineage.from_json(lineage.to_json()) == lineage


def test_the_run_is_that_of_the_chosen_trial(tmp_path: Path) -> None:
    def trial(number: int, algorithm: str, weight: float, run: str) -> Trial:
        return Trial(
            number=number,
            algorithm=algorithm,
            params={"weight": weight},
            status="done",
            metrics={},
            seconds=1,
            run_id=run,
        )

    trials = (trial(0, "network", 1.0, "a"), trial(1, "linear", 2.0, "b"), trial(2, "linear", 1.0, "c"))
    assert captured(tmp_path / "x", trials=trials).run_id == "c"
    assert captured(tmp_path / "y", trials=trials[:2]).run_id == ""
