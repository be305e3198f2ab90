"""Files that lie elsewhere: named by a URL, read through whatever filesystem knows its scheme."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import PurePosixPath
from typing import IO, cast

import fsspec
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, FSSpecHandler, PyFileSystem

from raypipe.errors import SourceError
from raypipe.lake.storage import filesystem

#: Schemes that Arrow reads by itself; S3 with the endpoint that the environment names.
NATIVE = frozenset(("gs", "gcs", "abfs", "abfss", "hdfs"))


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
        where, path = _located(self.url)
        return cast("IO[bytes]", where.open_input_file(path))

    def stamp(self) -> tuple[int, int]:
        """Its size, and when it was changed in nanoseconds."""
        where, path = _located(self.url)
        return _stamp(where.get_file_info(path))


def is_remote(path: str) -> bool:
    """True for a URL."""
    return "://" in path


def find_remote(url: str, suffixes: tuple[str, ...]) -> list[RemoteFile]:
    """The files that a URL means, in order of their names: a file, a folder with all below, or a pattern.

    Raises:
        SourceError: no filesystem knows its scheme.
        OSError: it cannot be reached, or does not let us in.
    """
    where, path = _located(url)
    prefix = url[: len(url) - len(path)]
    fixed = path if "*" not in path and "?" not in path else path[: _first_magic(path)].rpartition("/")[0]
    info = where.get_file_info(fixed)
    if info.type == FileType.File:
        return [RemoteFile(url)]
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
    return [RemoteFile(prefix + one) for one in sorted(chosen)]


def _located(url: str) -> tuple[FileSystem, str]:
    scheme, _, rest = url.partition("://")
    return _filesystem(scheme, url if scheme in NATIVE else ""), rest


@cache
def _filesystem(scheme: str, url: str) -> FileSystem:
    if scheme == "s3":
        return filesystem("s3://")
    if scheme in NATIVE:
        return FileSystem.from_uri(url)[0]
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
