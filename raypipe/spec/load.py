"""From a path to the Pipeline in it."""

import importlib.util
import sys
import traceback
from hashlib import sha256
from pathlib import Path

from raypipe.errors import DefinitionError, Fault, RaypipeError, SourceError
from raypipe.spec.pipeline import Pipeline


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
    module_spec = importlib.util.spec_from_file_location(name, file)
    if module_spec is None or module_spec.loader is None:
        raise SourceError("is not a Python file", where=str(path), cure="Give the path of a .py file")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except RaypipeError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever the user's file raises is the user's to see, in one sentence
        raise DefinitionError([_fault(file, error)]) from None
    found = {id(v): v for v in vars(module).values() if isinstance(v, Pipeline)}
    if len(found) != 1:
        what = "holds no Pipeline" if not found else f"holds {len(found)} Pipelines"
        raise DefinitionError([Fault(file.name, what, "Define exactly one, such as `pipeline = Pipeline(...)`")])
    return next(iter(found.values()))


def _fault(file: Path, error: Exception) -> Fault:
    if isinstance(error, SyntaxError):
        return Fault(f"{file.name}:{error.lineno}", f"is not valid Python: {error.msg}")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return Fault(f"{file.name}:{lines[-1] if lines else '?'}", f"{type(error).__name__}: {error}")
