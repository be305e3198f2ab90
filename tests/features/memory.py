"""An online store in a dictionary, for tests that ask about features and not about storage."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class MemoryReading:
    def __init__(self, values: dict[bytes, bytes], head: bytes) -> None:
        self._values, self.head = values, head

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._values.get(key) for key in keys]


class MemoryStore:
    def __init__(self) -> None:
        self.generations: dict[tuple[str, int], dict[bytes, bytes]] = {}
        self.heads: dict[str, tuple[int, bytes]] = {}

    @contextmanager
    def read(self, name: str) -> Iterator[MemoryReading | None]:
        number, head = self.heads.get(name, (0, b""))
        yield MemoryReading(self.generations[name, number], head) if number else None

    def fetch(self, name: str, keys: Sequence[bytes]) -> tuple[bytes, list[bytes | None]] | None:
        with self.read(name) as reading:
            return None if reading is None else (reading.head, reading.get(keys))

    def load(self, name: str, items: Iterable[tuple[bytes, bytes]]) -> int:
        number = len(self.generations) + 1
        self.generations[name, number] = dict(items)
        return number

    def publish(self, name: str, generation: int, head: bytes, *, expected: bytes | None) -> bool:
        number, there = self.heads.get(name, (0, None))
        if (number, there) == (generation, head):
            return True
        if there != expected or generation < number:
            return False
        self.heads[name] = (generation, head)
        return True

    def update(self, name: str, items: Iterable[tuple[bytes, bytes | None]], *, head: bytes, expected: bytes) -> bool:
        number, now = self.heads.get(name, (0, b""))
        if not number or now != expected:
            return False
        values = dict(self.generations[name, number])
        for key, value in items:
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
        self.generations[name, number] = values
        self.heads[name] = (number, head)
        return True

    def forget(self, name: str) -> None:
        self.heads.pop(name, None)
