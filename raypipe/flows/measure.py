"""Answers beside what was told of them, and what each one lost: one measure for every task.

The score of a model of truths is a probability, and the truth 0 or 1. Of classes the score is how sure the model is of
the class that it answers, and the truth whether that is right. Numbers stand beside numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from raypipe.contracts import bundle
from raypipe.contracts.judged import JudgedNumbers
from raypipe.contracts.logs import told_in
from raypipe.contracts.records import ModelVersion
from raypipe.contracts.target import BINARY, Target
from raypipe.stats.estimate import Floats, log_loss, point_loss

#: What names a prediction in both logs.
KEY = ("request_id", "row")
#: The difference of losses that is looked for between two versions: of truths and classes; of numbers as a share of
#: what was usual when the model was judged.
_SCALE, _NUMBERS = 0.02, 0.1


@dataclass(frozen=True)
class Measure:
    """How the answers of a pipeline's models are measured.

    Attributes:
        target: what they predict.
        numbers: how the one in service did, where it answers numbers: what is usual, and what an error.
    """

    target: Target = BINARY
    numbers: JudgedNumbers | None = None

    @classmethod
    def of(cls, version: ModelVersion | None) -> "Measure":
        """As a version measures itself; None: as a model of truths.

        Raises:
            RegistryError: a file of the bundle is damaged.
        """
        if version is None:
            return cls()
        folder = Path(version.folder)
        reference = bundle.bins(folder)
        return cls(bundle.card(folder).target, None if reference is None else reference.numbers)

    @property
    def name(self) -> str:
        """What versions are compared by."""
        if self.target.classes:
            return "wrong answers"
        return "pinball loss" if self.target.quantile is not None else "squared error"

    @property
    def scale(self) -> float:
        """How large a difference of `compared` is looked for."""
        return _NUMBERS if self.target.numeric else _SCALE

    def beside(self, predictions: pl.DataFrame, feedback: pl.DataFrame, on: Sequence[str] = KEY) -> pl.DataFrame:
        """Predictions with ``told``, as it was told, ``truth``, a number, and what else the feedback holds.

        What is not known is null. Of classes ``predictions`` hold the ``category`` that was answered.
        """
        known = pl.col(told_in(self.target)).alias("told")
        others = [name for name in feedback.columns if name not in {*on, "at", "label", "number", "category"}]
        rows = predictions.join(feedback.select(*on, known, *others), on=list(on), how="left", maintain_order="left")
        truth = pl.col("told") == pl.col("category") if self.target.classes else pl.col("told")
        return rows.with_columns(truth.cast(pl.Float64).alias("truth"))

    @property
    def loss(self) -> pl.Expr:
        """By which versions are compared: what a row lost, out of ``score`` and ``truth``."""
        if self.target.classes:
            return 1 - pl.col("truth")
        gap = pl.col("truth") - pl.col("score")
        if self.target.quantile is None:
            return gap.pow(2)
        return pl.max_horizontal(self.target.quantile * gap, (self.target.quantile - 1) * gap)

    @property
    def compared(self) -> pl.Expr:
        """The same; numbers as a multiple of what was usual, so that one scale fits every unit; null: unknown."""
        if not self.target.numeric:
            return self.loss
        return self.loss / self.numbers.loss if self.numbers is not None and self.numbers.loss else pl.lit(None)

    def losses(self, score: Floats, truth: Floats) -> Floats:
        """What a row lost, as the model was judged: the log loss, or as `loss`."""
        return point_loss(truth, score, self.target.quantile) if self.target.numeric else log_loss(truth, score)

    @property
    def wrong(self) -> pl.Expr | None:
        """Which rows count as errors; None where nobody has said what one is."""
        if self.target.classes:
            return pl.col("truth") == 0
        if not self.target.numeric:
            return pl.col("told") != pl.col("label")
        return None if self.numbers is None else self.loss > self.numbers.limit
