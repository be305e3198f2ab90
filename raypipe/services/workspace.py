"""Is the workspace fit to work in? Asked before anything starts, because a full disk is found out late and badly."""

import os
import shutil
import tempfile
from pathlib import Path

from raypipe.errors import WorkspaceError

# Ray writes some 20 MB of logs and MLflow a database in the first minute; the rest is room for a first table.
LEAST_BYTES = 256 * 2**20


def check_workspace(folder: Path, need_bytes: int = LEAST_BYTES) -> None:
    """Make the folder if it is missing, and see that it can be written to and has space.

    Args:
        folder: the workspace.
        need_bytes: how much must be free there.

    Raises:
        WorkspaceError: it cannot be made or written to, or has less space than that.

    >>> check_workspace(Path(tempfile.mkdtemp()), need_bytes=1)
    >>> check_workspace(Path(tempfile.mkdtemp()), need_bytes=2**62)
    Traceback (most recent call last):
    raypipe.errors.WorkspaceError: /...: only ... MB are free; 4,398,046,511,104 MB are needed. Free some space, ...
    """
    cure = "Set `workspace` to a folder that you may write to"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise WorkspaceError(
            f"cannot be written to: {os.strerror(error.errno or 0)}", where=str(folder), cure=cure
        ) from None
    if free < need_bytes:
        raise WorkspaceError(
            f"only {free // 2**20:,} MB are free; {-(-need_bytes // 2**20):,} MB are needed",
            where=str(folder),
            cure="Free some space, or set `workspace` to a folder on a larger disk",
        )


def private_folder(folder: Path) -> None:
    """Make a folder that only this user can enter. Others may write to its parent, so what is there is not trusted.

    Raises:
        WorkspaceError: somebody else has put something in its place.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not folder.is_dir() or folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise WorkspaceError(
            "is not a private folder of yours", where=str(folder), cure="Remove it, or set TMPDIR to another folder"
        )
