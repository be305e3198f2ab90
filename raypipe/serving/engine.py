"""From the body of a request to its predictions: one model with everything that belongs to it."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from raypipe.contracts.reader import OpenReader
from raypipe.errors import ServingError
from raypipe.serving.batcher import Batcher
from raypipe.serving.fields import request_fields
from raypipe.serving.meter import Meter
from raypipe.serving.model import Model, Served
from raypipe.serving.parse import Parser, Row


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one row.

    Attributes:
        probability: of the label being true.
        label: True when the probability is at least the model's threshold.
    """

    probability: float
    label: bool


class Engine:
    """One model version that answers. Immutable: another version is another engine, and a swap is one assignment.

    Args:
        served: which model version.
        open_reader: opens the features of its pipeline in this process.
        meter: counts what happens.
        max_rows: how many rows one request may hold.

    Raises:
        RegistryError: the files are not what the digest says.
        ServingError: the model or its features cannot be used.
    """

    def __init__(self, served: Served, open_reader: OpenReader, meter: Meter, *, max_rows: int = 4_096) -> None:
        self.model = Model(served)
        self.parser = Parser(request_fields(self.model.pipeline), max_rows)
        self.batcher = Batcher(self.predict)
        self._reader = open_reader(self.model.pipeline)
        self._meter = meter
        self._threshold = self.model.card.threshold

    async def answer(self, body: bytes) -> tuple[list[Prediction], bool]:
        """Predictions for the rows of a body, and whether it was written as many rows.

        Raises:
            RequestError: the body is not a request to this model.
        """
        rows, many = self.parser.parse(body)
        return await self.batcher.submit(rows), many

    def predict(self, rows: list[Row]) -> list[Prediction]:
        """Predictions for parsed rows.

        Raises:
            ServingError: the features or the scores are not what they must be; never the caller's fault.
        """
        features = self._features(rows)
        matrix = self.model.encode(features)
        scores = self.model.score(matrix)
        if not np.isfinite(scores).all():
            raise ServingError("the model gave a score that is not a number", where=self.model.pipeline.name)
        for name, count in self.model.encode.unseen(features, matrix).items():
            self._meter.unseen(name, count)
        # Seven digits are all that a float32 holds.
        return [Prediction(round(score, 7), score >= self._threshold) for score in scores.tolist()]

    def _features(self, rows: list[Row]) -> pl.DataFrame:
        features = self._reader.compute(self.parser.frame(rows))
        if features.height != len(rows):
            raise ServingError(f"{len(rows)} rows went in, {features.height} came out", where="online features")
        return features
