"""The checker: compares what clients were told with what tables, ledger and logs hold afterwards.

It knows nothing of how raypipe works: a client asks for something under a key, is told that it is done, or is not; what
is kept has keys too. What was told and is not kept is lost; what is kept twice is doubled; what differs is wrong; what
nobody asked for is invented. What was asked for and never told may be kept or not.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple


class Thing(NamedTuple):
    """Something that was asked for: its kind (``row``, ``prediction`` …), its key, and its content."""

    kind: str
    key: str
    content: object = None


@dataclass
class History:
    """What clients saw, written by many threads."""

    asked: set[tuple[str, str]] = field(default_factory=set)
    told: list[Thing] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    def ask(self, kind: str, key: str) -> None:
        """A client asks."""
        with self._lock:
            self.asked.add((kind, key))

    def tell(self, kind: str, key: str, content: object = None) -> None:
        """A client was told that it is done."""
        with self._lock:
            self.asked.add((kind, key))
            self.told.append(Thing(kind, key, content))

    def fail(self, what: str) -> None:
        """A client was told that it is not done, or nothing."""
        with self._lock:
            self.errors[what] += 1


@dataclass(frozen=True)
class Verdict:
    """What the checker found, a line each."""

    told: int
    kept: int
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    invented: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Nothing was found."""
        return not (self.lost or self.doubled or self.wrong or self.invented or self.broken)

    def __str__(self) -> str:
        found = {name: getattr(self, name) for name in ("lost", "doubled", "wrong", "invented", "broken")}
        said = [f"{len(lines)} {name} ({', '.join(lines[:3])})" for name, lines in found.items() if lines]
        return "; ".join(said) or "clean"


def judge(history: History, kept: Iterable[Thing], broken: Iterable[str] = ()) -> Verdict:
    """Compare.

    Args:
        history: what clients saw.
        kept: what is there, in any order; every copy of it.
        broken: what is wrong in itself, such as a chain of hashes that does not hold.
    """
    there: dict[tuple[str, str], list[object]] = {}
    for thing in kept:
        there.setdefault(thing[:2], []).append(thing.content)
    named = "{0[0]} {0[1]}".format
    lost = sorted({named(one[:2]) for one in history.told if one[:2] not in there})
    wrong = sorted(
        {
            f"{named(one[:2])}: told {one.content}, kept {there[one[:2]][0]}"
            for one in history.told
            if one.content is not None and one.content not in there.get(one[:2], [one.content])
        }
    )
    return Verdict(
        told=len(history.told),
        kept=sum(map(len, there.values())),
        lost=tuple(lost),
        doubled=tuple(sorted(named(key) for key, copies in there.items() if len(copies) > 1)),
        wrong=tuple(wrong),
        invented=tuple(sorted(named(key) for key in there.keys() - history.asked)),
        broken=tuple(broken),
    )


@contextmanager
def caught(broken: list[str]) -> Iterator[None]:
    """What is raised inside is written down as broken."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever it is, the checker tells it
        broken.append(f"{type(error).__name__}: {error}")
