"""Processes that begin with everything imported, for that takes longest."""

import os
from multiprocessing.context import ForkServerContext, ForkServerProcess

_IMPORTED: list[str] = []


class _Process(ForkServerProcess):
    """Has the environment of whoever makes it: the server's own is that of the first test which needed one."""

    def __init__(self, *args: object, **named: object) -> None:
        super().__init__(*args, **named)  # type: ignore[arg-type]  # as they are
        self._environment = dict(os.environ)

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self._environment)
        super().run()


class _Context(ForkServerContext):
    Process = _Process  # type: ignore[assignment]  # what a context makes


def processes_with(*modules: str) -> ForkServerContext:
    """A context whose processes have imported some modules.

    Python has one server for all of them, and one list of what it imports when it starts: whoever set a list of its own
    would replace that of the others.
    """
    _IMPORTED.extend(modules)
    context = _Context()
    context.set_forkserver_preload(_IMPORTED)
    return context
