"""What the cluster has made, piece by piece as it comes in; its errors as they were raised there."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import polars as pl

from raypipe.errors import FeatureError

if TYPE_CHECKING:
    from ray.data import Dataset

_SAID = re.compile(rf"^{FeatureError.__module__}\.{FeatureError.__qualname__}: (.+)$", re.MULTILINE)


def pieces(made: "Dataset", rows: int | None = None) -> Iterator[pl.DataFrame]:
    """The rows of a dataset, so many at a time, or as they are made.

    Raises:
        FeatureError: as it was raised there. Ray Data keeps an error's text alone, behind its trace.
    """
    from ray.exceptions import RayTaskError

    try:
        for piece in made.iter_batches(batch_size=rows, batch_format="pyarrow"):
            yield pl.DataFrame(piece)
    except RayTaskError as error:
        if said := _SAID.search(str(error)):
            raise FeatureError(said[1]) from None
        raise
