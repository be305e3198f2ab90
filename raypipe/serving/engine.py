"""From the body of a request to its predictions: one model with everything that belongs to it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from math import nan
from time import perf_counter, thread_time
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from raypipe.clock import iso
from raypipe.contracts.reader import FEW, OpenReader
from raypipe.contracts.scorer import Scorer
from raypipe.errors import FeatureError, RequestError, ServingError
from raypipe.serving.answers import Answers, Told
from raypipe.serving.batcher import Batcher
from raypipe.serving.cache import Cache, Computed, joined
from raypipe.serving.counter import Counter
from raypipe.serving.explain import Explainer, explainer
from raypipe.serving.fields import request_fields
from raypipe.serving.log import Question, Recorder
from raypipe.serving.meter import Meter
from raypipe.serving.model import Model, Served
from raypipe.serving.parse import Parser, Row
from raypipe.serving.tuning import Tuning
from raypipe.spec import micros

Scores: TypeAlias = NDArray[np.float32]
#: Opens what writes down the answers of a model, given the names of its request fields.
OpenRecorder: TypeAlias = Callable[[Model, tuple[str, ...]], Recorder]
#: Opens what counts the answers of a model.
OpenCounter: TypeAlias = Callable[[Model], Counter]


class Prediction(NamedTuple):
    """The answer for one row.

    Attributes:
        score: the probability of the label being true, or of the class that is answered; of numbers the number.
        label: True when the probability is at least the model's threshold; of classes the class; of numbers None.
        version: of the model that answered.
        features_as_of: what was known by then was in the stored features, ISO 8601 UTC.
        arm: the part that it played, such as ``champion``.
        other: what callers are told where it is not probability and label.

    >>> Prediction(12.5, None, 3, "2013-07-03T00:00:00Z", other={"value": 12.5}).value
    12.5
    >>> Prediction(0.25, False, 3, "2013-07-03T00:00:00Z").probability
    0.25
    """

    score: float
    label: bool | str | None
    version: int
    features_as_of: str
    arm: str = "champion"
    other: Told | None = None

    @property
    def value(self) -> float | None:
        """The number that is answered; None where it is a probability."""
        return self.score if self.other is not None and "value" in self.other else None

    @property
    def probability(self) -> float:
        """Of the label being true, or of the class that is answered; NaN where a number is."""
        return nan if self.value is not None else self.score

    @property
    def told(self) -> Told:
        """What the caller is told of the row."""
        return {"probability": self.score, "label": self.label} if self.other is None else self.other

    @property
    def about(self) -> Told:
        """What the caller is told of how it came about."""
        return {"version": self.version, "arm": self.arm, "features_as_of": self.features_as_of}


class Engine:
    """One model version that answers. Immutable: another version is another engine, and a swap is one assignment.

    Args:
        served: which model version.
        open_reader: opens the features of its pipeline in this process.
        meter: counts what happens.
        max_rows: how many rows one request may hold.
        open_recorder: opens the log of what it answers; None: nothing is kept.
        open_counter: opens what counts its answers; None: nobody watches.
        suggested: values of fields for the example; those of a wrong type are passed over.

    Raises:
        RegistryError: the files are not what the digest says.
        FeatureError: its features cannot be computed.
        ServingError: the model cannot be used.
    """

    def __init__(
        self,
        served: Served,
        open_reader: OpenReader,
        meter: Meter,
        *,
        max_rows: int = 4_096,
        open_recorder: OpenRecorder | None = None,
        open_counter: OpenCounter | None = None,
        suggested: Mapping[str, object] | None = None,
    ) -> None:
        self._suggested = suggested or {}
        self.model = Model(served)
        self._scorer = Scorer(self.model.pipeline.name, self.model.encode, self.model.score)
        self.parser = Parser(request_fields(self.model.pipeline), max_rows)
        self.batcher: Batcher[Question, Prediction] = Batcher(self._answer)
        self._reader = open_reader(self.model.pipeline)
        self._meter = meter
        self.cache = Cache()
        self.answers = Answers(self.model.card)
        self._recorder = open_recorder(self.model, self.parser.names) if open_recorder is not None else None
        self._counter = open_counter(self.model) if open_counter is not None else None
        self._rehearse()

    async def answer(self, questions: list[Question]) -> list[Prediction]:
        """Predictions in the order of the questions, computed together with those of others, and in the log.

        Raises:
            RequestError: they cannot be answered, or there are no features now (503), or too much waits (503).
            ServingError: the model failed; never the caller's fault.
        """
        predictions = await self.batcher.submit(questions)
        if self._recorder is not None:
            await self._recorder.settled()
        return predictions

    def predict(self, rows: list[Row]) -> list[Prediction]:
        """Predictions for parsed rows, in their order, which are not kept; errors as in `answer`."""
        (features, matrix, scores), _ = self._computed(rows)
        self._count_unseen(matrix, lambda place: [row[place] for row in features])
        judged, told, version = self.answers.judged(scores), self.answers.told(scores), self.model.served.version
        as_of = iso(self._reader.state()[1])
        return [Prediction(*one, version, as_of, other=other) for one, other in zip(judged, told, strict=True)]

    def matrix(self, rows: list[Row]) -> NDArray[np.float32]:
        """What the model sees of some rows, of shape (rows, columns); errors as in `answer`."""
        return self._computed(rows)[0].matrix

    @cached_property
    def explain(self) -> Explainer:
        """Explains rows of `matrix`; may be used by another thread than the one that predicts."""
        return explainer(self.model)

    def _answer(self, questions: list[Question]) -> list[Prediction]:
        cpu, began = thread_time(), perf_counter()
        rows = [question.row for question in questions]
        (features, matrix, scores), between = self._remembered(rows) if self.cache.most else self._computed(rows)
        ended, state = perf_counter(), self._reader.state()
        unseen = self._count_unseen(matrix, lambda place: [row[place] for row in features])
        judged, told, version = self.answers.judged(scores), self.answers.told(scores), self.model.served.version
        self._meter.computed(version, [question.arm for question in questions], between - began, ended - between)
        for asked in {question.asked.request_id: question.asked for question in questions}.values():
            if asked.span.is_recording():
                asked.part("features", began, between, len(questions))
                asked.part("model", between, ended, len(questions))
        if self._recorder is not None:
            self._recorder.record(questions, features, judged, state, perf_counter())
        if self._counter is not None:
            self._counter.add(questions, matrix, scores, unseen, perf_counter(), thread_time() - cpu)
        both, as_of = zip(questions, judged, told, strict=True), iso(state[1])
        return [Prediction(*one, version, as_of, question.arm, other) for question, one, other in both]

    def _computed(self, rows: list[Row]) -> tuple[Computed, float]:
        """What the model makes of rows, and when it had their features."""
        if self.model.plain and len(rows) <= FEW:
            found = self._answered(rows)
            between = perf_counter()
            return Computed(found, *self._scorer.rows(found)), between
        features = self._features(self.parser.frame(rows))
        between = perf_counter()
        return Computed(features.rows(), *self._scorer.frame(features)), between

    def _remembered(self, rows: list[Row]) -> tuple[Computed, float]:
        """The same, with what was computed before for the same questions from the same stored features."""
        state = self._state()
        known = {row: self.cache.find(state, row) for row in rows}
        new = [row for row, found in known.items() if found is None]
        self._meter.cached(sum(known[row] is not None for row in rows), len(rows))
        between = perf_counter()
        if new:
            computed, between = self._computed(new)
            if self._reader.state() != state:
                # The store moved on meanwhile, so what was kept is of yesterday.
                return (computed, between) if len(new) == len(rows) else self._computed(rows)
            known |= {row: computed.part([place]) for place, row in enumerate(new)}
            self.cache.keep(state, new, computed)
        return joined([found for row in rows if (found := known[row]) is not None]), between

    def _state(self) -> tuple[int, int]:
        try:
            self._reader.watermark()
        except FeatureError as error:
            raise _unavailable(error) from None
        return self._reader.state()

    def tune(self, tuning: Tuning) -> None:
        """Compute as many rows at once, let as many wait, and keep as many answers from now on."""
        self.batcher.max_batch, self.batcher.max_waiting = tuning.batch, tuning.queue
        self.cache.resize(tuning.cache)

    def _count_unseen(self, matrix: Scores, column: Callable[[int], Sequence[object]]) -> dict[str, int]:
        unseen = self.model.encode.unseen(matrix, column)
        for name, count in unseen.items():
            self._meter.unseen(name, count)
        return unseen

    def example(self) -> dict[str, object]:
        """A request that looks real and can be answered now.

        Values are those of the suggestion, else those of a typical golden row, for fields that are features too;
        times are as far as the features reach.
        """
        pipeline, golden = self.model.pipeline, self._typical()
        moment = iso((self._reader.watermark() + micros(pipeline.ask.lead)) // 1_000_000 * 1_000_000)
        example: dict[str, object] = {}
        for field in self.parser.fields:
            known = self._suggested.get(field.name, golden.get(field.name))
            other = moment if field.kind is datetime else field.example
            example[field.name] = known if type(known) is field.kind else other
        return example

    def _typical(self) -> dict[str, object]:
        """The golden row with the fewest gaps and values that training never saw."""
        matrix = self.model.encode(self.model.golden)
        categories = list(self.model.signature.categories)
        odd = np.isnan(matrix).sum(axis=1) + (matrix[:, categories] == 0).sum(axis=1)
        return self.model.golden.row(int(odd.argmin()), named=True)

    def _rehearse(self) -> None:
        """Answer one request before the first caller does: the whole way works, and caches are warm."""
        try:
            rows, _ = self.parser.parse(msgspec.json.encode(self.example()))
            self._computed(rows)
        except RequestError as error:
            raise ServingError(f"its own example is refused: {error}", where=self.model.pipeline.name) from None

    def scores(self, requests: pl.DataFrame) -> Scores:
        """The model's score of each row of a frame of request fields; errors as in `answer`."""
        return self._scorer.frame(self._features(requests))[1]

    def _answered(self, rows: list[Row]) -> Sequence[Sequence[object]]:
        try:
            features = self._reader.answer(rows)
        except FeatureError as error:
            raise _unavailable(error) from None
        _require_all(len(rows), len(features))
        return features

    def _features(self, requests: pl.DataFrame) -> pl.DataFrame:
        try:
            features = self._reader.compute(requests)
        except FeatureError as error:
            raise _unavailable(error) from None
        _require_all(requests.height, features.height)
        return features


def _require_all(asked: int, answered: int) -> None:
    if answered != asked:
        raise ServingError(f"{asked} rows went in, {answered} came out", where="online features")


def _unavailable(error: FeatureError) -> RequestError:
    return RequestError(error.what, where="features", cure=error.cure, status=503)
