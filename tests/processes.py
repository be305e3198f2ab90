"""Processes that begin with everything imported, for that takes longest."""

import multiprocessing
from multiprocessing.context import ForkServerContext

_IMPORTED: list[str] = []


def processes_with(*modules: str) -> ForkServerContext:
    """A context whose processes have imported some modules.

    Python has one server for all of them, and one list of what it imports when it starts: whoever set a list of its own
    would replace that of the others.
    """
    _IMPORTED.extend(modules)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context
