"""How a replica gets features: request fields in, the model's inputs out."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

import polars as pl

from raypipe.spec import Pipeline


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

    def state(self) -> tuple[int, int]:
        """Generation of the stored state that the last `compute` read, and its watermark in microseconds UTC."""
        ...


#: Opens a reader in the process that needs it. Recipes cross processes, connections do not: it must pickle small.
OpenReader: TypeAlias = Callable[[Pipeline], FeatureReader]
