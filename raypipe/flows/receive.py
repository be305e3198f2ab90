"""What a region does with a version that another cluster sends: take it in, then let it answer, each by itself."""

from pathlib import Path

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import ModelVersion, Record
from raypipe.errors import ServingError
from raypipe.flows.platform import Platform
from raypipe.flows.swap import swap
from raypipe.ledger.checkpoint import public_key
from raypipe.registry.parcel import unpack
from raypipe.services.http import ask


class Received(Record, frozen=True, kw_only=True):
    """A version that was sent here: its number here, its digest, the champion before, and whether it answers."""

    name: str
    version: int
    digest: str
    before: int | None
    serving: bool = False


def take_in(platform: Platform, parcel: Path, key: str) -> Received:
    """Check a parcel's signature and files, and register what is in it; nobody is asked to answer with it.

    Args:
        platform: of this region.
        parcel: the folder.
        key: the public key in PEM, by reference.

    Raises:
        RegistryError: it was not signed with this key, or does not score as its trainer said.
        SettingsError: the key cannot be used.
    """
    candidate, there = unpack(parcel, public_key(key))
    before = platform.registry.champion(there.name)
    version = platform.registry.register(candidate, there.lineage)
    return Received(
        name=version.name,
        version=version.version,
        digest=version.digest,
        before=None if before is None else before.version,
    )


def let_answer(platform: Platform, received: Received, why: str, progress: Progress) -> Received:
    """Make a version that was taken in champion, let it answer, and ask it how it is.

    Raises:
        RegistryError: somebody else has changed the champion meanwhile.
        ServingError: it does not answer; the champion before does again, in the registry too.
    """
    name, before = received.name, received.before
    if before == received.version:
        version = platform.registry.get(name, before)
    else:
        version = platform.registry.promote(name, received.version, expect=before, why=why, who="deploy --to")
    try:
        swap(platform, version, progress)
        healthy(platform, version)
    except ServingError as error:
        if before is not None and before != received.version:
            back = platform.registry.rollback(
                name, f"did not answer: {error}", who="deploy --to", expect=version.version
            )
            swap(platform, back, progress)
        raise
    return Received(name=name, version=version.version, digest=version.digest, before=before, serving=True)


def healthy(platform: Platform, version: ModelVersion) -> None:
    """Ask the service itself, through its front door, which files answer.

    Raises:
        ServingError: others than the version's, or none.
    """
    url = f"{platform.services.serve_url}/{version.name}/health"
    status, text = ask(url, seconds=10)
    if status != 200 or version.digest not in text:
        cure = "`raypipe status` says what answers"
        raise ServingError(
            f"does not answer with {version.digest[:12]} ({status or 'no answer'})", where=url, cure=cure
        )
