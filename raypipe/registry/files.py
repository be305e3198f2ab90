"""Bundles on disk: one folder a digest, written once and never changed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from raypipe.contracts import bundle
from raypipe.errors import RegistryError, WorkspaceError
from raypipe.failpoints import failpoint

_INCOMING = ".incoming-"


def keep(source: Path, shelf: Path, digest: str) -> None:
    """Copy a bundle to ``shelf/digest`` so that it is there whole or not at all. The caller holds the shelf's lock.

    Raises:
        RegistryError: the bundle, or the copy that is there already, is not what ``digest`` says.
        WorkspaceError: it cannot be written.
    """
    if (shelf / digest).exists():
        bundle.verify(shelf / digest, digest)
        return
    try:
        _copy(source, shelf, digest)
    except OSError as error:
        if isinstance(error, WorkspaceError):
            raise
        raise WorkspaceError(f"cannot keep the model's files: {error.strerror}", where=str(shelf)) from None


@contextmanager
def locked(shelf: Path, seconds: float) -> Iterator[None]:
    """Hold the shelf's lock: one process at a time adds to it. A process that dies gives it back.

    Raises:
        RegistryError: another process still holds it after so many seconds.
        WorkspaceError: the shelf cannot be made.
    """
    lock = FileLock(shelf / ".lock", timeout=seconds, poll_interval=0.02)
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        held = lock.acquire()
    except Timeout:
        what = "another process has been writing for too long"
        raise RegistryError(what, where=str(shelf), cure="Wait for it, or end it") from None
    except OSError as error:
        raise WorkspaceError(f"cannot be written: {error.strerror}", where=str(shelf)) from None
    with held:
        yield


def _copy(source: Path, shelf: Path, digest: str) -> None:
    for left_over in shelf.glob(f"{_INCOMING}*"):
        shutil.rmtree(left_over)
    incoming = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=shelf))
    incoming.chmod(0o755)
    for name in (*bundle.verify(source, digest).files, bundle.MANIFEST):
        shutil.copyfile(source / name, incoming / name, follow_symlinks=False)
        (incoming / name).chmod(0o444)
        _sync(incoming / name)
    # The source could have changed while it was read.
    bundle.verify(incoming, digest)
    _sync(incoming)
    failpoint("registry.before_rename")
    incoming.rename(shelf / digest)
    _sync(shelf)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
