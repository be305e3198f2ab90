"""How a Redis server of online features is: there, new enough, forgetting nothing, closed to others."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import redis

from raypipe.clock import Clock
from raypipe.contracts.findings import Finding, clock
from raypipe.errors import SettingsError
from raypipe.features.stores.redis import TIMEOUT, RedisStore
from raypipe.references import reveal

LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: Scripts with `UNLINK` and many-valued `HSET`.
OLDEST = 6


def examine(url: str, ours: Clock) -> Iterator[Finding]:
    """Look at the server; nothing is changed. ``url`` may be a reference."""
    part = "online store"
    try:
        plain = reveal(url)
        client = redis.Redis.from_url(plain, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    except (SettingsError, ValueError) as error:
        # What the reference holds may be a secret, so only our own words are shown.
        detail, cure = "is not named by a Redis URL", "Write it as redis://host:6379/0, or refer to it: env:NAME"
        if isinstance(error, SettingsError):
            detail, cure = f"{error.where} {error.what}", error.cure
        yield Finding(part=part, check="reached", state="fault", detail=detail, cure=cure)
        return
    try:
        with client:
            yield from _look(client, plain, RedisStore(url).address, ours)
    except redis.RedisError as error:
        cure = "Check host, port and network; the user and its password"
        yield Finding(part=part, check="reached", state="fault", detail=" ".join(str(error).split()), cure=cure)


def _look(client: redis.Redis, url: str, address: str, ours: Clock) -> Iterator[Finding]:
    part = "online store"
    found = client.info()
    version = str(found.get("redis_version", "0"))
    if int(version.partition(".")[0]) < OLDEST:
        detail = f"is Redis {version}"
        yield Finding(part=part, check="version", state="fault", detail=detail, cure="Use Redis 6, Valkey 7, or later")
    else:
        yield Finding(part=part, check="reached", state="ok", detail=f"Redis {version} at {address}")
    before = ours.now() / 1e6
    seconds, micros = client.time()
    yield clock(part, seconds + micros / 1e6, before, ours.now() / 1e6)
    policy = str(found.get("maxmemory_policy", "noeviction"))
    if found.get("maxmemory") and policy != "noeviction":
        detail, cure = f"drops keys when memory is short ({policy})", "Set maxmemory-policy noeviction"
        yield Finding(part=part, check="memory", state="fault", detail=detail, cure=cure)
    else:
        used = found.get("used_memory_human", "?")
        yield Finding(part=part, check="memory", state="ok", detail=f"{used} used, nothing is dropped")
    parts = urlsplit(url)
    if parts.hostname not in LOOPBACK and not parts.password:
        cure = "Set a user and password (ACL), and rediss:// where the network is not yours alone"
        yield Finding(part=part, check="key", state="fault", detail="lets anybody in", cure=cure)
