"""Builds that are broken on purpose, each in one way that the checker must catch: the checker is tested, not raypipe.

A break changes one module of raypipe from outside, right after that was imported; raypipe itself knows nothing of it.
`apply` breaks the process that calls it. On a cluster of chaos every process calls `watch`, and the build that a file
names there is the one that is imported.
"""

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import monotonic, sleep
from types import ModuleType
from typing import Any

Break = Callable[[Any], None]

#: Names the build that the processes of a cluster import: a file that holds one of `BUILDS`, or nothing.
FILE = "CHAOS_BUILD"
#: How much later a replica of build ``late`` writes down what it has answered.
LATE_SECONDS = 2.0
#: How long a writer of build ``apart`` stays between its two commits, so that it can be killed there.
WINDOW_SECONDS = 20.0


def _appends_twice(commit: Any) -> None:
    """A writer that takes a commit whose answer was lost for one that did not happen, and makes it again."""
    _with_paths(commit, lambda paths: [*paths, *paths])


def _says_done_too_early(commit: Any) -> None:
    """A writer that counts files as taken in whose rows are not."""
    _with_paths(commit, lambda paths: list(paths)[1:])


def _with_paths(commit: Any, change: Callable[[Sequence[str]], list[str]]) -> None:
    original = commit.commit_files

    def changed(table: object, transaction: object, says: object, gone: object, paths: Sequence[str]) -> None:
        original(table, transaction, says, gone, change(paths))

    commit.commit_files = changed


def _counts_apart(ingest: Any) -> None:
    """A writer that commits which files it has taken in, and half of their rows in another commit after it."""
    original = ingest.land

    def land(table: Any, transaction: Any, change: Any) -> None:
        from raypipe.lake.commit import commit_files

        original(table, transaction, replace(change, paths=change.paths[::2]))
        window()
        later = table.refresh().transaction()
        commit_files(table, later, change.summary, (), change.paths[1::2])
        later.commit_transaction()

    ingest.land = land


def window() -> None:
    """Be where a kill does harm: say so, and stay for a while."""
    if file := os.environ.get(FILE):
        reached(Path(file)).touch()
        sleep(WINDOW_SECONDS)


def reached(file: Path) -> Path:
    """The file that is there when a broken build has come to where a kill does harm."""
    return file.with_suffix(".window")


def _answers_before_it_logs(log: Any) -> None:
    """A replica that sends what it did not write down: every third micro-batch is lost."""
    original, count = log.PredictionLog.append, itertools.count()

    def forgetful(self: Any, *args: Any, **kwargs: Any) -> None:
        if next(count) % 3 == 2:
            return
        original(self, *args, **kwargs)

    log.PredictionLog.append = forgetful


def _logs_later(log: Any) -> None:
    """A replica that answers first, and writes down what it answered a moment later."""
    original = log.PredictionLog.append
    waiting: SimpleQueue[tuple[float, tuple[Any, ...], dict[str, Any]]] = SimpleQueue()

    def write() -> None:
        while True:
            due, args, kwargs = waiting.get()
            sleep(max(0.0, due - monotonic()))
            original(*args, **kwargs)

    def later(*args: Any, **kwargs: Any) -> None:
        waiting.put((monotonic() + LATE_SECONDS, args, kwargs))

    Thread(target=write, daemon=True).start()
    log.PredictionLog.append = later


def _logs_again(log: Any) -> None:
    """A replica that writes a micro-batch anew under other ids when it is slow, as a blind retry would."""
    original = log.PredictionLog.append

    def again(self: Any, layout: Any, state: Any, rows: Sequence[Any], **kwargs: Any) -> None:
        original(self, layout, state, [*rows, *rows], **kwargs)

    log.PredictionLog.append = again


def _forgets_how_far(log: Any) -> None:
    """A collector that remembers in its own memory, not beside the rows, how far it has read: the next one rereads."""
    table, known = log.LogTable, dict[str, Any]()
    positions, append = table.positions, table.append

    def added(self: Any, rows: Any, now: Any, before: Any) -> bool:
        stands = positions(self)
        if done := append(self, rows, stands, stands):
            known[self._name] = dict(now)
        return bool(done)

    table.append = added
    table.positions = lambda self: known.get(self._name) or positions(self)


def _collects_often(collect: Any) -> None:
    """Every second: a scenario is short."""
    collect.COLLECT_SECONDS = 1.0


#: By name, the modules that a build breaks, and how.
BUILDS: dict[str, dict[str, Break]] = {
    "twice": {"raypipe.lake.commit": _appends_twice},
    "early": {"raypipe.lake.commit": _says_done_too_early},
    "apart": {"raypipe.lake.ingest": _counts_apart},
    "unlogged": {"raypipe.serving.log": _answers_before_it_logs},
    "late": {"raypipe.serving.log": _logs_later},
    "relogged": {"raypipe.serving.log": _logs_again},
    "forgetful": {"raypipe.lake.log": _forgets_how_far, "raypipe.flows.collect": _collects_often},
}


def apply(build: str) -> None:
    """Make this process one of a broken build; ``""``: leave it as it is."""
    for module, change in BUILDS.get(build, {}).items():
        change(import_module(module))


def watch() -> None:
    """Break each module that this process imports from now on, if the file that the environment names says so."""
    sys.meta_path.insert(0, _Watch())


class _Watch(MetaPathFinder):
    """Finds what others would find; a module that is to be broken, with a loader that does it."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        change = BUILDS.get(_named(), {}).get(name) if name.startswith("raypipe.") else None
        spec = PathFinder.find_spec(name, path) if change is not None else None
        if spec is not None and spec.loader is not None and change is not None:
            spec.loader = _Breaking(spec.loader, change)
        return spec


class _Breaking(Loader):
    def __init__(self, loader: Loader, change: Break) -> None:
        self._loader, self._change = loader, change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)


def _named() -> str:
    try:
        return Path(os.environ[FILE]).read_text().strip()
    except (KeyError, OSError):
        return ""
