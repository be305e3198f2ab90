"""Signed checkpoints: what a ledger was at a moment, so that nobody without the key can write history anew.

A chain of hashes shows that rows were changed; but whoever may write to the database can compute it anew, cut its end
off, or put an old copy back. So every now and then the last row's hash is signed (Ed25519, RFC 8032) and kept outside
of the database, in a file that only grows. Each checkpoint covers the one before, so none can be left out.
"""

import base64
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from filelock import FileLock

from raypipe.errors import LedgerError, SettingsError
from raypipe.ledger.ledger import GENESIS, Ledger
from raypipe.references import reveal

NAME = "checkpoints.jsonl"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the file.

    Attributes:
        seq: the last row that it covers.
        hash: of that row, which covers all before it.
        at: when it was signed, microseconds UTC.
        previous: SHA-256 of the line before; zeros for the first.
        signature: of all this, in base64.
    """

    seq: int
    hash: str
    at: int
    previous: str
    signature: str = ""

    def signed_part(self) -> bytes:
        """The bytes that are signed."""
        return msgspec.json.encode(["raypipe ledger checkpoint 1", self.seq, self.hash, self.at, self.previous])

    def line(self) -> bytes:
        """As it stands in the file."""
        return msgspec.json.encode(self)


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit found: so many rows, of which the first ``signed`` are covered by the last checkpoint."""

    rows: int
    checkpoints: int
    signed: int
    signed_at: int | None


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Make a pair of keys: the private one, which signs, and the public one, which auditors keep.

    Raises:
        LedgerError: there is a key already; it is never written over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / "audit.key", folder / "audit.pub"
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        private.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise LedgerError("there is a key already", where=str(private), cure="Name another folder") from None
    private.write_bytes(text)
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def sign(ledger: Ledger, file: Path, key: str, at: int) -> Checkpoint:
    """Look through the whole ledger and sign what it is now. Nothing new since the last checkpoint: that one again.

    Args:
        ledger: what is signed.
        file: where checkpoints are kept.
        key: the private key in PEM, by reference.
        at: now, microseconds UTC.

    Raises:
        LedgerError: the ledger or the file is not what was signed before; nothing is signed.
        SettingsError: the key cannot be used.
    """
    private = private_key(key)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        known = _read(file, private.public_key())
        rows = ledger.verify(signed={one.seq: one.hash for one in known})
        if known and known[-1].seq == rows:
            return known[-1]
        last = ledger.row(rows)
        made = Checkpoint(
            seq=rows,
            hash=GENESIS if last is None else last.hash,
            at=at,
            previous=sha256(known[-1].line()).hexdigest() if known else GENESIS,
        )
        made = msgspec.structs.replace(made, signature=_text(private.sign(made.signed_part())))
        with file.open("ab") as out:
            out.write(made.line() + b"\n")
        return made


def audit(ledger: Ledger, file: Path, key: str) -> Audit:
    """Look through the whole ledger and compare it with everything that was signed.

    Args:
        ledger: what is looked at.
        file: the checkpoints, or a copy of them that was kept elsewhere.
        key: the public key in PEM, by reference.

    Raises:
        LedgerError: a row, or a checkpoint, was changed, removed, inserted, reordered, or an old state was put back.
        SettingsError: the key cannot be used.
    """
    known = _read(file, public_key(key))
    rows = ledger.verify(signed={one.seq: one.hash for one in known})
    last = known[-1] if known else None
    return Audit(
        rows=rows,
        checkpoints=len(known),
        signed=0 if last is None else last.seq,
        signed_at=None if last is None else last.at,
    )


def _read(file: Path, key: Ed25519PublicKey) -> Sequence[Checkpoint]:
    """All checkpoints, each with a good signature, on top of the one before."""
    if not file.exists():
        return []
    found: list[Checkpoint] = []
    previous = GENESIS
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        where = f"{file}:{number}"
        try:
            one = msgspec.json.decode(line, type=Checkpoint)
            key.verify(base64.b64decode(one.signature, validate=True), one.signed_part())
        except (msgspec.MsgspecError, ValueError, InvalidSignature):
            raise LedgerError("the checkpoint was not signed with this key", where=where) from None
        if one.previous != previous or (found and one.seq <= found[-1].seq):
            raise LedgerError("checkpoints before it are missing or out of order", where=where)
        found.append(one)
        previous = sha256(one.line()).hexdigest()
    return found


def private_key(key: str) -> Ed25519PrivateKey:
    """The key that signs, out of PEM, by reference; raises SettingsError when there is none."""
    try:
        found = load_pem_private_key(reveal(key).encode(), password=None)
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, Ed25519PrivateKey):
        raise SettingsError("holds no Ed25519 private key in PEM", where=key, cure="Make one: `raypipe audit keys`")
    return found


def public_key(key: str) -> Ed25519PublicKey:
    """The key that checks signatures, out of PEM, by reference; raises SettingsError when there is none."""
    try:
        found = load_pem_public_key(reveal(key).encode())
    except ValueError:
        found = None
    if not isinstance(found, Ed25519PublicKey):
        raise SettingsError("holds no Ed25519 public key in PEM", where=key, cure="Make one: `raypipe audit keys`")
    return found


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
