"""Who answers whom while several versions do: shares of units, cut so that widening one moves nobody else.

A unit's bucket is a keyed hash of it, the same in every process and after every restart. An arm owns ranges of buckets;
the champion has what nobody owns. To widen an arm adds free buckets to those it has, to narrow it gives back the last.
"""

from collections.abc import Iterable
from hashlib import blake2b

from raypipe.contracts.records import Record
from raypipe.errors import SettingsError

BUCKETS = 10_000
CHAMPION, CHALLENGER, SHADOW = "champion", "challenger", "shadow"


class Arm(Record, frozen=True, kw_only=True):
    """A version that answers, or only computes, beside the champion.

    Attributes:
        version, folder, digest: the model.
        role: ``challenger`` answers its units; ``shadow`` computes for them, and its results are only logged.
        ranges: the buckets that it owns, each from (included) to (excluded).
        where: only rows whose request fields, as text, have these values, by name; empty: all.
    """

    version: int
    role: str
    ranges: tuple[tuple[int, int], ...]
    where: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Its name in answers and logs, such as ``challenger/4``."""
        return f"{self.role}/{self.version}"

    @property
    def share(self) -> float:
        """Of its units, 0 to 1."""
        return sum(to - since for since, to in self.ranges) / BUCKETS

    def owns(self, place: int) -> bool:
        """True when a bucket is its own."""
        return any(since <= place < to for since, to in self.ranges)


def bucket(salt: str, unit: str) -> int:
    """The bucket of a unit, 0 to `BUCKETS` - 1, evenly spread; another salt spreads anew.

    >>> bucket("first", "N14228") == bucket("first", "N14228")
    True
    """
    digest = blake2b(unit.encode(), key=salt.encode()[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def with_share(arms: Iterable[Arm], wanted: Arm, share: float) -> tuple[Arm, ...]:
    """The arms after one of them is given a share; a share of zero ends it.

    Args:
        arms: as they are.
        wanted: which one: version, role and where; its ranges are not looked at.
        share: 0 to 1.

    Raises:
        SettingsError: so much is not free.

    >>> one = Arm(version=2, role="challenger", ranges=())
    >>> with_share(with_share((), one, 0.1), one, 0.3)[0].ranges
    ((0, 3000),)
    """
    present = list(arms)
    # A version has one place: to give it another role, or other rows, is to move it.
    own = next((a for a in present if _place(a) == _place(wanted)), None)
    others = [arm for arm in present if arm.version != wanted.version]
    held = own.ranges if own else ()
    rivals = [arm for arm in others if arm.role == wanted.role == CHALLENGER and arm.where == wanted.where]
    count = round(share * BUCKETS)
    ranges = _grown(held, count, [one for arm in rivals for one in arm.ranges])
    if sum(to - since for since, to in ranges) < count:
        free = 1 - sum(arm.share for arm in rivals)
        raise SettingsError(f"only {free:.0%} are free", where=wanted.name, cure="Narrow another challenger first")
    if not count:
        return tuple(others)
    return (*others, Arm(version=wanted.version, role=wanted.role, ranges=ranges, where=wanted.where))


def _place(arm: Arm) -> tuple[int, str, tuple[tuple[str, str], ...]]:
    return arm.version, arm.role, arm.where


def _grown(held: tuple[tuple[int, int], ...], count: int, taken: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """``held`` cut down or filled up to ``count`` buckets, none of which is taken."""
    mine = [place for since, to in held for place in range(since, to)][:count]
    occupied = set(mine).union(*(range(since, to) for since, to in taken))
    free = (place for place in range(BUCKETS) if place not in occupied)
    mine += [place for place, _ in zip(free, range(count - len(mine)), strict=False)]
    ranges: list[tuple[int, int]] = []
    for place in sorted(mine):
        if ranges and ranges[-1][1] == place:
            ranges[-1] = (ranges[-1][0], place + 1)
        else:
            ranges.append((place, place + 1))
    return tuple(ranges)
