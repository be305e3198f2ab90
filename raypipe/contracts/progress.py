"""How long work tells its progress without knowing who is watching."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """Somebody who watches long work: a terminal, a job log, or nobody."""

    def step(self, name: str, total: float | None = None) -> AbstractContextManager["Step"]:
        """Open one named piece of work; ``total`` in any unit, None when unknown."""
        ...


class Step(Protocol):
    """One piece of work under way."""

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Say that ``amount`` more is done; ``note`` is a few words on what is being done now."""
        ...


class Silent:
    """Nobody is watching."""

    def step(self, name: str, total: float | None = None) -> AbstractContextManager[Step]:
        """Open a step that nobody sees."""
        return nullcontext(self)

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Do nothing."""
