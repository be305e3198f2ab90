"""How a replica gets features: request fields in, the model's inputs out."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import polars as pl

from raypipe.spec import Pipeline

#: Up to so many rows are asked as plain values: frames take longer than the work.
FEW = 256


class FeatureReader(Protocol):
    """Computes the features of one pipeline as they are known now. Used by one thread at a time."""

    def watermark(self) -> int:
        """The moment up to which it knows what happened, microseconds UTC; a question asked then can be answered.

        Raises:
            FeatureError: it knows nothing yet.
        """
        ...

    def compute(self, requests: pl.DataFrame) -> pl.DataFrame:
        """The features of some requests.

        Args:
            requests: one row a prediction, one column a request field, typed as in the asked stream.

        Returns:
            The feature columns in the pipeline's order, one row a request, in the same order.

        Raises:
            FeatureError: no request can be answered now.
            RequestError: one of these requests cannot be answered; ``where`` names the field.
        """
        ...

    def answer(self, rows: Sequence[Sequence[object]]) -> Sequence[Sequence[object]]:
        """The same of a few requests without frames; errors as in `compute`.

        Args:
            rows: the fields of each request, in the pipeline's order; times as ``datetime`` with a zone.

        Returns:
            For each the features in the pipeline's order: times in microseconds UTC, dates in days, None where there
            is nothing.
        """
        ...

    def state(self) -> tuple[int, int]:
        """Generation of the stored state that was read last, and its watermark in microseconds UTC."""
        ...


#: Opens a reader in the process that needs it. Recipes cross processes, connections do not: it must pickle small.
OpenReader: TypeAlias = Callable[[Pipeline], FeatureReader]
