"""Row logic in plain Python, for what no expression says: held by its name and a fingerprint of its text."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib import import_module
from textwrap import dedent
from types import CodeType
from typing import Any, ClassVar, TypeAlias

import polars as pl

from raypipe.errors import DefinitionError, Fault, FeatureError
from raypipe.spec.expressions import Expression
from raypipe.spec.files import POLARS_TYPES
from raypipe.spec.values import written_at

#: What it takes and gives: a float, an int, a text, a truth value, a time, or None.
Python: TypeAlias = Any
_MARK = "__raypipe_row__"
#: Modules, with those below them, from which definitions that were read back may call functions in this process.
_TRUSTED: set[str] = set()


def trust(modules: Iterable[str]) -> None:
    """Let definitions that are read back in this process call the row functions of some modules.

    To import a module runs it, and a definition may come with a model that a stranger made: without this, none is
    imported for it. What a pipeline file of one's own names is trusted as that file is.
    """
    _TRUSTED.update(modules)


def row_function(function: Callable[..., Python]) -> Callable[..., Python]:
    """Say that a function may be used for row logic: it is called with the values of one row and nothing else.

    It must lie in a module that can be imported wherever features are computed, since a definition holds only its name:
    reading one runs no code. Only functions that say this are ever called so.
    """
    setattr(function, _MARK, True)
    return function


@dataclass(frozen=True)
class RowFunction(Expression):
    """A Python function of some columns: the same code over history, a row at a time, and over a request.

    Attributes:
        module, name: where it is.
        source: the SHA-256 of its text, of the constants of its module that it names, and of functions of its package
            that it calls: a changed function is another feature. Other packages are pinned by the lock.
        columns: those whose values it is called with, in this order.
        returns: the type of what it gives; None is nothing.
    """

    module: str = ""
    name: str = ""
    source: str = ""
    columns: tuple[str, ...] = ()
    returns: type = float
    _own: ClassVar[bool] = False

    @classmethod
    def made(cls, function: Callable[..., Python], columns: tuple[str, ...], returns: type) -> "RowFunction":
        """From a function that is marked with `row_function`.

        Raises:
            DefinitionError: it could not be found again by its name, or is not marked.
        """
        module, name = function.__module__, function.__qualname__
        what = f"row function `{name}`"
        faults = []
        if not getattr(function, _MARK, False):
            faults.append(Fault(written_at(), f"{what} is not marked", "Write `@row_function` above it"))
        if module.startswith(("raypipe_pipeline_", "__main__")) or "<" in name:
            cure = "Put it into a module that can be imported wherever features are computed"
            faults.append(Fault(written_at(), f"{what} cannot be imported by its name", cure))
        for called in sorted(_unsteady(function)):
            what_else = f"{what} calls `{called}`, which gives something else in every process"
            faults.append(Fault(written_at(), what_else, "Leave it out; `hashlib` has hashes that stay"))
        if returns not in POLARS_TYPES:
            known = ", ".join(kind.__name__ for kind in POLARS_TYPES)
            faults.append(Fault(written_at(), f"{what} returns {returns!r}", f"Give one of {known}"))
        if faults:
            raise DefinitionError(faults)
        text = f"{module}.{name}({', '.join(columns)})"
        source = _fingerprint(function)
        trust([module])  # whoever wrote this line has imported it
        made = cls(text, module=module, name=name, source=source, columns=columns, returns=returns)
        made.read_back()
        return made

    def read_back(self) -> None:
        """Keep whether its module is trusted in this process: pieces of the work may go to others."""
        object.__setattr__(self, "_own", self._trusted())

    def _trusted(self) -> bool:
        return self._own or any(f"{self.module}.".startswith(f"{one}.") for one in _TRUSTED)

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """The columns it reads, each once."""
        return tuple(dict.fromkeys(self.columns))

    @cached_property
    def column(self) -> None:
        """Nothing is known of what it does."""
        return

    @cached_property
    def is_elementwise(self) -> bool:
        """It sees one row alone."""
        return True

    @cached_property
    def unsteady(self) -> tuple[str, str] | None:
        """Nothing is known of what it does; `made` refuses what is plain to see."""
        return None

    @cached_property
    def has_python(self) -> bool:
        """Reading it back runs nothing: only its name is held."""
        return False

    @cached_property
    def function(self) -> Callable[..., Python]:
        """The function itself, found by its name.

        Raises:
            FeatureError: its module is not trusted, or it is not there, is not marked, or its text is another by now.
        """
        where, found = f"row function {self.module}.{self.name}", None
        if not self._trusted():
            cure = f'Where you trust `{self.module}`, write `row_modules = ["{self.module}"]` in raypipe.toml'
            raise FeatureError("is in a module that no setting allows to import", where=where, cure=cure)
        try:
            found = getattr(import_module(self.module), self.name, None)
        except ImportError as error:
            cure = "Install it wherever features are computed"
            raise FeatureError(f"cannot be imported: {error}", where=where, cure=cure) from None
        if not getattr(found, _MARK, False) or not callable(found):
            raise FeatureError("is not there, or not marked", where=where, cure="Write `@row_function` above it")
        if _fingerprint(found) != self.source:
            cure = "Train again, or install the code that the definition was made with"
            raise FeatureError("is not the function that the definition was made with", where=where, cure=cure)
        function: Callable[..., Python] = found
        return function

    def __call__(self, *values: Python) -> Python:
        """What it gives for the values of one row.

        Raises:
            FeatureError: it fails, or gives something of another type.
        """
        where = f"row function {self.module}.{self.name}"
        try:
            found = self.function(*values)
        except FeatureError:
            raise
        except Exception as error:  # whatever it raises is its writer's to see
            raise FeatureError(f"failed: {type(error).__name__}: {error}", where=where) from error
        if self.returns is float and type(found) is int:
            found = float(found)
        if found is not None and type(found) is not self.returns:
            what = f"gave a {type(found).__name__}, not a {self.returns.__name__}"
            raise FeatureError(what, where=where, cure="Return what `returns` says, or None")
        return found

    @cached_property
    def polars(self) -> pl.Expr:
        """The same as an expression, which calls it once a row."""
        kind = POLARS_TYPES[self.returns]
        names = self.columns

        def each(rows: pl.Series) -> pl.Series:
            columns = [rows.struct.field(name).to_list() for name in names]
            return pl.Series([self(*values) for values in zip(*columns, strict=True)], dtype=kind)

        return pl.struct(self.roots).map_batches(each, return_dtype=kind, is_elementwise=True)

    def __str__(self) -> str:
        return self.text


def _unsteady(function: Callable[..., Python]) -> set[str]:
    """Built-in functions that it calls whose answer is of this process: hashes of texts are salted."""
    code = getattr(function, "__code__", None)
    names = set(code.co_names) if code else set()
    return {name for name in names & {"hash", "id"} if name not in function.__globals__}


def _fingerprint(function: Callable[..., Python]) -> str:
    return sha256("\n".join(_texts(function, set())).encode()).hexdigest()[:16]


def _texts(function: Callable[..., Python], seen: set[str]) -> Iterator[str]:
    """What makes the function what it is: its text, the constants that it names, and functions of its own package."""
    yield dedent(inspect.getsource(function))
    own = {name for code in _codes(function.__code__) for name in code.co_names} & function.__globals__.keys() - seen
    seen |= own
    for name in sorted(own):
        value = function.__globals__[name]
        if _is_plain(value):
            yield f"{name} = {value!r}"
        elif inspect.isfunction(value) and _package(value) == _package(function):
            yield from _texts(value, seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _is_plain(value: object) -> bool:
    """A constant, or several, that are written in the same way in every process."""
    if isinstance(value, dict):
        return all(_is_plain(one) for pair in value.items() for one in pair)
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | bytes)


def _package(function: Callable[..., Python]) -> str:
    return function.__module__.partition(".")[0]


def python(function: Callable[..., Python], *columns: str, returns: type) -> RowFunction:
    """Row logic by a plain Python function; slower than an expression, and the same code on both sides.

    Args:
        function: marked with `row_function`.
        columns: the fields or features that it is called with, in this order.
        returns: ``float``, ``int``, ``str``, ``bool`` or ``datetime``.
    """
    return RowFunction.made(function, columns, returns)
