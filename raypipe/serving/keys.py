"""The workspace's own key for hashing ids. Who destroys it makes every id in the logs unreadable for ever."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from raypipe.errors import WorkspaceError

BYTES = 32


def the_key(path: Path) -> bytes:
    """The key in a file that only its owner may read; made when there is none.

    Raises:
        WorkspaceError: it cannot be read or made, or others may read it.
    """
    try:
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o077:
            raise WorkspaceError("may be read by others", where=str(path), cure=f"Run `chmod 600 {path}`")
        return path.read_bytes()
    except OSError as error:
        if isinstance(error, WorkspaceError):
            raise
        raise WorkspaceError(f"cannot be used: {error.strerror}", where=str(path)) from None


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, new = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(BYTES))
        file.flush()
        os.fsync(file.fileno())
    # Of two who make one at once, the first one's stays.
    with suppress(FileExistsError):
        os.link(new, path)
    Path(new).unlink()
