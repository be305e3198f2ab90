"""Who may ask: keys with scopes and rates, kept as hashes; checked the same way over HTTP and gRPC.

A key is ``rp_{id}_{secret}``. The secret has 256 random bits, so its SHA-256 is as good as a slow hash of a password,
and costs a microsecond. It is sent as ``Authorization: Bearer rp_…``, or as user (id) and password (secret).
"""

import base64
import hashlib
import hmac
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import msgspec
from filelock import FileLock

from raypipe.clock import Clock
from raypipe.contracts.records import Record
from raypipe.errors import RequestError, ServingError, SettingsError, WorkspaceError

Scope: TypeAlias = Literal["predict", "feedback", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
#: How long a replica may go on with the keys that it knows.
LOOK_SECONDS = 1.0
FILE = "keys.json"


class Key(Record, frozen=True, kw_only=True):
    """One key, without its secret.

    Attributes:
        id: public; names the key.
        name: whose it is.
        hash: SHA-256 of the secret, hex.
        scopes: what it may do; ``admin`` may do everything.
        rate: requests a second that each replica answers; 0: as many as come.
        created: microseconds UTC.
        ends: from then on it is refused; microseconds UTC, 0: never.
    """

    id: str
    name: str
    hash: str
    scopes: tuple[Scope, ...]
    rate: float
    created: int
    ends: int = 0


class Keyring:
    """The keys of a workspace, in one file that all replicas see.

    Args:
        folder: that it is in.
        clock: dates the keys.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.path, self._clock = folder / FILE, clock

    def all(self) -> tuple[Key, ...]:
        """All keys, also those that have ended.

        Raises:
            ServingError: the file is not what this class writes.
        """
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=tuple[Key, ...])
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError) as error:
            raise ServingError(
                f"cannot be read: {error}", where=str(self.path), cure="Restore it, or add keys anew"
            ) from None

    def add(self, name: str, scopes: tuple[Scope, ...] = ("predict",), *, rate: float = 0.0, ends: int = 0) -> str:
        """Make a key and return it whole: the only time that its secret can be seen.

        Raises:
            SettingsError: a scope is none, or the rate is negative.
            WorkspaceError: the file cannot be written.
        """
        if wrong := [scope for scope in scopes if scope not in SCOPES]:
            raise SettingsError(f"`{wrong[0]}` is not a scope", where="keys", cure=f"Scopes are {', '.join(SCOPES)}")
        if not 0 <= rate < float("inf"):
            raise SettingsError("the rate must be at least 0", where="keys")
        id_, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = Key(id=id_, name=name, hash=_hash(secret), scopes=scopes, rate=rate, created=self._clock.now(), ends=ends)
        with self._locked():
            self._write((*self.all(), key))
        return f"rp_{id_}_{secret}"

    def revoke(self, id_: str, *, at: int | None = None) -> Key:
        """Let a key end now, or at a moment to come (microseconds UTC), so that callers can change to another.

        Raises:
            SettingsError: there is no such key.
            WorkspaceError: the file cannot be written.
        """
        ends = self._clock.now() if at is None else at
        with self._locked():
            keys = self.all()
            if id_ not in {key.id for key in keys}:
                raise SettingsError(f"there is no key `{id_}`", where="keys", cure="`raypipe keys list` shows them")
            changed = tuple(msgspec.structs.replace(key, ends=ends) if key.id == id_ else key for key in keys)
            self._write(changed)
        return next(key for key in changed if key.id == id_)

    def _locked(self) -> FileLock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(f"cannot be written: {error.strerror}", where=str(self.path)) from None
        return FileLock(self.path.with_suffix(".lock"), mode=0o600)

    def _write(self, keys: tuple[Key, ...]) -> None:
        try:
            # Readable by its owner alone, as temporary files are.
            with tempfile.NamedTemporaryFile("wb", dir=self.path.parent, suffix=".new", delete=False) as file:
                file.write(msgspec.json.format(msgspec.json.encode(keys), indent=1))
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self.path)
        except OSError as error:
            raise WorkspaceError(f"cannot be written: {error.strerror}", where=str(self.path)) from None


class Guard:
    """Lets requests pass that come with a good key. Keys that are added or revoked count within a second.

    Args:
        ring: the keys.
        clock: says whether a key has ended.
        required: ask for a key even when none was ever made. Otherwise the first key that is made closes the door.
    """

    def __init__(self, ring: Keyring, clock: Clock, *, required: bool) -> None:
        self._ring, self._clock, self._required = ring, clock, required
        self._known: dict[str, Key] = {}
        self._seen: tuple[int, int] | None = None
        self._looked = float("-inf")
        #: Of each key how many requests it may make now, and when that was worked out.
        self._left: dict[str, tuple[float, float]] = {}

    def check(self, authorization: bytes, scope: Scope) -> None:
        """Let a request pass.

        Args:
            authorization: the header of that name, empty when there is none.
            scope: what is to be done.

        Raises:
            RequestError: status 401 without a good key, 403 when it may not do this, 429 when it comes too often.
        """
        self._look()
        if not self._required and not self._known:
            return
        id_, secret = _presented(authorization)
        key = self._known.get(id_, _NOBODY)
        # Always compared, so that it takes as long for an unknown id; and never byte by byte.
        same = hmac.compare_digest(_hash(secret), key.hash)
        if not same or key is _NOBODY or (key.ends and self._clock.now() >= key.ends):
            raise RequestError(
                "is missing or not valid", where="Authorization", cure="Send `Authorization: Bearer rp_…`", status=401
            )
        if scope not in key.scopes and "admin" not in key.scopes:
            raise RequestError(f"does not allow to {scope}", where="Authorization", status=403)
        if key.rate and not self._may(key, time.monotonic()):
            raise RequestError(f"allows {key.rate:g} requests a second", where="Authorization", status=429)

    def _may(self, key: Key, now: float) -> bool:
        most = max(1.0, key.rate)
        left, then = self._left.get(key.id, (most, now))
        left = min(most, left + (now - then) * key.rate)
        self._left[key.id] = (left - 1 if left >= 1 else left, now)
        return left >= 1

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            status = self._ring.path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            # A file that was there and is gone opens nothing.
            return
        if stamp != self._seen:
            self._known = {key.id: key for key in self._ring.all()}
            self._seen = stamp


def bearer(metadata: Mapping[str, str]) -> bytes:
    """The header as gRPC has it."""
    return metadata.get("authorization", "").encode()


def _presented(authorization: bytes) -> tuple[str, str]:
    """Id and secret out of a header; nothing that is no key comes out."""
    scheme, _, given = authorization.decode("latin-1").partition(" ")
    if scheme.lower() == "basic":
        try:
            id_, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError:  # not base64, not ASCII, not UTF-8
            return "", ""
        return id_, secret
    prefix, _, rest = given.partition("_")
    if scheme.lower() != "bearer" or prefix != "rp":
        return "", ""
    id_, _, secret = rest.partition("_")
    return id_, secret


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


_NOBODY = Key(id="", name="", hash=_hash(secrets.token_urlsafe(32)), scopes=(), rate=0.0, created=0)
