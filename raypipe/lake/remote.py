"""Files that lie elsewhere: named by a URL, read through whatever filesystem knows its scheme."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import PurePosixPath
from typing import IO, cast

import fsspec
import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, FSSpecHandler, PyFileSystem

from raypipe.errors import SourceError
from raypipe.lake.storage import filesystem

#: Schemes that Arrow reads by itself; S3 with the endpoint that the environment names.
NATIVE = frozenset(("gs", "gcs", "abfs", "abfss", "hdfs"))
#: How long Google's store is asked again; its own default is a quarter of an hour.
RETRY_SECONDS = 60


@dataclass(frozen=True)
class RemoteFile:
    """A file by its URL; as much of a ``Path`` as reading needs."""

    url: str

    @property
    def suffix(self) -> str:
        """The last suffix of its name."""
        return PurePosixPath(self.url).suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of its name."""
        return PurePosixPath(self.url).suffixes

    def open(self, mode: str = "rb") -> IO[bytes]:  # it is only read
        """Its bytes, with a place that can be sought."""
        place = _place(self.url)
        with _complaints():
            return cast("IO[bytes]", place.where.open_input_file(place.path(self.url)))

    def stamp(self) -> tuple[int, int]:
        """Its size, and when it was changed in nanoseconds."""
        place = _place(self.url)
        with _complaints():
            return _stamp(place.where.get_file_info(place.path(self.url)))


def is_remote(path: str) -> bool:
    """True for a URL."""
    return "://" in path


def find_remote(url: str, suffixes: tuple[str, ...]) -> list[RemoteFile]:
    """The files that a URL means, in order of their names: a file, a folder with all below, or a pattern.

    Raises:
        SourceError: no filesystem knows its scheme.
        OSError: it cannot be reached, or does not let us in.
    """
    place = _place(url)
    with _complaints():
        return [RemoteFile(place.url(one)) for one in _found(place.where, place.path(url), suffixes)]


def _found(where: FileSystem, path: str, suffixes: tuple[str, ...]) -> list[str]:
    fixed = path if "*" not in path and "?" not in path else path[: _first_magic(path)].rpartition("/")[0]
    info = where.get_file_info(fixed)
    if info.type == FileType.File:
        return [path]
    if info.type == FileType.NotFound:
        return []
    below = where.get_file_info(FileSelector(fixed, recursive=True))
    files = [one.path for one in below if one.type == FileType.File]
    if fixed != path:
        depth = path.count("/")
        chosen = [one for one in files if fnmatchcase(one, path) and ("**" in path or one.count("/") == depth)]
    else:
        inside = [(one, one.removeprefix(fixed).strip("/").split("/")) for one in files]
        hidden = (".", "_")
        chosen = [one for one, parts in inside if not any(part.startswith(hidden) for part in parts)]
        chosen = [one for one in chosen if one.lower().endswith(suffixes)]
    return sorted(chosen)


@dataclass(frozen=True)
class _Place:
    """A filesystem, and how what comes after a URL's ``head`` is named there: with ``root`` before it."""

    where: FileSystem
    head: str
    root: str

    def path(self, url: str) -> str:
        return self.root + url.removeprefix(self.head)

    def url(self, path: str) -> str:
        return self.head + path.removeprefix(self.root)


def _place(url: str) -> _Place:
    scheme, _, rest = url.partition("://")
    if scheme not in NATIVE:
        return _Place(_filesystem(scheme), f"{scheme}://", "")
    head = f"{scheme}://{rest.partition('/')[0]}/"
    with _complaints():
        where, root = _native(head)
    # Azure takes no slash in front, though Arrow writes one; without it, Hadoop would look in the user's own folder.
    root = "/" if scheme == "hdfs" else root.strip("/")
    return _Place(where, head, f"{root}/" if root.strip("/") else root)


@cache
def _native(head: str) -> tuple[FileSystem, str]:
    """The filesystem, and what it calls the bucket, the container, or the root."""
    more = f"?retry_limit_seconds={RETRY_SECONDS}" if head.startswith(("gs:", "gcs:")) else ""
    where, root = FileSystem.from_uri(head + more)
    return where, root


@contextmanager
def _complaints() -> Iterator[None]:
    """What Arrow complains of without saying that it is the system's fault, such as who it could not log in as."""
    try:
        yield
    except OSError:
        raise
    except pa.ArrowException as error:
        raise OSError(str(error).strip().partition("\n")[0]) from None


@cache
def _filesystem(scheme: str) -> FileSystem:
    if scheme == "s3":
        return filesystem("s3://")
    try:
        return PyFileSystem(FSSpecHandler(fsspec.filesystem(scheme)))
    except (ImportError, ValueError) as error:
        cure = "Install what the message names, or correct the scheme"
        raise SourceError(f"no filesystem for it: {error}", where=f"{scheme}://", cure=cure) from None


def _first_magic(path: str) -> int:
    return min(place for place in (path.find("*"), path.find("?")) if place >= 0)


def _stamp(info: FileInfo) -> tuple[int, int]:
    if info.type != FileType.File:
        raise FileNotFoundError(2, "No such file", info.path)
    return info.size or 0, info.mtime_ns or 0
