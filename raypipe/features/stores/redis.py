"""The online store of a cluster: Redis or Valkey, reached by every machine that serves.

Keys on the server, all in one hash slot: ``raypipe:{name}`` is a hash of what is published, ``raypipe:{name}:number``
one of a generation's values, with a mark that tells an empty generation from one that is gone. Whatever must happen in
one step is a script, which the server runs alone. A server that is started again, or is short of memory, may lose what
it was told: what was written in several steps counts only while all of it is there.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import TypeAlias, cast
from urllib.parse import urlsplit
from uuid import uuid4

import redis

from raypipe.contracts.stores import MovedError
from raypipe.errors import ServiceError
from raypipe.failpoints import failpoint
from raypipe.references import reveal

_BATCH = 2_000
#: Seconds until a server that does not answer is given up.
TIMEOUT = 5.0
#: In every generation: no key is empty.
_MARK = b""
#: Values that were staged by a process which died are dropped after so many seconds.
STAGED_SECONDS = 3600
Reply: TypeAlias = list[bytes | None]

# Head and values at one moment. A reader that has seen a head names its generation and version (of updates in it).
_READ = """
local now = redis.call('HMGET', KEYS[1], 'number', 'version', 'head')
local number, version = ARGV[1], ARGV[2]
if not now[1] then return number == '' and {} or {'moved'} end
if number == '' then number, version = now[1], now[2] end
if number == now[1] and version ~= now[2] then return {'moved'} end
if #ARGV > 2 and redis.call('EXISTS', KEYS[1] .. ':' .. number) == 0 then
  return {number == now[1] and 'gone' or 'moved'}
end
local found = {number, version, now[3]}
for first = 3, #ARGV, 4000 do
  local last = math.min(first + 3999, #ARGV)
  for _, value in ipairs(redis.call('HMGET', KEYS[1] .. ':' .. number, unpack(ARGV, first, last))) do
    found[#found + 1] = value
  end
end
return found
"""
_PUBLISH = """
local before = tonumber(redis.call('HGET', KEYS[1], 'number') or '0')
local number, head = tonumber(ARGV[1]), redis.call('HGET', KEYS[1], 'head')
if number == before and head == ARGV[2] then return 1 end
if number < before or (head or '') ~= ARGV[4] or (head and '1' or '0') ~= ARGV[3] then return 0 end
if number > before then
  local loaded = redis.call('HGET', KEYS[1], 'loaded:' .. number)
  if tostring(redis.call('HLEN', KEYS[1] .. ':' .. number)) ~= loaded then return 0 end
end
redis.call('HSET', KEYS[1], 'number', ARGV[1], 'version', '0', 'head', ARGV[2])
if number > before then
  for old = tonumber(redis.call('HGET', KEYS[1], 'oldest') or '1'), before - 1 do
    redis.call('UNLINK', KEYS[1] .. ':' .. old)
    redis.call('HDEL', KEYS[1], 'loaded:' .. old)
  end
  redis.call('HSET', KEYS[1], 'oldest', before)
end
return 1
"""
_UPDATE = """
if redis.call('HGET', KEYS[1], 'head') ~= ARGV[1] then return 0 end
local values = KEYS[1] .. ':' .. redis.call('HGET', KEYS[1], 'number')
if redis.call('EXISTS', values) == 0 then return 0 end
for i = 3, #ARGV, 3 do
  if ARGV[i] == '1' then redis.call('HSET', values, ARGV[i + 1], ARGV[i + 2])
  else redis.call('HDEL', values, ARGV[i + 1]) end
end
redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'head', ARGV[2])
return 1
"""
# The same from values that were staged, if all are there: each behind a `1`, or a `0` for one that goes.
_APPLY = """
if redis.call('HGET', KEYS[1], 'head') ~= ARGV[1] then redis.call('UNLINK', ARGV[3]) return 0 end
local values = KEYS[1] .. ':' .. redis.call('HGET', KEYS[1], 'number')
if redis.call('HLEN', ARGV[3]) ~= tonumber(ARGV[4]) or redis.call('EXISTS', values) == 0 then
  redis.call('UNLINK', ARGV[3])
  return 0
end
local staged = redis.call('HGETALL', ARGV[3])
for i = 1, #staged, 2 do
  if string.byte(staged[i + 1]) == 49 then redis.call('HSET', values, staged[i], string.sub(staged[i + 1], 2))
  else redis.call('HDEL', values, staged[i]) end
end
redis.call('UNLINK', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'head', ARGV[2])
return 1
"""
_FORGET = """
for old = 1, tonumber(redis.call('HGET', KEYS[1], 'last') or '0') do
  redis.call('UNLINK', KEYS[1] .. ':' .. old)
  redis.call('HDEL', KEYS[1], 'loaded:' .. old)
end
redis.call('HDEL', KEYS[1], 'number', 'version', 'head')
return 1
"""


class RedisReading:
    """One generation. What is asked first, head or values, settles which; nothing is fetched before."""

    def __init__(self, store: "RedisStore", name: str) -> None:
        self._store, self._name = store, name
        self._pinned: Reply = []

    @property
    def head(self) -> bytes:
        """What was published with the values."""
        return cast("bytes", self._seen()[2])

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of some keys, None for a key that is not there; one round trip.

        Raises:
            MovedError: values were updated since the head was read, or two generations published; read again.
        """
        number, version = self._pinned[:2] or (b"", b"")
        found = self._store.values(self._name, keys, number or b"", version or b"")
        self._pinned = self._pinned or found[:3]
        return found[3:]

    def exists(self) -> bool:
        """True when a generation is published."""
        return bool(self._seen())

    def _seen(self) -> Reply:
        if not self._pinned:
            self.get([])
        return self._pinned


class RedisStore:
    """Values on a Redis or Valkey server (version 6 or later).

    Args:
        url: such as ``redis://host:6379/0``; or, when it holds a password, where it stands: ``env:NAME``.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def __reduce__(self) -> tuple[type["RedisStore"], tuple[str]]:
        return RedisStore, (self._url,)

    @property
    def address(self) -> str:
        """Where the server is, without user and password."""
        parts = urlsplit(reveal(self._url))
        return f"{parts.hostname}:{parts.port or 6379}"

    @contextmanager
    def read(self, name: str) -> Iterator[RedisReading | None]:
        """Open the published generation of a name; None when there is none yet."""
        reading = RedisReading(self, name)
        yield reading if reading.exists() else None

    def fetch(self, name: str, keys: Sequence[bytes]) -> tuple[bytes, list[bytes | None]] | None:
        """Head and values of the published generation at one moment, in one round trip; None when there is none yet."""
        found = self.values(name, keys)
        return (cast("bytes", found[2]), found[3:]) if found else None

    def values(self, name: str, keys: Sequence[bytes], number: bytes = b"", version: bytes = b"") -> Reply:
        """Number, version and head of a generation, then the values of some keys; nothing when there is none yet.

        Args:
            name: of the state.
            keys: whose values.
            number: of the generation; the published one unless it is given.
            version: of the updates in it.

        Raises:
            MovedError: it is not as it was at this version any more.
            ServiceError: the server has lost it.
        """
        found, where = self.script(_READ, name, number, version, *keys), f"online store {self.address}"
        if found == [b"moved"]:
            raise MovedError("was updated while it was read", where=where, cure="Ask again")
        if found == [b"gone"]:
            cure = "Run `raypipe materialize` with `--anew`, and give it memory or persistence"
            raise ServiceError(f"has lost the values of `{name}`", where=where, cure=cure)
        return found

    def load(self, name: str, items: Iterable[tuple[bytes, bytes]]) -> int:
        """Write a new generation that nobody sees yet, and return its number."""
        with self._errors():
            number = self._client.hincrby(_key(name), "last", 1)
        values, items, loaded = f"{_key(name)}:{number}", iter(items), 0
        batch = [(_MARK, _MARK)]
        while batch:
            with self._errors():
                loaded += self._client.hset(values, mapping=dict(batch))
            failpoint("features.redis_between_batches")
            batch = list(islice(items, _BATCH))
        with self._errors():
            self._client.hset(_key(name), f"loaded:{number}", str(loaded))
        return number

    def publish(self, name: str, generation: int, head: bytes, *, expected: bytes | None) -> bool:
        """Let every read that begins from now on see this generation, if the head is the expected one."""
        there = b"0" if expected is None else b"1"
        return bool(self.script(_PUBLISH, name, b"%d" % generation, head, there, expected or b""))

    def update(self, name: str, items: Iterable[tuple[bytes, bytes | None]], *, head: bytes, expected: bytes) -> bool:
        """Replace values (None: remove) and head of the published generation, all in one step."""
        items = iter(items)
        batch, following = list(islice(items, _BATCH)), list(islice(items, _BATCH))
        if not following:
            flat = [part for key, value in batch for part in (b"0" if value is None else b"1", key, value or b"")]
            failpoint("features.redis_before_update")
            return bool(self.script(_UPDATE, name, expected, head, *flat))
        # More than a server should take in one command: beside it first, then to its place in one step.
        staged, many = f"{_key(name)}:staged:{uuid4().hex}", 0
        while batch:
            with self._errors(), self._client.pipeline(transaction=False) as pipe:
                pipe.hset(staged, mapping={key: b"0" if value is None else b"1" + value for key, value in batch})
                pipe.expire(staged, STAGED_SECONDS)
                many += int(pipe.execute()[0])
            failpoint("features.redis_between_writes")
            batch, following = following, list(islice(items, _BATCH))
        failpoint("features.redis_before_apply")
        return bool(self.script(_APPLY, name, expected, head, staged.encode(), b"%d" % many))

    def forget(self, name: str) -> None:
        """Remove all generations of a name."""
        self.script(_FORGET, name)

    def script(self, text: str, name: str, *arguments: bytes) -> Reply:
        """Run one of this module's scripts on the server, alone and as a whole."""
        with self._errors():
            return cast("Reply", self._client.register_script(text)(keys=[_key(name)], args=list(arguments)))

    @cached_property
    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(reveal(self._url), socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            where, cure = f"online store {self.address}", "Check that the server runs and has memory"
            raise ServiceError(f"does not do what it is asked: {error}", where=where, cure=cure) from None


def _key(name: str) -> str:
    return f"raypipe:{{{name}}}"
