"""The online store of one machine: LMDB, one writer at a time, any number of readers that never wait."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from struct import Struct

import lmdb

from raypipe.errors import WorkspaceError
from raypipe.failpoints import failpoint

#: Address space, not disk: the file grows as needed.
MAP_BYTES = 64 * 2**30
_NUMBER = Struct(">Q")
_BATCH = 20_000
# LMDB wants one environment a process and folder, and none that came through a fork.
_open: dict[str, lmdb.Environment] = {}


class LmdbReading:
    """One generation within one read transaction."""

    def __init__(self, txn: lmdb.Transaction, prefix: bytes, head: bytes) -> None:
        self._txn, self._prefix, self.head = txn, prefix, head

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys, None for a key that is not there."""
        get, prefix = self._txn.get, self._prefix
        return [get(prefix + key) for key in keys]  # type: ignore[misc]  # bytes, as buffers=False is the default


class LmdbStore:
    """Values in a folder of this machine; all processes on it that open the folder share them.

    Keys in the file: ``h name`` holds the published generation's number and head, ``n name`` the last number given out,
    ``v name number key`` a value.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[type["LmdbStore"], tuple[Path]]:
        return LmdbStore, (self._folder,)

    @contextmanager
    def read(self, name: str) -> Iterator[LmdbReading | None]:
        """Open the published generation of a name; None when there is none yet."""
        with self._environment().begin() as txn:
            published = txn.get(_head(name))
            yield None if published is None else LmdbReading(txn, _values(name, published[:8]), published[8:])

    def fetch(self, name: str, keys: Sequence[bytes]) -> tuple[bytes, list[bytes | None]] | None:
        """Head and values of the published generation at one moment; None when there is none yet."""
        with self.read(name) as reading:
            return None if reading is None else (reading.head, reading.get(keys))

    def load(self, name: str, items: Iterable[tuple[bytes, bytes]]) -> int:
        """Write a new generation that nobody sees yet, and return its number."""
        items = iter(items)
        with self._write() as txn:
            number = _NUMBER.unpack(txn.get(_counter(name), _NUMBER.pack(0)))[0] + 1
            txn.put(_counter(name), _NUMBER.pack(number))
        prefix = _values(name, _NUMBER.pack(number))
        while batch := list(islice(items, _BATCH)):
            with self._write() as txn:
                for key, value in batch:
                    txn.put(prefix + key, value)
            failpoint("features.lmdb_between_batches")
        return int(number)

    def publish(self, name: str, generation: int, head: bytes, *, expected: bytes | None) -> bool:
        """Let every read that begins from now on see this generation, if the head is the expected one."""
        with self._write() as txn:
            found, mine = txn.get(_head(name)), _NUMBER.pack(generation) + head
            if found is not None and bytes(found) == mine:
                return True
            before = 0 if found is None else _NUMBER.unpack(found[:8])[0]
            if (None if found is None else bytes(found[8:])) != expected or generation < before:
                return False
            txn.put(_head(name), mine)
            _remove(txn, _values(name, b""), _values(name, _NUMBER.pack(before)))
        return True

    def update(self, name: str, items: Iterable[tuple[bytes, bytes | None]], *, head: bytes, expected: bytes) -> bool:
        """Replace values (None: remove) and head of the published generation, all in one step."""
        with self._write() as txn:
            published = bytes(txn.get(_head(name), b""))
            if not published or published[8:] != expected:
                return False
            prefix = _values(name, published[:8])
            put, delete = txn.put, txn.delete
            for key, value in items:
                if value is None:
                    delete(prefix + key)
                else:
                    put(prefix + key, value)
                failpoint("features.lmdb_between_writes")
            failpoint("features.lmdb_before_head")
            txn.put(_head(name), published[:8] + head)
            failpoint("features.lmdb_before_commit")
        failpoint("features.lmdb_after_commit")
        return True

    def forget(self, name: str) -> None:
        """Remove all generations of a name."""
        with self._write() as txn:
            txn.delete(_head(name))
            _remove(txn, _values(name, b""), _values(name, b"\xff" * 9))

    @contextmanager
    def _write(self) -> Iterator[lmdb.Transaction]:
        """A transaction that all of its changes survive, or none."""
        try:
            with self._environment().begin(write=True) as txn:
                yield txn
        except lmdb.Error as error:
            cure = "Nothing was lost; check that its disk has space"
            raise WorkspaceError(f"cannot be written to: {error}", where=self._where, cure=cure) from None

    @property
    def _where(self) -> str:
        return f"online store {self._folder}"

    def _environment(self) -> lmdb.Environment:
        key = str(self._folder.absolute())
        if (environment := _open.get(key)) is None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                environment = lmdb.open(str(self._folder), map_size=MAP_BYTES, max_readers=1024, readahead=False)
            except (OSError, lmdb.Error) as error:
                raise WorkspaceError(f"cannot be opened: {error}", where=self._where) from None
            _open[key] = environment
        return environment


def _close_all() -> None:
    while _open:
        _open.popitem()[1].close()


os.register_at_fork(after_in_child=_close_all)


def _head(name: str) -> bytes:
    return b"h\0" + name.encode()


def _counter(name: str) -> bytes:
    return b"n\0" + name.encode()


def _values(name: str, generation: bytes) -> bytes:
    return b"v\0" + name.encode() + b"\0" + generation


def _remove(txn: lmdb.Transaction, first: bytes, end: bytes) -> None:
    with txn.cursor() as cursor:
        there = cursor.set_range(first)
        while there and bytes(cursor.key()) < end:
            there = cursor.delete()
