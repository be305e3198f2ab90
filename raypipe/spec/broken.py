"""What is wrong with a pipeline file that cannot be run: one sentence with its line, and the cure."""

import ast
import inspect
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from raypipe.errors import Fault, did_you_mean

_MISSING_NAME = re.compile(r"^cannot import name '(\w+)' from '([\w.]+)'")
_UNKNOWN_KEYWORD = re.compile(r"got an unexpected keyword argument '(\w+)'")
_MISSING_ARGUMENT = re.compile(r"missing \d+ required [\w\- ]+ arguments?: (.+)$")
_TOO_MANY = re.compile(r"(\w+)\(\) takes .*positional arguments? but \d+ (?:was|were) given")
#: What all pipeline files import, and how like one of them a name is that was meant to be it.
_IMPORTED, _LIKE = ("raypipe", "polars"), 0.8
#: They read one path, whatever it stands for.
_FILES = frozenset({"avro", "csv", "json_lines", "orc", "parquet"})


def explain(file: Path, error: BaseException) -> Fault:
    """The fault behind what a pipeline file raised while it was run.

    Args:
        file: the file, as its frames name it.
        error: what came out of it; its traceback says where.
    """
    if isinstance(error, SyntaxError):
        line = f":{error.lineno}" if error.lineno else ""
        cure = f"Correct `{error.text.strip()}`" if error.text and error.text.strip() else "Save it as Python in UTF-8"
        return Fault(f"{file.name}{line}", f"is not valid Python: {error.msg}", cure)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    where = f"{file.name}:{lines[-1]}" if lines else file.name
    if isinstance(error, ImportError) and (found := _MISSING_NAME.search(str(error))):
        name, package = found.groups()  # Python's own words end in the path of the package
        return Fault(where, f"`{package}` has no `{name}`", did_you_mean(name, _public(dir(sys.modules[package]))))
    return Fault(where, f"{type(error).__name__}: {error}", _cure(file, error))


def _cure(file: Path, error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "Take it out: a pipeline file only defines values"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _module(error.name)
    meant = _argument(file, error) if isinstance(error, TypeError) else _meant(error)
    return meant or f"Correct this line; `python {file.name}` shows the whole trace"


def _module(name: str) -> str:
    """A module that is not there: misspelt below a package that is, or not installed."""
    package, _, last = name.rpartition(".")
    if package and (found := find_spec(package)) is not None:
        return did_you_mean(last, [module.name for module in pkgutil.iter_modules(found.submodule_search_locations)])
    top = name.partition(".")[0]
    if near := get_close_matches(top, _IMPORTED, n=1, cutoff=_LIKE):
        return f"Did you mean `{near[0]}`?"
    return f"Correct the name, or install the package that has it, such as with `pip install {top}`"


def _meant(error: BaseException) -> str:
    """What a misspelt name should have been."""
    if isinstance(error, AttributeError) and error.name and isinstance(error.obj, ModuleType | type):
        return did_you_mean(error.name, _public(dir(error.obj)))
    if isinstance(error, NameError) and error.name:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        return did_you_mean(error.name, _public(frame.f_globals | frame.f_locals))
    return ""


def _argument(file: Path, error: TypeError) -> str:
    """Which argument of a call was meant, or is missing."""
    if found := _MISSING_ARGUMENT.search(str(error)):
        return f"Give {found[1].replace(chr(39), '`')}"
    if found := _TOO_MANY.search(str(error)):
        many = "Give one path: of a folder, or with a pattern such as `data/*.csv`"
        return many if found[1] in _FILES else "Give the others by their names, or leave them out"
    if not (found := _UNKNOWN_KEYWORD.search(str(error))):
        return ""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_code.co_filename != str(file):
            continue
        for called in _calls(ast.parse(file.read_text(encoding="utf-8")), line, found[1]):
            if (parameters := _parameters(called, frame.f_globals | frame.f_locals)) is not None:
                return did_you_mean(found[1], parameters)
    return ""


def _calls(tree: ast.AST, line: int, keyword: str) -> Iterator[list[str]]:
    """The dotted names that are called with a keyword in a statement that holds this line, innermost first."""
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and node.lineno <= line <= (node.end_lineno or line)
        and any(argument.arg == keyword for argument in node.keywords)
    ]
    for call in sorted(calls, key=lambda call: call.lineno, reverse=True):
        parts, at = [], call.func
        while isinstance(at, ast.Attribute):
            parts.append(at.attr)
            at = at.value
        if isinstance(at, ast.Name):
            yield [at.id, *reversed(parts)]


def _parameters(called: list[str], known: Mapping[str, object]) -> list[str] | None:
    """The names of the arguments that something takes."""
    try:
        found = reduce(getattr, called[1:], known[called[0]])
        return list(inspect.signature(found).parameters) if callable(found) else None
    except (KeyError, AttributeError, ValueError, TypeError):
        return None


def _public(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith("_")]
