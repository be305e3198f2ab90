"""Files that one process appends to and another one reads while they grow: whole frames or nothing.

A frame is its kind (one byte), the length of its content and a CRC-32 of it, then the content, in one write. What a
write has put into the file survives the process, for the system holds it; what `Segment.sync` has seen survives the
machine. A frame that was cut off by a crash is not read: nobody was told that it was there.
"""

import fcntl
import os
import struct
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

SUFFIX = ".seg"
_HEAD = struct.Struct("<BII")
#: A new file is begun beyond this many bytes, so that what was read can be given back to the disk.
LARGEST = 16 * 2**20


class Segment:
    """A file that this process writes. Safe to share between threads.

    Args:
        folder: where it is made.
        began: names it, so that names sort by time; microseconds UTC.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path, began: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{began:020d}-{uuid.uuid4().hex[:12]}{SUFFIX}"
        # Locked before it has its name: whoever finds it by its name finds it locked.
        hidden = self.path.with_suffix(".new")
        self._file = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        hidden.rename(self.path)
        self._size = self._synced = 0
        self._lock = Lock()

    @property
    def full(self) -> bool:
        """True when the next frame should go into another file."""
        return self._size >= LARGEST

    def append(self, kind: int, content: bytes) -> None:
        """Add a frame; when it comes back, the frame outlives this process.

        Raises:
            OSError: it could not be written; the file is as it was before.
        """
        frame = _HEAD.pack(kind, len(content), zlib.crc32(content)) + content
        if os.write(self._file, frame) != len(frame):
            os.ftruncate(self._file, self._size)
            raise OSError(28, "No space left on device", str(self.path))
        self._size += len(frame)

    def sync(self) -> None:
        """Come back when every frame that was added before this call is on the disk."""
        wanted = self._size
        with self._lock:
            # Those who waited for one who wrote it all are done.
            if self._synced < wanted:
                size = self._size
                os.fdatasync(self._file)
                self._synced = size

    def close(self) -> None:
        """Write no more; the file may be taken away by whoever has read it."""
        with self._lock:
            os.close(self._file)


def frames(path: Path, start: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """Kind and content of each whole frame, and the position where it ends; from ``start``, where one ended, on."""
    with path.open("rb") as file:
        file.seek(start)
        content = file.read()
    at = 0
    while at + _HEAD.size <= len(content):
        kind, length, check = _HEAD.unpack_from(content, at)
        at += _HEAD.size + length
        body = content[at - length : at]
        if len(body) != length or zlib.crc32(body) != check:
            return
        yield kind, body, start + at


def segments(folder: Path) -> list[Path]:
    """The files in a folder, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def left(path: Path) -> bool:
    """True when nobody writes to a file any more, however its writer ended."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
