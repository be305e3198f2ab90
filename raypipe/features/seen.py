"""What a process has read from the store since its head last changed."""

from collections.abc import Sequence

import numpy as np

from raypipe.features import state
from raypipe.features.arena import Arena
from raypipe.features.kernel import compute
from raypipe.features.layout import Layout
from raypipe.features.plan import GroupPlan
from raypipe.features.single import Program, Value, nobody
from raypipe.features.state import Stored
from raypipe.features.tracks import Answer
from raypipe.stats.exact import Ints

#: More questions than these about one group are answered by arrays: to make one takes as long as so many looks.
FEW_LOOKS = 48
#: Bytes of stored values that are kept; when more were read, keeping begins anew.
MOST_BYTES = 256 * 2**20


class Seen:
    """Stored values by key, those of groups decoded.

    Args:
        plans: the compiled groups; a key begins with the number of its group, or with a table's, which come behind.
        most_bytes: of values that are kept.
    """

    def __init__(self, plans: Sequence[GroupPlan], most_bytes: int = MOST_BYTES) -> None:
        self._plans, self._most = plans, most_bytes
        self._layouts: list[dict[bytes, Layout]] = [{} for _ in plans]
        self._programs: list[dict[int, Program]] = [{} for _ in plans]
        self._nobody = [nobody(plan) for plan in plans]
        self.clear()

    def clear(self) -> None:
        """Forget every value."""
        self._bytes = 0
        self._stored: dict[bytes, Stored | None] = {}
        self._rows: dict[bytes, bytes | None] = {}
        self._arenas: list[list[Arena]] = [[] for _ in self._plans]
        self._by_layout: list[dict[int, int]] = [{} for _ in self._plans]
        #: For each entity that was asked about among many which arena of its group it is in, and its number there.
        self._places: dict[bytes, tuple[int, int]] = {}

    def missing(self, wanted: Sequence[bytes]) -> list[bytes]:
        """Those of some keys that must be read; all of them, when too much is kept."""
        if self._bytes > self._most:
            self.clear()
        return [key for key in wanted if key not in self._stored and key not in self._rows]

    def add(self, found: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Keep values, None for a key that is not stored."""
        for key, value in zip(found, values, strict=True):
            number = key[0]
            beside = 0 if number >= len(self._plans) else 40 * len(self._plans[number].features)
            self._bytes += len(key) + 400 + beside + (0 if value is None else 2 * len(value))
            if number >= len(self._plans):
                self._rows[key] = value
            else:
                known = self._layouts[number]
                self._stored[key] = None if value is None else state.read(self._plans[number], value, known)

    def row(self, key: bytes | None) -> bytes | None:
        """What is stored of a row of a table."""
        return None if key is None else self._rows[key]

    def rows(self, number: int, questions: Sequence[tuple[bytes | None, int]]) -> list[Sequence[Value]]:
        """The features of one group for each of some keys and times; what is asked twice is looked up once."""
        if len(questions) == 1:
            return [self._one(number, *questions[0])]
        looks = dict.fromkeys(questions)
        if len(looks) <= FEW_LOOKS:
            found: dict[tuple[bytes | None, int], Sequence[Value]] = {one: self._one(number, *one) for one in looks}
        else:
            column, asked = zip(*looks, strict=True)
            answers = self.answers(number, column, np.array(asked, np.int64))
            found = dict(zip(looks, zip(*(answer.plain() for answer in answers), strict=True), strict=True))
        return [found[one] for one in questions]

    def _one(self, number: int, key: bytes | None, asked: int) -> list[Value]:
        stored = None if key is None else self._stored[key]
        if stored is None:
            return self._nobody[number]
        programs = self._programs[number]
        if (program := programs.get(id(stored.layout))) is None:
            program = programs[id(stored.layout)] = Program(self._plans[number], stored.layout)
        return program(stored, asked)

    def answers(self, number: int, column: Sequence[bytes | None], asked: Ints) -> list[Answer]:
        """The features of one group for many questions."""
        plan, arenas = self._plans[number], self._arenas[number]
        found = [(-1, -1) if key is None else self._placed(key) for key in column]
        used = sorted({arena for arena, _ in found if arena >= 0})
        if len(used) <= 1:
            tracks = arenas[used[0]].tracks() if used else state.nobody(plan)
            return compute(plan, tracks, np.array([entity for _, entity in found], np.int64), asked)
        places = np.array(found, np.int64)
        places[:, 0] = np.maximum(places[:, 0], used[0])
        parts = []
        for arena in used:
            here = np.flatnonzero(places[:, 0] == arena)
            parts.append((here, compute(plan, arenas[arena].tracks(), places[here, 1], asked[here])))
        return [_together([(here, answers[i]) for here, answers in parts]) for i in range(len(plan.features))]

    def _placed(self, key: bytes) -> tuple[int, int]:
        """Where an entity is; -1 when nothing is stored of it."""
        if (place := self._places.get(key)) is None:
            stored, number = self._stored[key], key[0]
            arenas, by_layout = self._arenas[number], self._by_layout[number]
            if stored is None:
                return -1, -1
            if id(stored.layout) not in by_layout:
                by_layout[id(stored.layout)] = len(arenas)
                arenas.append(Arena(self._plans[number], stored.layout))
            arena = by_layout[id(stored.layout)]
            place = self._places[key] = arena, arenas[arena].add(stored)
        return place


def _together(parts: Sequence[tuple[Ints, Answer]]) -> Answer:
    """One answer for all questions from those for some of them each."""
    order = np.argsort(np.concatenate([here for here, _ in parts]))
    values = np.concatenate([answer.values for _, answer in parts])[order]
    missing = [answer.missing for _, answer in parts]
    if all(one is None for one in missing):
        return Answer(values)
    gaps = [np.zeros(len(here), np.bool_) if a.missing is None else a.missing for here, a in parts]
    return Answer(values, np.concatenate(gaps)[order])
