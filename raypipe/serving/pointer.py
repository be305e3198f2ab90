"""Which version of a pipeline is in service: one small file that every replica begins with and comes back to.

Serve's own ``user_config`` could carry it, but Serve takes a replica out of the rotation while it applies one, and
HAProxy is started anew for each such change. Here nothing in front of the replicas moves when a version does.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from raypipe.errors import ServingError, WorkspaceError
from raypipe.failpoints import failpoint
from raypipe.serving.model import Served


class Pointer:
    """The version in service, kept in a folder that all replicas see.

    Args:
        folder: of all pointers; made when one is written.
        name: of the pipeline.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.json"
        self._example = folder / f"{name}.example.json"

    def read(self) -> Served | None:
        """The version in service; None when none ever was.

        Raises:
            ServingError: the file is not what `write` writes.
        """
        try:
            return Served.from_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise ServingError(
                f"cannot be read: {error}", where=str(self.path), cure="Remove it, then `raypipe deploy`"
            ) from None

    def suggest(self, example: Mapping[str, object]) -> None:
        """Keep a question that looks real, for whoever wants to see one.

        Raises:
            WorkspaceError: the folder cannot be written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._example.with_suffix(".new")
            draft.write_bytes(msgspec.json.encode(example))
            draft.replace(self._example)
        except OSError as error:
            raise WorkspaceError(f"cannot be written: {error.strerror}", where=str(self._example)) from None

    def suggested(self) -> dict[str, object]:
        """The question that was kept; empty when there is none, or none that can be read."""
        try:
            return msgspec.json.decode(self._example.read_bytes(), type=dict[str, object])
        except (OSError, msgspec.MsgspecError):
            return {}

    def write(self, served: Served | None) -> None:
        """Make this the version in service, or none, in one step that survives a crash.

        Raises:
            WorkspaceError: the folder cannot be written to.
        """
        try:
            if served is None:
                self.path.unlink(missing_ok=True)
                return
            draft = drafted(self.path, served.to_json().encode())
            failpoint("deploy.before_pointer_moves")
            draft.replace(self.path)
        except OSError as error:
            raise WorkspaceError(f"cannot be written: {error.strerror}", where=str(self.path)) from None


def drafted(path: Path, content: bytes) -> Path:
    """A new file beside another one, with its content on the disk, to be put in its place in one step.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, suffix=".new", delete=False) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(file.name)
