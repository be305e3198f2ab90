"""Where features wait to be asked for: one small contract for every online store.

A store holds packed values by key, in generations under a name. A generation is written unseen, then published with its
head in one step; the head is the writer's own record of what the values are made of. Values and head change together or
not at all.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from raypipe.errors import ServiceError


class MovedError(ServiceError):
    """Values were updated between two looks of one reading, and the store cannot go back; read again."""


class Reading(Protocol):
    """One generation as it was when reading began, whatever is written meanwhile."""

    @property
    def head(self) -> bytes:
        """What was published with the values."""
        ...

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys, None for a key that is not there.

        Raises:
            MovedError: a store that keeps no old values was updated since this reading began.
        """
        ...


class OnlineStore(Protocol):
    """Packed values by key, shared by all processes that serve. Implementations pickle small and connect when used."""

    def read(self, name: str) -> AbstractContextManager[Reading | None]:
        """Open the published generation of a name; None when there is none yet."""
        ...

    def fetch(self, name: str, keys: Sequence[bytes]) -> tuple[bytes, list[bytes | None]] | None:
        """Head and values of the published generation at one moment, in one round trip; None when there is none yet."""
        ...

    def load(self, name: str, items: Iterable[tuple[bytes, bytes]]) -> int:
        """Write a new generation that nobody sees yet, and return its number. Keys have at most 256 bytes."""
        ...

    def publish(self, name: str, generation: int, head: bytes, *, expected: bytes | None) -> bool:
        """Let every read that begins from now on see this generation; drop those before the one it replaces.

        Args:
            name: of the values.
            generation: what `load` gave.
            head: what is to be published with it.
            expected: the head that it takes the place of, seen before the load began; None: nothing was published.

        Returns:
            False, and nothing is changed, when the published head is another one by now, or belongs to a later
            generation: whoever published it knew what this writer did not. The same generation and head again is True.
        """
        ...

    def update(self, name: str, items: Iterable[tuple[bytes, bytes | None]], *, head: bytes, expected: bytes) -> bool:
        """Replace values (None: remove) and head of the published generation, all in one step.

        Returns:
            False, and nothing is changed, when the head is no longer the expected one.
        """
        ...

    def forget(self, name: str) -> None:
        """Remove all generations of a name."""
        ...
