"""From the path that a source declares to the files that are there."""

import fnmatch
import glob
import hashlib
import importlib.util
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from raypipe.errors import SourceError
from raypipe.lake.remote import RemoteFile, find_remote, is_remote
from raypipe.spec import Files

PACKAGE = "package://"
SUFFIXES = {
    "csv": (".csv", ".csv.zip"),
    "json": (".json", ".jsonl", ".ndjson", ".json.zip", ".jsonl.zip", ".ndjson.zip"),
    "parquet": (".parquet", ".pq"),
    "orc": (".orc",),
    "avro": (".avro",),
}


class BrokenFileError(SourceError):
    """A file of which nothing can be read: it is cut off, or its bytes are damaged."""


@dataclass(frozen=True)
class FoundFile:
    """One file that is there. ``name`` is how it was declared and how errors call it.

    ``size`` and ``changed`` (nanoseconds) tell whether it was written to after it was found.
    """

    name: str
    path: Path | RemoteFile
    size: int
    changed: int

    @property
    def digest(self) -> str:
        """SHA-256 of its bytes, in hex."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except OSError as error:
            raise unreadable(self.name, error) from None

    def require_unchanged(self) -> None:
        """Raises SourceError when the file was written to since it was found."""
        if (self.size, self.changed) != _stamp(self.path):
            raise SourceError("changed while it was read", where=self.name, cure="Run again when nothing writes to it")


def find(files: Files) -> tuple[FoundFile, ...]:
    """The files that a path means, in order of their names.

    Raises:
        SourceError: nothing is there, or the package is not installed.
    """
    try:
        if is_remote(files.path) and not files.path.startswith(PACKAGE):
            found = find_remote(files.path, SUFFIXES[files.format])
            if not found:
                raise _nothing(files, "no file is there", "Check the URL, the pattern, and your rights")
            return tuple(FoundFile(one.url, one, *one.stamp()) for one in found)
        root, shown = _locate(files)
        return tuple(FoundFile(shown(path), path, *_stamp(path)) for path in _paths(files, root))
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise unreadable(files.path, error) from None


def named(files: Files, name: str) -> bool:
    """Whether a file of this name would be among those that a path means, were it there."""
    path = files.path if "://" in files.path else str(Path(files.path).expanduser())
    return name == path or name.startswith(f"{path.rstrip('/')}/") or fnmatch.fnmatchcase(name, path)


def _paths(files: Files, root: Path) -> list[Path]:
    if root.is_dir():
        paths = [path for path in sorted(root.rglob("*")) if _belongs(path.relative_to(root), files) and path.is_file()]
        if not paths:
            kinds = ", ".join(f"*{suffix}" for suffix in SUFFIXES[files.format])
            raise _nothing(files, f"the folder holds no {files.format} files", f"Looked for {kinds}")
    elif root.exists():
        paths = [root]
    else:
        # A pattern may begin at the root of the file system, which Path.glob cannot.
        matches = glob.glob(str(root), recursive=True)  # noqa: PTH207
        paths = [Path(path) for path in sorted(matches) if Path(path).is_file()]
        if not paths and glob.has_magic(str(root)):
            raise _nothing(files, "no file matches", "Check the pattern and the folder it is relative to")
        if not paths:
            raise _nothing(files, "no such file or folder", "Check the path; it is relative to the working folder")
    return paths


@contextmanager
def opened(file: FoundFile) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file's content as a stream, and the raw file under it, whose position tells how far reading has come.

    Raises:
        SourceError: it cannot be opened, or is a zip that is broken or holds anything but one file.
    """
    with file.path.open("rb") as raw:
        if file.path.suffix.lower() != ".zip":
            yield raw, raw
            return
        try:
            archive = zipfile.ZipFile(raw)
            content = archive.open(_member(file, archive))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # broken, a rare method, a password
            raise _broken_zip(file, error) from None
        with archive, content:
            try:
                yield content, raw
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise _broken_zip(file, error) from None


def unreadable(name: str, error: OSError) -> SourceError:
    """What to say of a file that the operating system does not let us read."""
    return SourceError(f"cannot be read: {error.strerror or error}", where=name, cure="Check the file and its rights")


def _broken_zip(file: FoundFile, error: Exception) -> SourceError:
    return BrokenFileError(f"the zip cannot be read: {error}", where=file.name, cure="Get the file again")


def _locate(files: Files) -> tuple[Path, Callable[[Path], str]]:
    """Where to look, and how to turn a path that is found back into the way it was declared."""
    if not files.path.startswith(PACKAGE):
        return Path(files.path).expanduser(), str
    name, _, inside = files.path.removeprefix(PACKAGE).partition("/")
    try:
        found = importlib.util.find_spec(name) if name.isidentifier() else None
    except ValueError:  # a module that was put into sys.modules by hand has no spec
        found = None
    if found is None or not found.submodule_search_locations:
        raise _nothing(files, f"package `{name}` is not installed", f"Run `pip install {name}`")
    home = Path(next(iter(found.submodule_search_locations)))
    return home / inside, lambda path: f"{PACKAGE}{name}/{path.relative_to(home).as_posix()}"


def _belongs(inside: Path, files: Files) -> bool:
    hidden = any(part.startswith((".", "_")) for part in inside.parts)
    return not hidden and inside.name.lower().endswith(SUFFIXES[files.format])


def _member(file: FoundFile, archive: zipfile.ZipFile) -> str:
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    names = [name for name in names if not name.startswith("__MACOSX/")]
    if len(names) != 1:
        cure = "Pack one file a zip, or unpack it and give the folder"
        raise SourceError(f"the zip holds {len(names)} files instead of one", where=file.name, cure=cure)
    return names[0]


def _stamp(path: Path | RemoteFile) -> tuple[int, int]:
    try:
        if isinstance(path, RemoteFile):
            return path.stamp()
        stat = path.stat()
    except OSError as error:
        raise unreadable(str(path), error) from None
    return stat.st_size, stat.st_mtime_ns


def _nothing(files: Files, what: str, cure: str) -> SourceError:
    return SourceError(what, where=f"{files.path} ({files.where})", cure=cure)
