"""A version on its way to another cluster: its files, what is known of it, and a signature over both."""

import base64
import shutil
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from raypipe.contracts import bundle
from raypipe.contracts.records import Candidate, ModelVersion
from raypipe.errors import RegistryError

FILES, ABOUT, SIGNATURE = "bundle", "version.json", "version.sig"


def pack(version: ModelVersion, folder: Path, key: Ed25519PrivateKey) -> Path:
    """Write a version into a folder, signed: its record names the digest of its files.

    Raises:
        RegistryError: its files are not what its digest says.
    """
    bundle.verify(Path(version.folder), version.digest)
    shutil.copytree(version.folder, folder / FILES)
    about = version.to_json().encode()
    (folder / ABOUT).write_bytes(about)
    (folder / SIGNATURE).write_bytes(base64.b64encode(key.sign(about)))
    return folder


def read(folder: Path, key: Ed25519PublicKey) -> ModelVersion:
    """What is known of the version in a parcel; its files are not looked at.

    Raises:
        RegistryError: it was not signed with this key.
    """
    try:
        about = (folder / ABOUT).read_bytes()
        key.verify(base64.b64decode((folder / SIGNATURE).read_bytes(), validate=True), about)
    except (OSError, ValueError, InvalidSignature):
        cure = "Sign and check with one pair of keys: `audit_key` there, `audit_public_key` here"
        raise RegistryError("was not signed with this key", where=str(folder), cure=cure) from None
    return ModelVersion.from_json(about)


def unpack(folder: Path, key: Ed25519PublicKey) -> tuple[Candidate, ModelVersion]:
    """What a parcel holds, as a candidate for this cluster's registry, and the version that it is where it comes from.

    Raises:
        RegistryError: it was not signed with this key, or its files are not those that were signed.
    """
    version = read(folder, key)
    bundle.verify(folder / FILES, version.digest)
    candidate = Candidate(
        pipeline=version.name,
        training_set=version.lineage.training_set,
        algorithm=version.algorithm,
        params=version.lineage.params,
        seed=version.lineage.seed,
        folder=str(folder / FILES),
        metrics=version.metrics,
        trials=(),
        reason=f"received as {version.name}/{version.version}",
        experiment="",
    )
    return candidate, version
