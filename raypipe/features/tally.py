"""What was written to a store: how much, and a digest of it."""

import hashlib
from collections.abc import Iterator

#: So many pieces are digested in one go.
_TOGETHER = 3_000


class Tally:
    """Counts what goes by.

    Args:
        entities: how many there are before.
        size: how many bytes.
        digest: of what was written before, as hexadecimal digits; empty: nothing was.
    """

    def __init__(self, entities: int = 0, size: int = 0, digest: str = "") -> None:
        self.entities, self.bytes = entities, size
        self._digest = hashlib.sha256(bytes.fromhex(digest))
        self._seen: list[bytes] = []

    @property
    def digest(self) -> str:
        """Of all that went by, as hexadecimal digits."""
        self._digest.update(b"".join(self._seen))
        self._seen.clear()
        return self._digest.hexdigest()

    def watch(self, items: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """Items on their way into an empty generation."""
        for key, value in items:
            self.replaced(key, None, value)
            yield key, value

    def replaced(self, key: bytes, old: bytes | None, new: bytes | None) -> None:
        """One value takes the place of another; None: there is none."""
        self.entities += (new is not None) - (old is not None)
        self.bytes += self._size(key, new) - self._size(key, old)
        self._seen += (b"%d %d " % (len(key), -1 if new is None else len(new)), key, new or b"")
        if len(self._seen) > _TOGETHER:
            self._digest.update(b"".join(self._seen))
            self._seen.clear()

    def _size(self, key: bytes, value: bytes | None) -> int:
        return 0 if value is None else len(key) + len(value)
