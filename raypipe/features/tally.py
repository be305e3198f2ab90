"""What was written to a store: how much, and a digest of it."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeAlias

#: A key, its value before, and its value from now on; None: there is none.
Change: TypeAlias = tuple[bytes, bytes | None, bytes | None]
#: So many values are counted at a time.
_TOGETHER = 1_000


class Tally:
    """Counts what goes by.

    Args:
        entities: how many there are before.
        size: how many bytes.
        digest: of what was written before, as hexadecimal digits; empty: nothing was.
    """

    def __init__(self, entities: int = 0, size: int = 0, digest: str = "") -> None:
        self.entities, self.bytes, self.digest = entities, size, hashlib.sha256(bytes.fromhex(digest))

    def watch(self, items: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """Items on their way into an empty generation."""
        while some := list(islice(items, _TOGETHER)):
            self.replaced([(key, None, value) for key, value in some])
            yield from some

    def replaced(self, changes: Sequence[Change]) -> None:
        """Some values take the place of others."""
        for key, old, new in changes:
            if old is not None:
                self.entities -= 1
                self.bytes -= len(key) + len(old)
            if new is None:
                self.digest.update(b"%d -1 %b" % (len(key), key))
            else:
                self.entities += 1
                self.bytes += len(key) + len(new)
                self.digest.update(b"%d %d %b" % (len(key), len(new), key))
                self.digest.update(new)
