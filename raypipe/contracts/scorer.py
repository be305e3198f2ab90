"""From feature values to scores: the code that a replica runs for each request, and that training times."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raypipe.contracts.encode import Encoder
from raypipe.errors import ServingError

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Scorer:
    """One model behind the encoding of its inputs. Each method gives the matrix that the model saw, and the scores.

    Attributes:
        name: of the model, for errors.
        encode: makes the matrix, of shape (rows, columns).
        score: the model: one score a row, or of classes one a class.
    """

    name: str
    encode: Encoder
    score: Callable[[Matrix], Matrix]

    def rows(self, rows: Sequence[Sequence[object]]) -> tuple[Matrix, Matrix]:
        """Of a few rows of plain values, up to `raypipe.contracts.reader.FEW`.

        Raises:
            ServingError: a score is not a number.
        """
        return self._scored(self.encode.rows(rows))

    def frame(self, frame: pl.DataFrame) -> tuple[Matrix, Matrix]:
        """Of many rows; errors as in `rows`."""
        return self._scored(self.encode(frame))

    def _scored(self, matrix: Matrix) -> tuple[Matrix, Matrix]:
        scores = self.score(matrix)
        if not np.isfinite(scores).all():
            raise ServingError("the model gave a score that is not a number", where=self.name)
        return matrix, scores
