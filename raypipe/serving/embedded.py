"""A model in the caller's own process: the same checks, features and scores as behind HTTP, without a network."""

from collections.abc import Iterable, Mapping
from threading import Lock

from raypipe.contracts.reader import OpenReader
from raypipe.serving.engine import Engine, Prediction
from raypipe.serving.fields import Value
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served


class Embedded:
    """One model version with its features. Safe to share between threads, which take turns.

    Args:
        served: which version.
        open_reader: opens its features in this process.

    Attributes:
        name: of the pipeline.
        version: of the model; a version that becomes champion later is not followed: load again.

    Raises:
        RegistryError: the files are not what the digest says.
        FeatureError: no features are stored.
        ServingError: the model cannot be used.
    """

    def __init__(self, served: Served, open_reader: OpenReader) -> None:
        self._engine = Engine(served, open_reader, Meter())
        self._turn = Lock()
        self.name, self.version = self._engine.model.pipeline.name, served.version

    def predict(self, **fields: Value) -> Prediction:
        """Ask one question.

        Args:
            fields: what the pipeline's request declares; times as datetimes with a zone, or as RFC 3339 text.

        Raises:
            RequestError: it cannot be answered; ``where`` names the field.
        """
        return self.predict_many([fields])[0]

    def predict_many(self, rows: Iterable[Mapping[str, Value]]) -> list[Prediction]:
        """Ask many questions at once; the answers are in their order.

        Raises:
            RequestError: one of them cannot be answered; ``where`` names it, such as ``rows[3].carrier``.
        """
        asked = self._engine.parser.convert(list(rows))
        with self._turn:
            return self._engine.predict(asked)

    @property
    def example(self) -> dict[str, object]:
        """A question that looks real and can be answered now."""
        return self._engine.example()
