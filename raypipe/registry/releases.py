"""Which versions answer beside the champion, as the ledger tells it."""

from msgspec import structs

from raypipe.contracts.arms import Arm, with_share
from raypipe.contracts.records import Record
from raypipe.errors import KeyTakenError, RegistryError
from raypipe.ledger import Ledger
from raypipe.registry.rows import PROMOTED, Promotion, body_of

RELEASED = "model.released"


class Released(Record, frozen=True, kw_only=True):
    """The ledger's row of a change of one arm; a ``share`` of 0 ends it."""

    version: int
    role: str
    share: float
    where: dict[str, str]
    why: str
    who: str


class Arms(Record, frozen=True, kw_only=True):
    """All arms of a pipeline, and the salt that units are spread with: another one for each time that arms begin.

    ``changes`` counts the rows that tell of them; they began at ``since`` and are as they are from ``changed`` on.
    """

    arms: tuple[Arm, ...] = ()
    salt: str = ""
    changes: int = 0
    since: int = 0
    changed: int = 0


def arms_of(ledger: Ledger, name: str) -> Arms:
    """The arms of a pipeline now. A version that becomes champion is no arm any more, also after a rollback."""
    rows = [*ledger.entries(RELEASED, name), *ledger.entries(PROMOTED, name)]
    arms: tuple[Arm, ...] = ()
    salt, changes, since, changed = "", 0, 0, 0
    for entry in sorted(rows, key=lambda row: row.seq):
        changed = entry.at
        if entry.kind == PROMOTED:
            if arms:
                champion = body_of(entry, Promotion).version
                arms = tuple(arm for arm in arms if arm.version != champion)
            continue
        changes += 1
        row = body_of(entry, Released)
        if not arms:
            salt, since = entry.hash[:32], entry.at
        arms = with_share(arms, Arm(version=row.version, role=row.role, ranges=(), where=_pairs(row.where)), row.share)
    return Arms(arms=arms, salt=salt, changes=changes, since=since, changed=changed)


def release(ledger: Ledger, name: str, row: Released, expect: int | None = None) -> Arms:
    """Write down a change of one arm, if so many as ``expect`` were made before.

    Raises:
        SettingsError: so large a share is not free.
        RegistryError: somebody else changed the arms just now.
    """
    now = arms_of(ledger, name)
    with_share(now.arms, Arm(version=row.version, role=row.role, ranges=(), where=_pairs(row.where)), row.share)
    number = (now.changes if expect is None else expect) + 1
    try:
        ledger.append(f"{RELEASED}/{name}/{number}", RELEASED, name, row.to_json())
    except KeyTakenError:
        what = "somebody else has changed who answers just now"
        raise RegistryError(what, where=name, cure="Look again, then decide again") from None
    return arms_of(ledger, name)


def _pairs(where: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(where.items()))


def placed(arms: Arms, folders: dict[int, tuple[str, str]]) -> tuple[Arm, ...]:
    """Arms with folder and digest of their versions."""
    return tuple(structs.replace(a, folder=folders[a.version][0], digest=folders[a.version][1]) for a in arms.arms)
