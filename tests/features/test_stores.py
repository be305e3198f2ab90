"""Every online store keeps the contract; LMDB's readers in other processes see whole generations only."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from raypipe.contracts.stores import MovedError, OnlineStore
from raypipe.errors import ServiceError, WorkspaceError
from raypipe.features.stores import contract
from raypipe.features.stores import redis as redis_store
from raypipe.features.stores.lmdb import LmdbStore
from raypipe.features.stores.redis import RedisStore
from tests.features.memory import MemoryStore


def publish(store: OnlineStore, items: list[tuple[bytes, bytes]], head: bytes) -> None:
    """A generation in the place of whatever is there."""
    with store.read("n") as reading:
        before = None if reading is None else reading.head
    assert store.publish("n", store.load("n", items), head, expected=before)


@contextmanager
def forgetful(server: str, pattern: bytes, at: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that loses some keys, once, at a moment of its client's work."""
    lost = list[bytes]()

    def forget(name: str) -> None:
        if name == at and not lost:
            with redis.Redis.from_url(server) as client:
                lost.extend(client.keys(pattern))
                client.delete(*lost)

    with monkeypatch.context() as patch:
        patch.setattr(redis_store, "failpoint", forget)
        yield
    assert lost


class TestLmdb(contract.StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LmdbStore:
        return LmdbStore(tmp_path / "online")


class TestRedis(contract.StoreContract):
    @pytest.fixture
    def store(self, server: str) -> RedisStore:
        with redis.Redis.from_url(server) as client:
            client.flushall()
        return RedisStore(server)

    def test_only_the_generation_before_is_kept(self, store: RedisStore, server: str) -> None:
        for version in range(5):
            publish(store, [(b"a", b"%d" % version)], b"%d" % version)
        with redis.Redis.from_url(server) as client:
            assert sorted(client.keys()) == [b"raypipe:{n}", b"raypipe:{n}:4", b"raypipe:{n}:5"]

    def test_an_update_between_head_and_values_is_told(self, store: RedisStore) -> None:
        publish(store, [(b"a", b"1")], b"1")
        with store.read("n") as reading:
            assert reading.head == b"1"
            store.update("n", [(b"a", b"2")], head=b"2", expected=b"1")
            with pytest.raises(MovedError, match="was updated while it was read"):
                reading.get([b"a"])

    @pytest.mark.parametrize("at", ["features.redis_between_writes", "features.redis_before_apply"])
    def test_an_update_whose_staged_values_were_lost_changes_nothing(
        self, store: RedisStore, server: str, at: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server was started again meanwhile, or had no memory: what is there is not all of it."""
        keys = [b"%d" % i for i in range(5_000)]
        publish(store, [(key, b"old") for key in keys], b"1")
        with forgetful(server, b"*staged*", at, monkeypatch):
            assert not store.update("n", [(key, b"new") for key in keys], head=b"2", expected=b"1")
        assert contract.read(store, "n", *keys) == (b"1", [b"old"] * len(keys))
        assert store.update("n", [(key, b"new") for key in keys], head=b"2", expected=b"1")
        assert contract.read(store, "n", *keys) == (b"2", [b"new"] * len(keys))
        with redis.Redis.from_url(server) as client:
            assert not client.keys("*staged*")

    def test_a_load_of_which_a_part_was_lost_is_not_published(
        self, store: RedisStore, server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(store, [(b"a", b"old")], b"1")
        with forgetful(server, b"*:2", "features.redis_between_batches", monkeypatch):
            second = store.load("n", [(b"%d" % i, b"new") for i in range(5_000)])
        assert not store.publish("n", second, b"2", expected=b"1")
        assert contract.read(store, "n", b"a") == (b"1", [b"old"])
        publish(store, [(b"a", b"new")], b"2")
        assert contract.read(store, "n", b"a") == (b"2", [b"new"])

    def test_values_that_the_server_lost_are_not_taken_for_none(self, store: RedisStore, server: str) -> None:
        publish(store, [(b"a", b"1")], b"1")
        with redis.Redis.from_url(server) as client:
            client.delete("raypipe:{n}:1")
        with pytest.raises(ServiceError, match="has lost the values of `n`"):
            store.fetch("n", [b"a"])
        assert not store.update("n", [(b"b", b"1")], head=b"2", expected=b"1")
        publish(store, [(b"a", b"2")], b"2")
        assert contract.read(store, "n", b"a") == (b"2", [b"2"])

    def test_a_server_that_is_not_there_is_named(self, free_port: Callable[[], int]) -> None:
        port = free_port()
        away = RedisStore(f"redis://user:secret@127.0.0.1:{port}")
        with pytest.raises(ServiceError, match=f"online store 127.0.0.1:{port}") as told:
            contract.read(away, "n")
        assert "secret" not in str(told.value)


class TestValkey(TestRedis):
    @pytest.fixture
    def server(self, valkey: str) -> str:
        with redis.Redis.from_url(valkey) as client:
            assert client.info("server")["server_name"] == "valkey"
        return valkey


class TestMemory(contract.StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    test_a_store_crosses_processes = None
    test_a_load_that_was_broken_off_leaves_no_trace = None


READER = """
import sys
from pathlib import Path
from raypipe.features.stores.lmdb import LmdbStore
store = LmdbStore(Path(sys.argv[1]))
keys = [b"%d" % i for i in range(100)]
seen = set()
while True:
    with store.read("n") as reading:
        found = {reading.head, *reading.get(keys)}
    assert len(found) == 1, found
    seen |= found
    if b"last" in found:
        break
print(len(seen))
"""


def test_another_process_sees_whole_generations_only(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)

    def write(version: bytes) -> None:
        publish(store, [(b"%d" % i, version) for i in range(100)], version)

    write(b"first")
    reader = subprocess.Popen([sys.executable, "-c", READER, tmp_path], stdout=subprocess.PIPE, text=True)
    for version in range(200):
        write(b"%d" % version)
        head = b"%d+" % version
        store.update("n", ((b"%d" % i, head) for i in range(100)), head=head, expected=b"%d" % version)
    write(b"last")
    out, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert int(out) >= 1


def test_only_the_generation_before_is_kept(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    for version in range(20):
        publish(store, [(b"%d" % i, bytes(1_000)) for i in range(1_000)], b"%d" % version)
    size = (tmp_path / "data.mdb").stat().st_size
    assert size < 6_000_000, "twenty generations of a megabyte each would take 20 MB"


def test_a_forked_process_opens_the_store_anew(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    publish(store, [(b"a", b"1")], b"1")
    child = os.fork()
    if child == 0:
        found = contract.read(store, "n", b"a")
        os._exit(0 if found == (b"1", [b"1"]) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(WorkspaceError, match=r"online store .*file.* cannot be opened"):
        contract.read(LmdbStore(tmp_path / "file"), "n")
