"""What every online store must do, as tests for whoever writes one.

Subclass `StoreContract` in a test module, and give it a fixture ``store`` that opens an empty store:

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)
"""

# ruff: noqa: S101  # these are tests

import pickle
from collections.abc import Iterator
from contextlib import suppress

from raypipe.contracts.stores import MovedError, OnlineStore

NAME = "payments/0123456789abcdef"


def read(store: OnlineStore, name: str, *keys: bytes) -> tuple[bytes, list[bytes | None]] | None:
    """Head and values of the published generation, which both ways of reading agree on."""
    with store.read(name) as reading:
        found = None if reading is None else (reading.head, reading.get(keys))
    assert store.fetch(name, keys) == found
    return found


class StoreContract:
    """The tests. A store is asked for by the name of the fixture, ``store``."""

    def test_nothing_is_there_at_first(self, store: OnlineStore) -> None:
        """A name without a published generation reads as None."""
        assert read(store, NAME, b"a") is None

    def test_a_generation_is_unseen_until_it_is_published(self, store: OnlineStore) -> None:
        """Loading changes nothing for readers; publishing shows all of it."""
        first = store.load(NAME, [(b"a", b"1"), (b"b", b"2")])
        assert read(store, NAME, b"a") is None
        assert store.publish(NAME, first, b"head 1", expected=None)
        assert read(store, NAME, b"b", b"a", b"c", b"a") == (b"head 1", [b"2", b"1", None, b"1"])
        second = store.load(NAME, [(b"b", b"3")])
        assert second > first
        assert read(store, NAME, b"a", b"b") == (b"head 1", [b"1", b"2"])
        assert store.publish(NAME, second, b"head 2", expected=b"head 1")
        assert read(store, NAME, b"a", b"b") == (b"head 2", [None, b"3"])

    def test_a_reader_keeps_its_generation(self, store: OnlineStore) -> None:
        """What is published while somebody reads is seen by the next reader only."""
        store.publish(NAME, store.load(NAME, [(b"a", b"1")]), b"1", expected=None)
        with store.read(NAME) as reading:
            assert reading is not None
            store.publish(NAME, store.load(NAME, [(b"a", b"2")]), b"2", expected=b"1")
            assert (reading.head, reading.get([b"a"])) == (b"1", [b"1"])
        assert read(store, NAME, b"a") == (b"2", [b"2"])

    def test_a_reader_that_was_left_behind_is_told(self, store: OnlineStore) -> None:
        """Two generations later it gets its own values still, or is told to ask again: never nothing instead."""
        store.publish(NAME, store.load(NAME, [(b"a", b"1")]), b"1", expected=None)
        with store.read(NAME) as reading:
            assert reading is not None
            assert reading.get([b"a"]) == [b"1"]
            for before, head in ((b"1", b"2"), (b"2", b"3")):
                store.publish(NAME, store.load(NAME, [(b"a", head)]), head, expected=before)
            with suppress(MovedError):
                assert reading.get([b"a", b"b"]) == [b"1", None]
        with store.read(NAME) as reading:
            assert reading is not None
            assert reading.get([b"a"]) == [b"3"]
            store.forget(NAME)
            with suppress(MovedError):
                assert reading.get([b"a", b"b"]) == [b"3", None]
        assert read(store, NAME, b"a") is None

    def test_an_empty_generation_is_one(self, store: OnlineStore) -> None:
        """Nobody has a state yet, which is not the same as nothing published."""
        store.publish(NAME, store.load(NAME, []), b"1", expected=None)
        assert read(store, NAME, b"a") == (b"1", [None])
        assert store.update(NAME, [(b"a", b"1")], head=b"2", expected=b"1")
        assert store.update(NAME, [(b"a", None)], head=b"3", expected=b"2")
        assert read(store, NAME, b"a") == (b"3", [None])

    def test_an_older_generation_does_not_replace_a_newer(self, store: OnlineStore) -> None:
        """Two writers at once: the later one's generation stays."""
        early, late = store.load(NAME, [(b"a", b"early")]), store.load(NAME, [(b"a", b"late")])
        assert store.publish(NAME, late, b"late", expected=None)
        assert not store.publish(NAME, early, b"early", expected=None)
        assert not store.publish(NAME, early, b"early", expected=b"late")
        assert read(store, NAME, b"a") == (b"late", [b"late"])

    def test_only_the_expected_head_is_replaced(self, store: OnlineStore) -> None:
        """A writer that was overtaken, by a load or by an update, changes nothing."""
        first = store.load(NAME, [(b"a", b"1")])
        assert not store.publish(NAME, first, b"1", expected=b"")
        assert read(store, NAME, b"a") is None
        assert store.publish(NAME, first, b"1", expected=None)
        second = store.load(NAME, [(b"a", b"2")])
        assert not store.publish(NAME, second, b"2", expected=None)
        assert store.update(NAME, [(b"a", b"3")], head=b"3", expected=b"1")
        assert not store.publish(NAME, second, b"2", expected=b"1")
        assert read(store, NAME, b"a") == (b"3", [b"3"])
        assert store.publish(NAME, second, b"2", expected=b"3")
        assert read(store, NAME, b"a") == (b"2", [b"2"])

    def test_an_empty_head_is_a_head(self, store: OnlineStore) -> None:
        """Nothing published and something published with an empty head are told apart."""
        assert store.publish(NAME, store.load(NAME, [(b"a", b"1")]), b"", expected=None)
        again = store.load(NAME, [(b"a", b"2")])
        assert not store.publish(NAME, again, b"2", expected=None)
        assert store.publish(NAME, again, b"2", expected=b"")

    def test_publishing_twice_is_publishing_once(self, store: OnlineStore) -> None:
        """A writer that does not know whether it had come through may try again."""
        generation = store.load(NAME, [(b"a", b"1")])
        assert store.publish(NAME, generation, b"1", expected=None)
        assert store.publish(NAME, generation, b"1", expected=None)
        assert read(store, NAME, b"a") == (b"1", [b"1"])

    def test_a_load_that_was_broken_off_leaves_no_trace(self, store: OnlineStore) -> None:
        """Half a generation is never seen, and the next one holds its own values only."""

        def half() -> Iterator[tuple[bytes, bytes]]:
            yield b"a", b"half"
            raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            store.load(NAME, half())
        assert read(store, NAME, b"a") is None
        store.publish(NAME, store.load(NAME, [(b"b", b"1")]), b"1", expected=None)
        assert read(store, NAME, b"a", b"b") == (b"1", [None, b"1"])

    def test_values_and_head_are_updated_together(self, store: OnlineStore) -> None:
        """An update shows at once and as a whole, on the head it was made for only."""
        assert not store.update(NAME, [(b"a", b"0")], head=b"1", expected=b"")
        store.publish(NAME, store.load(NAME, [(b"a", b"1"), (b"b", b"1")]), b"1", expected=None)
        assert store.update(NAME, [(b"a", b"2"), (b"b", None), (b"c", b"2")], head=b"2", expected=b"1")
        assert read(store, NAME, b"a", b"b", b"c") == (b"2", [b"2", None, b"2"])
        assert not store.update(NAME, [(b"a", b"3")], head=b"3", expected=b"1")
        assert read(store, NAME, b"a") == (b"2", [b"2"])

    def test_an_update_of_many_values_is_one_step_too(self, store: OnlineStore) -> None:
        """Thousands of values, some of which go, on the head that was expected only."""
        keys = [b"%d" % i for i in range(5_000)]
        store.publish(NAME, store.load(NAME, [(key, b"old") for key in keys]), b"1", expected=None)
        changed = [(key, None if i % 3 == 0 else b"1" + key) for i, key in enumerate(keys)]
        assert not store.update(NAME, changed, head=b"2", expected=b"another")
        assert read(store, NAME, *keys) == (b"1", [b"old"] * len(keys))
        assert store.update(NAME, changed, head=b"2", expected=b"1")
        assert read(store, NAME, *keys) == (b"2", [value for _, value in changed])

    def test_names_do_not_mix(self, store: OnlineStore) -> None:
        """One name may be the beginning of another."""
        names = (NAME, NAME + "0", NAME[:-1])
        for name in names:
            store.publish(name, store.load(name, [(b"a", name.encode())]), name.encode(), expected=None)
        store.publish(NAME, store.load(NAME, []), b"new", expected=NAME.encode())
        store.publish(NAME, store.load(NAME, []), b"newer", expected=b"new")
        for name in names[1:]:
            assert read(store, name, b"a") == (name.encode(), [name.encode()])
        store.forget(names[2])
        assert read(store, names[2], b"a") is None
        assert read(store, names[1], b"a") == (names[1].encode(), [names[1].encode()])

    def test_keys_and_values_are_any_bytes(self, store: OnlineStore) -> None:
        """Keys of up to 256 bytes, values of a megabyte, zeros everywhere; and no key is asked for."""
        items = [(b"\0", b"\0"), (b"\0\0", b""), (bytes(range(256)), bytes(2**20)), (b"\xff" * 256, b"\xff")]
        store.publish(NAME, store.load(NAME, items), b"\0\xff", expected=None)
        assert read(store, NAME, *(key for key, _ in items)) == (b"\0\xff", [value for _, value in items])
        assert read(store, NAME) == (b"\0\xff", [])

    def test_a_store_crosses_processes(self, store: OnlineStore) -> None:
        """What is sent to another process is the way to the data, not the data."""
        store.publish(NAME, store.load(NAME, [(b"a", bytes(2**20))]), b"1", expected=None)
        sent = pickle.dumps(store)
        assert len(sent) < 1_000
        assert read(pickle.loads(sent), NAME, b"a") == (b"1", [bytes(2**20)])  # noqa: S301  # our own bytes
