"""What the ledger says about models: which versions there are, and who was champion when."""

from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec

from raypipe.contracts.records import Deployment, Lineage, ModelVersion, Record
from raypipe.errors import LedgerError
from raypipe.ledger import Entry, Ledger

REGISTERED = "model.registered"
PROMOTED = "model.promoted"
DEPLOYED = "model.deployed"

R = TypeVar("R", bound=Record)


class Registered(Record, frozen=True, kw_only=True):
    """The ledger's row of a version. ``digest`` names its files."""

    version: int
    algorithm: str
    metrics: dict[str, float]
    digest: str
    lineage: Lineage

    @property
    def identity(self) -> str:
        """What makes it this version and no other: the files, and the data they were learned from.

        When, from which commit and in which run the same thing was made again does not make another version of it.
        """
        data = (self.digest, self.lineage.training_set, *sorted(self.lineage.snapshots.items()))
        return sha256(repr(data).encode()).hexdigest()


class Promotion(Record, frozen=True, kw_only=True):
    """The ledger's row of a change of champion. ``previous`` is the version that held the slot before.

    ``version`` is None, and ``digest`` empty, where the first that ever held it gave it back: nobody holds it then.
    """

    slot: str
    version: int | None
    digest: str
    previous: int | None
    rollback: bool
    why: str
    who: str


def registered(ledger: Ledger, name: str) -> list[tuple[Entry, Registered]]:
    """The versions of a model in order."""
    return [(entry, body_of(entry, Registered)) for entry in ledger.entries(REGISTERED, name)]


def promotions(ledger: Ledger, name: str, slot: str) -> list[tuple[Entry, Promotion]]:
    """Every change of who holds a slot, in order."""
    rows = [(entry, body_of(entry, Promotion)) for entry in ledger.entries(PROMOTED, name)]
    return [(entry, promotion) for entry, promotion in rows if promotion.slot == slot]


def deployments(ledger: Ledger, name: str) -> list[tuple[Entry, Deployment]]:
    """Every change of which version answers, in order."""
    return [(entry, body_of(entry, Deployment)) for entry in ledger.entries(DEPLOYED, name)]


def champions(changes: list[tuple[Entry, Promotion]]) -> list[int]:
    """The versions that a rollback walks back through, the present one last: a rollback takes the last one off."""
    stack: list[int] = []
    for _, change in changes:
        if change.rollback:
            stack.pop()
        elif change.version is not None:
            stack.append(change.version)
    return stack


def version_of(name: str, entry: Entry, row: Registered, folder: Path, aliases: tuple[str, ...]) -> ModelVersion:
    """The record that other rooms see."""
    return ModelVersion(
        name=name,
        version=row.version,
        aliases=aliases,
        algorithm=row.algorithm,
        metrics=row.metrics,
        created=entry.at,
        digest=row.digest,
        folder=str(folder / row.digest),
        lineage=row.lineage,
    )


def body_of(entry: Entry, kind: type[R]) -> R:
    """The record in a row; raises LedgerError when it holds another one."""
    try:
        return kind.from_json(entry.body)
    except msgspec.MsgspecError as error:
        raise LedgerError(f"row {entry.seq} (`{entry.key}`) is no {kind.__name__}: {error}", where="ledger") from None
