"""Where a model came from: enough to make it again."""

import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from raypipe.contracts.records import Candidate, Lineage, TrainingSet

if TYPE_CHECKING:
    from raypipe.spec import Pipeline


def capture(pipeline: "Pipeline", file: Path, candidate: Candidate, training_set: TrainingSet) -> Lineage:
    """Everything that made a candidate, as far as it can be known now.

    Args:
        pipeline: the definition.
        file: where it is written; its git commit is recorded, or ``""`` when it is in no git repository.
        candidate: what the search chose.
        training_set: what it was learned from.
    """
    from raypipe.spec import fingerprint  # Polars: who reads a lineage does not need it

    commit, dirty = git_state(file)
    files = {source.digest: source for snapshot in training_set.snapshots for source in snapshot.files}
    return Lineage(
        commit=commit,
        dirty=dirty,
        pipeline_definition=fingerprint(pipeline),
        feature_definition=training_set.definition,
        training_set=training_set.digest,
        as_of=training_set.as_of,
        snapshots={snapshot.table: snapshot.snapshot_id for snapshot in training_set.snapshots},
        files=tuple(sorted(files.values(), key=lambda source: source.path)),
        params=candidate.params,
        seed=candidate.seed,
        lock=installed(),
        run_id=_run_id(candidate),
        machine=machine(),
    )


def git_state(file: Path) -> tuple[str, bool]:
    """The commit that a file's work tree is at, and whether the tree or the file differ from it; else ``("", False)``.

    Untracked files other than ``file`` do not count: the workspace is one of them.
    """
    commit, changed = code_state(file.parent)
    return commit, bool(commit) and (changed or not _git(file.parent, "ls-files", "--", file.name))


def code_state(folder: Path) -> tuple[str, bool]:
    """The commit that a folder's work tree is at, and whether the tree differs from it; else ``("", False)``."""
    commit = _git(folder, "rev-parse", "HEAD")
    return commit, bool(commit) and bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))


def machine() -> str:
    """The processor that computes here, in a few words: the last bits of a model may depend on it."""
    model = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return " ".join(filter(None, (platform.machine(), model)))


def installed() -> dict[str, str]:
    """The version of every installed distribution by its normalised name, and of Python itself."""
    found = {}
    for distribution in metadata.distributions():
        # A half-removed distribution leaves a folder without a name.
        name = distribution.metadata["Name"]
        if name:
            found[name.lower().replace("_", "-").replace(".", "-")] = distribution.version
    return {"python": platform.python_version()} | dict(sorted(found.items()))


def _run_id(candidate: Candidate) -> str:
    """The candidate's own MLflow run, or that of the trial that was chosen."""
    if candidate.run_id:
        return candidate.run_id
    for trial in candidate.trials:
        if trial.run_id and (trial.algorithm, trial.params) == (candidate.algorithm, candidate.params):
            return trial.run_id
    return ""


def _git(folder: Path, *command: str) -> str:
    """What git says, or nothing when there is no git, no repository, or one that git does not trust."""
    # Inside a git hook these variables point at the hook's repository, not at the file's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
