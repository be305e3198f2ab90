"""Builds that are broken on purpose, each in one way that the checker must catch: the checker is tested, not raypipe.

``CHAOS_BREAK=NAME`` in the environment of a process that imports this breaks it there.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


def _appends_twice() -> None:
    """A writer that takes a commit whose answer was lost for one that did not happen, and makes it again."""
    from raypipe.lake import commit

    _with_paths(commit, lambda paths: [*paths, *paths])


def _says_done_too_early() -> None:
    """A writer that counts files as taken in whose rows are not."""
    from raypipe.lake import commit

    _with_paths(commit, lambda paths: list(paths)[1:])


def _with_paths(commit: ModuleType, change: Callable[[Sequence[str]], list[str]]) -> None:
    original = commit.commit_files

    def changed(table: object, transaction: object, says: object, gone: object, paths: Sequence[str]) -> None:
        original(table, transaction, says, gone, change(paths))

    commit.commit_files = changed


def _answers_before_it_logs() -> None:
    """A replica that sends what it did not write down: every third micro-batch is lost."""
    from raypipe.serving.log import PredictionLog

    original, count = PredictionLog.append, itertools.count()

    def forgetful(self: PredictionLog, *args: Any, **kwargs: Any) -> None:
        if next(count) % 3 == 2:
            return
        original(self, *args, **kwargs)

    PredictionLog.append = forgetful


def _logs_again() -> None:
    """A replica that writes a micro-batch anew under other ids when it is slow, as a blind retry would."""
    from raypipe.serving.log import PredictionLog

    original = PredictionLog.append

    def again(self: PredictionLog, layout: Any, state: Any, rows: Sequence[Any], **kwargs: Any) -> None:
        original(self, layout, state, [*rows, *rows], **kwargs)

    PredictionLog.append = again


BREAKS: dict[str, Callable[[], None]] = {
    "twice": _appends_twice,
    "early": _says_done_too_early,
    "unlogged": _answers_before_it_logs,
    "relogged": _logs_again,
}


def apply() -> None:
    """Break what the environment names."""
    if name := os.environ.get("CHAOS_BREAK"):
        BREAKS[name]()
