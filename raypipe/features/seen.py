"""What a process has read from the store since its head last changed; decoded when it is asked about."""

from collections.abc import Sequence

import numpy as np

from raypipe.features import early, state
from raypipe.features.arena import Arena
from raypipe.features.asking import compute
from raypipe.features.layout import Layout, head_of
from raypipe.features.plan import GroupPlan
from raypipe.features.single import Program, Value, nobody
from raypipe.features.state import Stored
from raypipe.stats.arrays import Ints
from raypipe.stats.tracks import Answer, there, together

#: More questions than these about one group are answered by arrays: to make one takes as long as so many looks.
FEW_LOOKS = 48
#: Bytes of stored values that are kept; when more were read, keeping begins anew.
MOST_BYTES = 256 * 2**20


class Seen:
    """Stored values by key.

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
        self._values: dict[bytes, bytes | None] = {}
        #: Those that were asked about one by one.
        self._stored: dict[bytes, Stored] = {}
        self._arenas: list[list[Arena]] = [[] for _ in self._plans]
        self._by_head: list[dict[bytes, int]] = [{} for _ in self._plans]
        #: For each entity that was asked about among many which arena of its group it is in, and its number there.
        self._places: dict[bytes, tuple[int, int]] = {}

    def missing(self, wanted: Sequence[bytes]) -> list[bytes]:
        """Those of some keys that must be read; all of them, when too much is kept."""
        if self._bytes > self._most:
            self.clear()
        return [key for key in wanted if key not in self._values]

    def add(self, found: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Keep values, None for a key that is not stored."""
        for key, value in zip(found, values, strict=True):
            number = key[0]
            beside = 0 if number >= len(self._plans) else 40 * len(self._plans[number].features)
            self._bytes += len(key) + 400 + beside + (0 if value is None else 2 * len(value))
            self._values[key] = value

    def row(self, key: bytes | None) -> bytes | None:
        """What is stored of a row of a table."""
        return None if key is None else self._values[key]

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
        if key is None or (value := self._values[key]) is None:
            return self._nobody[number]
        if (stored := self._stored.get(key)) is None:
            stored = self._stored[key] = state.read(self._plans[number], value, self._layouts[number])
        programs = self._programs[number]
        if (program := programs.get(id(stored.layout))) is None:
            program = programs[id(stored.layout)] = Program(self._plans[number], stored.layout)
        if (found := program(stored, asked)) is None:
            return [answer.plain()[0] for answer in self._early(number, [key], np.array([asked], np.int64))]
        return found

    def answers(self, number: int, column: Sequence[bytes | None], asked: Ints) -> list[Answer]:
        """The features of one group for many questions."""
        plan, arenas = self._plans[number], self._arenas[number]
        self._place(number, column)
        found = [(-1, -1) if key is None else self._places[key] for key in column]
        used = sorted({arena for arena, _ in found if arena >= 0})
        places = np.array(found, np.int64).reshape(-1, 2)
        if not used:
            return compute(plan, state.nobody(plan), places[:, 1], asked)
        places[:, 0] = np.maximum(places[:, 0], used[0])
        parts, late = [], [np.zeros(0, np.int64)]
        for arena in used:
            here = np.flatnonzero(places[:, 0] == arena) if len(used) > 1 else np.arange(len(places))
            entities, times = places[here, 1], asked[here]
            parts.append((here, compute(plan, arenas[arena].tracks(), entities, times)))
            late.append(here[arenas[arena].too_early(entities, times)])
        answers = [together([(here, answers[i]) for here, answers in parts]) for i in range(len(plan.features))]
        if len(some := np.concatenate(late)):
            early = self._early(number, [column[i] for i in some.tolist()], asked[some])
            for answer, again in zip(answers, early, strict=True):
                answer.put(some, again)
        return answers

    def _early(self, number: int, column: Sequence[bytes | None], asked: Ints) -> list[Answer]:
        """The same for questions that are asked before all that is stored of their entities was known."""
        stored = {there(key): there(self._values[there(key)]) for key in column}
        return early.answers(self._plans[number], stored, column, asked)

    def _place(self, number: int, column: Sequence[bytes | None]) -> None:
        """Have these entities in arenas, those that are laid out alike in one."""
        arenas, by_head = self._arenas[number], self._by_head[number]
        new: dict[bytes, dict[bytes, bytes]] = {}
        for key in column:
            if key is None or key in self._places:
                continue
            if (value := self._values[key]) is None:
                self._places[key] = -1, -1
            else:
                new.setdefault(head_of(value), {})[key] = value
        for head, values in new.items():
            if (arena := by_head.get(head)) is None:
                arena = by_head[head] = len(arenas)
                arenas.append(Arena(self._plans[number], head))
            first = arenas[arena].add(list(values.values()))
            self._places.update((key, (arena, first + i)) for i, key in enumerate(values))
