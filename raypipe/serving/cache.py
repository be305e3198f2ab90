"""Answers that were given before to the very same question, by the same model over the same features."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Cache(Generic[V]):
    """So many values by key; the one that was asked for longest ago goes first.

    Args:
        most: how many it holds; 0: none.

    >>> cache: Cache[str] = Cache(2)
    >>> for key in "aba":
    ...     cache.put(key, key.upper())
    >>> cache.put("c", "C")
    >>> cache.get("b"), cache.get("a"), cache.get("c")
    (None, 'A', 'C')
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        """The value of a key, or None."""
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: Hashable, value: V) -> None:
        """Keep a value."""
        self._held[key] = value
        self._held.move_to_end(key)
        while len(self._held) > self.most:
            self._held.popitem(last=False)
