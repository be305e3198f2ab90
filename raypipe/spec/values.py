"""What every declared value is made of: frozen maps, durations, and the line of the file it was written on."""

import os
import sys
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import field
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TypeVar

V = TypeVar("V")
_HERE = f"{Path(__file__).parent}{os.sep}"


class FrozenMap(Mapping[str, V]):
    """An ordered mapping that can be hashed and compared, so that values which hold one can be too.

    >>> FrozenMap(a=1) == FrozenMap({"a": 1}), hash(FrozenMap(a=1)) == hash(FrozenMap(a=1))
    (True, True)
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, V] | None = None, /, **more: V) -> None:
        self._items: dict[str, V] = {**(items or {}), **more}

    def __getitem__(self, key: str) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        # The order of features is part of their meaning: it is the order of the model's inputs.
        return isinstance(other, FrozenMap) and list(self._items.items()) == list(other._items.items())

    def __hash__(self) -> int:
        return hash(tuple(self._items.items()))

    def __repr__(self) -> str:
        return f"FrozenMap({self._items!r})"


def days(n: float) -> timedelta:
    """A length of time in days of 24 hours."""
    return timedelta(days=n)


def hours(n: float) -> timedelta:
    """A length of time in hours."""
    return timedelta(hours=n)


def minutes(n: float) -> timedelta:
    """A length of time in minutes."""
    return timedelta(minutes=n)


def seconds(n: float) -> timedelta:
    """A length of time in seconds."""
    return timedelta(seconds=n)


def micros(duration: timedelta) -> int:
    """A duration in whole microseconds, the unit of all times.

    >>> micros(hours(1))
    3600000000
    """
    return duration // timedelta(microseconds=1)


def in_words(duration: timedelta) -> str:
    """A duration as a person writes it.

    >>> in_words(hours(36)), in_words(minutes(20)), in_words(days(7)), in_words(hours(0))
    ('36 h', '20 min', '7 d', '0 s')
    """
    total = micros(duration)
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000)):
        if total % size == 0 and (total or unit == "s"):
            return f"{total // size} {unit}"
    return f"{total} µs"


def changed(value: V, /, **fields: object) -> V:
    """A copy of a frozen value with some fields changed; its constructor, which may take others, is not asked.

    >>> from raypipe.spec.finish import Finish
    >>> changed(Finish(by=["city"]), whole=True).by
    ('city',)
    """
    other = copy(value)
    for name, content in fields.items():
        object.__setattr__(other, name, content)
    return other


def written_at() -> str:
    """``file.py:18`` of the nearest frame outside this package: where the user wrote the value being made."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_HERE) and not name.startswith("<"):
            return f"{Path(name).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def place() -> str:
    """A dataclass field that remembers where its value was written, and takes no part in equality or hashing."""
    return field(default_factory=written_at, compare=False, repr=False, kw_only=True)
