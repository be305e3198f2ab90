"""What a version answers to rows of features, as a gate looks at it."""

from pathlib import Path

import numpy as np
import polars as pl

from raypipe.contracts import bundle
from raypipe.spec.questions import PREDICTION


def answers(folder: Path, rows: pl.DataFrame) -> pl.Series:
    """One answer a row: the most probable class of several, else the score; called ``prediction``.

    Raises:
        RegistryError: the bundle is damaged, or the rows lack a feature.
    """
    from raypipe.registry.pyfunc import Scorer  # ONNX Runtime: reading the registry does not need it

    scores = np.asarray(Scorer(folder).score(rows))
    if classes := bundle.card(folder).target.classes:
        return pl.Series(PREDICTION, [classes[at] for at in scores.argmax(axis=1)], dtype=pl.String)
    return pl.Series(PREDICTION, scores.astype(np.float64))
