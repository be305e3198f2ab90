"""From a path to the Pipeline in it."""

import sys
from hashlib import sha256
from importlib import invalidate_caches
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType

from raypipe.errors import DefinitionError, Fault, RaypipeError, SourceError
from raypipe.spec.broken import explain
from raypipe.spec.pipeline import Pipeline


def load(path: str | Path) -> Pipeline:
    """Read a pipeline file and return the one Pipeline value in it. The file is run as any Python module is.

    It may import modules that lie beside it: they are found after all that is installed.

    Raises:
        SourceError: there is no such file.
        DefinitionError: the file fails to run, or holds no Pipeline, or more than one.
    """
    file = Path(path).absolute()
    if file.is_dir():
        cure = f"Give a file of it, such as {Path(path) / 'pipeline.py'}"
        raise SourceError("is a folder, not a pipeline file", where=str(path), cure=cure)
    if not file.is_file():
        raise SourceError("no such pipeline file", where=str(path), cure="Give the path of a .py file")
    # A name of its own: two pipeline.py files may be loaded by one process.
    name = f"raypipe_pipeline_{sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    module_spec = spec_from_loader(name, _Fresh(name, str(file)))
    if module_spec is None or module_spec.loader is None:
        raise SourceError("is not a Python file", where=str(path), cure="Give the path of a .py file")
    module = module_from_spec(module_spec)
    sys.modules[name] = module
    _find_beside(file)
    try:
        module_spec.loader.exec_module(module)
    except RaypipeError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the file raises is the user's to see, in a sentence
        raise DefinitionError([explain(file, error)]) from None
    found = {id(v): v for v in vars(module).values() if isinstance(v, Pipeline)}
    if len(found) != 1:
        what = "holds no Pipeline" if not found else f"holds {len(found)} Pipelines"
        raise DefinitionError([Fault(file.name, what, "Define exactly one, such as `pipeline = Pipeline(...)`")])
    return next(iter(found.values()))


def _find_beside(file: Path) -> None:
    """Let Python find modules in the file's folder; one of the same name beside another file is not meant."""
    folder = str(file.parent)
    for beside in file.parent.glob("*.py"):
        known = sys.modules.get(beside.stem)
        elsewhere = Path(getattr(known, "__file__", None) or beside).parent
        if elsewhere != file.parent and str(elsewhere) in _BESIDE:
            del sys.modules[beside.stem]
    _BESIDE.add(folder)
    # The last file that was loaded comes first among those that are not installed.
    sys.path[:] = [*(path for path in sys.path if path not in _BESIDE), folder]
    invalidate_caches()


#: The folders of the files that this process has loaded.
_BESIDE: set[str] = set()


class _Fresh(SourceFileLoader):
    """Compiles the file as it is now: Python's cache goes by second and size, and an edit may keep both."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)
