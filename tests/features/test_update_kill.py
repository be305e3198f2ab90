"""An update killed between any two of its writes, then run again: the state of a run that nothing happened to."""

import os
import signal
from pathlib import Path

import pytest
import redis

from raypipe.contracts.stores import OnlineStore
from raypipe.failpoints import FailpointError
from raypipe.features import OnlineFeatures
from raypipe.features.materialize import name
from raypipe.features.stores import redis as redis_store
from raypipe.features.stores.lmdb import LmdbStore
from raypipe.features.stores.redis import RedisStore
from tests.features.memory import MemoryStore
from tests.features.test_online import AS_OF, NOON, requests, some_events
from tests.features.test_update import History
from tests.processes import processes_with

PROCESSES = processes_with("tests.features.test_update_kill")
LATER = AS_OF + 60_000_000
WRITES = 6
AT_A_TIME = 2
LMDB = [
    "features.before_update=kill",
    *(f"features.lmdb_between_writes=kill@{n}" for n in range(1, WRITES + 1)),
    "features.lmdb_before_head=kill",
    "features.lmdb_before_commit=kill",
    "features.lmdb_after_commit=kill",
    "features.after_update=kill",
]
REDIS = [
    "features.before_update=kill",
    *(f"features.redis_between_writes=kill@{n}" for n in range(1, WRITES // AT_A_TIME + 1)),
    "features.redis_before_apply=kill",
    "features.after_update=kill",
]


def history() -> History:
    made, rows = History(), some_events(120)
    few = rows.filter(rows["user"].is_in(["u1", "u2"]) & (rows["shop"] < 2))
    made.add(few[3:])
    made.add(made.versions[0][0], few[:3], few[-5:].with_columns(id="late" + few[-5:]["id"]))
    return made


def store_of(place: str) -> OnlineStore:
    return RedisStore(place) if place.startswith("redis:") else LmdbStore(Path(place))


def update_and_die(place: str, failpoint: str) -> None:
    os.environ["RAYPIPE_FAILPOINT"] = failpoint
    redis_store._BATCH = AT_A_TIME
    history().materialize(store_of(place), 2, LATER)


def killed(place: str, failpoint: str) -> None:
    process = PROCESSES.Process(target=update_and_die, args=(place, failpoint))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def all_of(store: OnlineStore, keys: list[bytes]) -> object:
    return store.fetch(name(history().pipeline), keys)


@pytest.fixture(scope="module")
def clean() -> tuple[list[bytes], object, object]:
    """All keys of a clean run, its state before the update, and after it."""
    store, made = MemoryStore(), history()
    made.materialize(store, 1, AS_OF)
    keys = sorted(store.generations[name(made.pipeline), 1])
    before = all_of(store, keys)
    made.materialize(store, 2, LATER)
    after = sorted(store.generations[name(made.pipeline), 1])
    assert after == keys
    return keys, before, all_of(store, keys)


def check(place: str, failpoint: str, clean: tuple[list[bytes], object, object]) -> None:
    store, made, (keys, before, after) = store_of(place), history(), clean
    made.materialize(store, 1, AS_OF)
    assert all_of(store, keys) == before
    killed(place, failpoint)
    left = all_of(store, keys)
    assert left in (before, after), "all of it, or nothing"
    assert (left == after) == ("after" in failpoint)
    record = made.materialize(store, 2, LATER)
    assert all_of(store, keys) == after
    assert made.materialize(store, 2, LATER) == record


@pytest.mark.parametrize("window", LMDB)
def test_lmdb(tmp_path: Path, window: str, clean: tuple[list[bytes], object, object]) -> None:
    check(str(tmp_path), window, clean)


@pytest.mark.parametrize("window", REDIS)
def test_redis(server: str, window: str, clean: tuple[list[bytes], object, object]) -> None:
    with redis.Redis.from_url(server) as client:
        client.flushall()
        check(server, window, clean)
        staged = [key for key in client.scan_iter() if b"staged" in key]
        assert all(client.ttl(key) > 0 for key in staged), "what was left goes by itself"


def test_every_write_is_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are as many writes as the windows above say, and no more."""
    made, store = history(), LmdbStore(tmp_path)
    made.materialize(store, 1, AS_OF)
    before = OnlineFeatures(made.pipeline, store).compute(requests(NOON))
    monkeypatch.setenv("RAYPIPE_FAILPOINT", f"features.lmdb_between_writes=raise@{WRITES}")
    monkeypatch.setattr("raypipe.failpoints._visits", {})
    with pytest.raises(FailpointError):
        made.materialize(store, 2, LATER)
    assert OnlineFeatures(made.pipeline, store).compute(requests(NOON)).equals(before)
    monkeypatch.setenv("RAYPIPE_FAILPOINT", f"features.lmdb_between_writes=raise@{WRITES + 1}")
    monkeypatch.setattr("raypipe.failpoints._visits", {})
    assert made.materialize(store, 2, LATER).watermark == LATER
