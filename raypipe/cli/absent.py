"""Files that a definition names and that are not there, found without reading one, or importing what reads them."""

import glob
import importlib.util
from pathlib import Path

from raypipe.errors import SourceError
from raypipe.spec import Pipeline
from raypipe.spec.elsewhere import NAMED
from raypipe.spec.files import Files

PACKAGE = "package://"


def absent(pipeline: Pipeline) -> list[str]:
    """A sentence for each source whose files are not on this machine; URLs are left to who reads them."""
    declared = [source.source for source in pipeline.sources if source.source is not None]
    return [f"{files.path} ({files.where}): {why}" for files in declared if (why := _why(files))]


def require_here(pipeline: Pipeline) -> None:
    """Do nothing when every file is on this machine, or is for others to find.

    Raises:
        SourceError: some are not; names them all.
    """
    from raypipe.settings import load_settings

    gone = absent(pipeline)
    if gone and not load_settings().ray_address:
        cure = "Check the path; it is relative to the working folder"
        raise SourceError("; ".join(gone), cure=cure)


def _why(files: Files) -> str:
    path = files.path
    if path.startswith(PACKAGE):
        name, _, inside = path.removeprefix(PACKAGE).partition("/")
        home = _home(name)
        if home is None:
            return f"package `{name}` is not installed"
        path = str(home / inside)
    elif "://" in path or files.format in NAMED:
        return ""
    pattern = str(Path(path).expanduser())
    there = Path(pattern).exists() or any(glob.iglob(pattern, recursive=True))  # noqa: PTH207  # may begin at the root
    return "" if there else "no file matches" if glob.has_magic(pattern) else "no such file or folder"


def _home(name: str) -> Path | None:
    try:
        found = importlib.util.find_spec(name) if name.isidentifier() else None
    except ValueError:  # a module that was put into sys.modules by hand has no spec
        return None
    return None if found is None or not found.submodule_search_locations else Path(found.submodule_search_locations[0])
