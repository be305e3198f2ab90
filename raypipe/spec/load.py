"""From a path to the Pipeline in it."""

import sys
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType

from raypipe.errors import DefinitionError, Fault, RaypipeError, SourceError
from raypipe.spec.broken import explain
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
        raise DefinitionError([explain(file, error)]) from None
    found = {id(v): v for v in vars(module).values() if isinstance(v, Pipeline)}
    if len(found) != 1:
        what = "holds no Pipeline" if not found else f"holds {len(found)} Pipelines"
        raise DefinitionError([Fault(file.name, what, "Define exactly one, such as `pipeline = Pipeline(...)`")])
    return next(iter(found.values()))


class _Fresh(SourceFileLoader):
    """Compiles the file as it is now: Python's cache goes by second and size, and an edit may keep both."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)
