"""Several versions in one process: whose unit goes to which, what a shadow computes, and who helps out."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from polars.exceptions import PanicException

from raypipe.contracts.arms import CHAMPION, SHADOW, Arm, bucket
from raypipe.errors import RequestError, ServingError
from raypipe.serving.engine import Engine, Prediction
from raypipe.serving.log import Asked, Question
from raypipe.serving.meter import Meter
from raypipe.serving.outputs import outputs_of
from raypipe.serving.parse import Row

#: How many requests may wait for shadows; beyond it they are left out, for answers come first.
SHADOWS_WAITING = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beside:
    """An arm with its model in memory. ``where``: place of a request field, and the text that it must have."""

    arm: Arm
    engine: Engine
    where: tuple[tuple[int, str], ...]

    def wants(self, row: Row, place: int) -> bool:
        """True when a row is its own."""
        return self.arm.owns(place) and all(str(row[at]) == text for at, text in self.where)


class Router:
    """The champion and the arms beside it, as one.

    Args:
        champion: answers whatever nobody else does.
        arms: those beside it, each with its model; they must ask for the same fields.
        salt: spreads the units.
        hash_: turns a unit into what may be logged; None: it is left as it is.
        meter: counts what happens.

    Raises:
        ServingError: an arm's model asks for other fields or predicts something else, or an arm wants a field that
            there is not.
    """

    def __init__(
        self,
        champion: Engine,
        arms: Sequence[tuple[Arm, Engine]] = (),
        *,
        salt: str = "",
        hash_: Callable[[object], str] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.champion, self._salt, self._hash, self._meter = champion, salt, hash_ or str, meter
        beside = [self._beside(arm, engine) for arm, engine in arms]
        # Those of a segment come first: it is their own.
        self._challengers = sorted((b for b in beside if b.arm.role != SHADOW), key=lambda b: not b.where)
        self._shadows = [b for b in beside if b.arm.role == SHADOW]
        unit = champion.model.pipeline.unit
        self._unit = champion.parser.names.index(unit) if unit else None
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, rows: list[Row], asked: Asked) -> list[Prediction]:
        """Predictions for the rows of one request, in their order; errors as in `Engine.answer`."""
        questions = [self._question(row, place, asked) for place, row in enumerate(rows)]
        if not self._challengers and not self._shadows:
            return await self.champion.answer(questions)
        groups: dict[str, list[Question]] = defaultdict(list)
        for question in (self._routed(question) for question in questions):
            groups[question.arm].append(question)
        answers: list[Prediction | None] = [None] * len(rows)
        for arm, group in groups.items():
            for question, prediction in zip(group, await self._answer(arm, group), strict=True):
                answers[question.place] = prediction
        self._shadow(questions)
        return [prediction for prediction in answers if prediction is not None]

    def _question(self, row: Row, place: int, asked: Asked) -> Question:
        return Question(row, place, asked, asked.request_id if self._unit is None else self._hash(row[self._unit]))

    def _routed(self, question: Question) -> Question:
        place = bucket(self._salt, question.unit)
        found = next((b for b in self._challengers if b.wants(question.row, place)), None)
        return question if found is None else question._replace(arm=found.arm.name)

    async def _answer(self, arm: str, group: list[Question]) -> list[Prediction]:
        beside = next((b for b in self._challengers if b.arm.name == arm), None)
        if beside is None:
            return await self.champion.answer(group)
        try:
            return await beside.engine.answer(group)
        except (Exception, PanicException) as error:
            if isinstance(error, RequestError) and error.status < 500:
                raise
            logger.exception("%s failed; the champion answers", arm)
            if self._meter is not None:
                self._meter.failed(arm)
            return await self.champion.answer([question._replace(arm=CHAMPION) for question in group])

    def _shadow(self, questions: list[Question]) -> None:
        """Let shadows compute after the answer: nobody waits for them."""
        for beside in self._shadows:
            wanted = [q for q in questions if beside.wants(q.row, bucket(self._salt, q.unit))]
            if not wanted or len(self._tasks) >= SHADOWS_WAITING:
                continue
            task = asyncio.create_task(self._compute(beside, wanted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _compute(self, beside: Beside, questions: list[Question]) -> None:
        now = perf_counter()
        own = [q._replace(arm=beside.arm.name, answered=False, asked=q.asked._replace(began=now)) for q in questions]
        try:
            await beside.engine.answer(own)
        except (Exception, PanicException):
            logger.exception("%s failed", beside.arm.name)
            if self._meter is not None:
                self._meter.failed(beside.arm.name)

    def _beside(self, arm: Arm, engine: Engine) -> Beside:
        where = f"{engine.model.pipeline.name}/{arm.version}"
        if engine.parser.fields != self.champion.parser.fields:
            raise ServingError("asks for other fields than the champion", where=where, cure="Promote it instead")
        if outputs_of(engine.answers.target).kinds != outputs_of(self.champion.answers.target).kinds:
            raise ServingError("predicts something else than the champion", where=where, cure="Promote it instead")
        names = self.champion.parser.names
        for name, _ in arm.where:
            if name not in names:
                raise ServingError(f"is to answer by `{name}`, which is no request field", where=where)
        return Beside(arm, engine, tuple((names.index(name), text) for name, text in arm.where))
