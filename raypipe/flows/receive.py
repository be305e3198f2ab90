"""What a region does with a version that another cluster sends: take it in, let it answer, go back from it."""

import time
from pathlib import Path

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import ModelVersion, Record
from raypipe.errors import RaypipeError, ServingError
from raypipe.flows.platform import Platform
from raypipe.flows.swap import swap, take_out
from raypipe.ledger.checkpoint import public_key
from raypipe.registry.parcel import read, unpack
from raypipe.services.http import ask

WHO = "deploy --to"
#: Replicas hold a version some moments before the front door, which hears of it from Serve, leads there.
DOOR_SECONDS, ASK_SECONDS, POLL_SECONDS = 15.0, 5.0, 0.1


class Received(Record, frozen=True, kw_only=True):
    """A version that was sent here: its number here, its digest, the champion before, and whether it answers.

    After going back it is the version that answers again; where none did before, that which was sent, and does not.
    """

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
        RaypipeError: it does not answer; the champion before does again, in the registry too, or nobody, as before.
    """
    name, before = received.name, received.before
    if before == received.version:
        version = platform.registry.get(name, before)
    else:
        version = platform.registry.promote(name, received.version, expect=before, why=why, who=WHO)
    try:
        swap(platform, version, progress)
        healthy(platform, version)
    except RaypipeError as error:
        if before != received.version:
            back = _given_back(platform, version, f"did not answer: {error}")
            if back is None:
                take_out(platform, name)
            else:
                swap(platform, back, progress)
        raise
    return Received(name=name, version=version.version, digest=version.digest, before=before, serving=True)


def go_back(platform: Platform, parcel: Path, key: str, why: str, progress: Progress) -> Received:
    """Let the champion before answer again where a parcel's version is champion; elsewhere the champion that there is.

    Where there was none before, nobody answers. Given again, it goes no further back: a region that has lost its
    connection can be asked whatever it has done.

    Raises:
        RegistryError: the parcel was not signed with this key.
        ServingError: the champion does not answer, or what answers cannot be taken out of service.
    """
    there = read(parcel, public_key(key))
    present = platform.registry.champion(there.name)
    if present is not None and present.digest == there.digest:
        present = _given_back(platform, present, why)
    if present is None:
        take_out(platform, there.name)
        sent = (one.version for one in platform.registry.versions(there.name) if one.digest == there.digest)
        return Received(name=there.name, version=next(sent, 0), digest=there.digest, before=None)
    swap(platform, present, progress)
    healthy(platform, present)
    return Received(name=present.name, version=present.version, digest=present.digest, before=None, serving=True)


def _given_back(platform: Platform, version: ModelVersion, why: str) -> ModelVersion | None:
    """The champion before a version, champion again; None where none was: now none is."""
    if platform.registry.earlier(version.name) is None:
        platform.registry.withdraw(version.name, why, who=WHO, expect=version.version)
        return None
    return platform.registry.rollback(version.name, why, who=WHO, expect=version.version)


def healthy(platform: Platform, version: ModelVersion) -> None:
    """Ask the service itself, through its front door, which files answer, until they are the version's.

    Raises:
        ServingError: others than the version's, or none, for `DOOR_SECONDS`.
    """
    url = f"{platform.services.serve_url}/{version.name}/health"
    end, status = time.monotonic() + DOOR_SECONDS, 0
    while time.monotonic() < end:
        status, text = ask(url, seconds=ASK_SECONDS)
        if status == 200 and version.digest in text:
            return
        time.sleep(POLL_SECONDS)
    what = f"does not answer with {version.digest[:12]} ({status or 'no answer'})"
    raise ServingError(what, where=url, cure="`raypipe status` says what answers")
