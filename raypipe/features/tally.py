"""What was written to a store: how much, and a digest of it."""

import hashlib
from collections.abc import Iterator


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
        for key, value in items:
            self.replaced(key, None, value)
            yield key, value

    def replaced(self, key: bytes, old: bytes | None, new: bytes | None) -> None:
        """One value takes the place of another; None: there is none."""
        self.entities += (new is not None) - (old is not None)
        self.bytes += self._size(key, new) - self._size(key, old)
        self.digest.update(b"%d %d " % (len(key), -1 if new is None else len(new)) + key + (new or b""))

    def _size(self, key: bytes, value: bytes | None) -> int:
        return 0 if value is None else len(key) + len(value)
