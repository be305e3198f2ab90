"""From a path to the Pipeline in it."""

import re
import sys
import traceback
from collections.abc import Iterable
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType

from raypipe.errors import DefinitionError, Fault, RaypipeError, SourceError, did_you_mean
from raypipe.spec.pipeline import Pipeline

_MISSING_NAME = re.compile(r"^cannot import name '(\w+)' from '([\w.]+)'")


def load(path: str | Path) -> Pipeline:
    """Read a pipeline file and return the one Pipeline value in it. The file is run as any Python module is.

    Raises:
        SourceError: there is no such file.
        DefinitionError: the file fails to run, or holds no Pipeline, or more than one.
    """
    file = Path(path).absolute()
    if not file.is_file():
        raise SourceError("no such pipeline file", where=str(path), cure="Give the path of a .py file")
    # A name of its own: two pipeline.py files may be loaded by one process.
    name = f"raypipe_pipeline_{sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    module_spec = spec_from_loader(name, _Fresh(name, str(file)))
    if module_spec is None or module_spec.loader is None:
        raise SourceError("is not a Python file", where=str(path), cure="Give the path of a .py file")
    module = module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except RaypipeError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the file raises is the user's to see, in a sentence
        raise DefinitionError([_fault(file, error)]) from None
    found = {id(v): v for v in vars(module).values() if isinstance(v, Pipeline)}
    if len(found) != 1:
        what = "holds no Pipeline" if not found else f"holds {len(found)} Pipelines"
        raise DefinitionError([Fault(file.name, what, "Define exactly one, such as `pipeline = Pipeline(...)`")])
    return next(iter(found.values()))


class _Fresh(SourceFileLoader):
    """Compiles the file as it is now: Python's cache goes by second and size, and an edit may keep both."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _fault(file: Path, error: BaseException) -> Fault:
    if isinstance(error, SyntaxError):
        line = f":{error.lineno}" if error.lineno else ""
        return Fault(f"{file.name}{line}", f"is not valid Python: {error.msg}")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    where = f"{file.name}:{lines[-1]}" if lines else file.name
    if isinstance(error, ImportError) and (found := _MISSING_NAME.search(str(error))):
        name, package = found.groups()  # Python's own words end in the path of the package
        return Fault(where, f"`{package}` has no `{name}`", did_you_mean(name, _public(vars(sys.modules[package]))))
    return Fault(where, f"{type(error).__name__}: {error}", _meant(error))


def _meant(error: BaseException) -> str:
    """What a misspelt name should have been."""
    if isinstance(error, AttributeError) and error.name and isinstance(error.obj, ModuleType | type):
        return did_you_mean(error.name, _public(vars(error.obj)))
    if isinstance(error, NameError) and error.name:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        return did_you_mean(error.name, _public(frame.f_globals | frame.f_locals))
    return ""


def _public(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith("_")]
