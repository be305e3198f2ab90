"""A workspace that cannot be used is refused in one sentence, before anything starts."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypipe.contracts.progress import Silent
from raypipe.errors import WorkspaceError
from raypipe.services import ServicesConfig, check_workspace, up
from raypipe.services.processes import tree
from raypipe.services.workspace import private_folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("only root may mount a disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    check_workspace(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_full_disk_starts_nothing(small_disk: Path) -> None:
    config = ServicesConfig(small_disk / "workspace")
    with pytest.raises(WorkspaceError, match=r"workspace: only [01] MB are free; 256 MB are needed\. Free some space"):
        up(config, Silent())
    assert tree((), str(config.workspace)) == []
    assert not config.run.exists()


def test_the_least_space_is_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 300 * 2**20
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(2**40, 2**40 - free, free))
    check_workspace(tmp_path, need_bytes=free)
    with pytest.raises(WorkspaceError, match="only 300 MB are free; 301 MB are needed"):
        check_workspace(tmp_path, need_bytes=free + 1)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "workspace").write_text("")
    with pytest.raises(WorkspaceError, match=r"cannot be written to: File exists\. Set `workspace`"):
        check_workspace(tmp_path / "workspace")
    with pytest.raises(WorkspaceError, match="cannot be written to: Not a directory"):
        check_workspace(tmp_path / "workspace" / "below")


def test_sockets_are_not_put_where_others_can_reach(tmp_path: Path) -> None:
    private_folder(tmp_path / "mine")
    private_folder(tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    (tmp_path / "mine").chmod(0o755)
    with pytest.raises(WorkspaceError, match="not a private folder"):
        private_folder(tmp_path / "mine")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(WorkspaceError, match="not a private folder"):
        private_folder(tmp_path / "link")
