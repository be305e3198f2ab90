"""Labels that name no class of a model: misspelt as a rule, and counted as wrong whatever was answered."""

from collections.abc import Collection

import polars as pl

from raypipe.contracts.records import Record
from raypipe.errors import nearest
from raypipe.flows.measure import KEY
from raypipe.words import amount

#: A label is shown up to so many characters, and only if it looks like a class: anything else may be a secret.
_SHOWN = 40


class Unknown(Record, frozen=True, kw_only=True):
    """Labels of a model's predictions that name none of its classes.

    Attributes:
        labels: how many,
        of: out of how many labels.
        example: one that is like a class; empty: none is, and none is shown.
        meant: the class that it is like.
    """

    labels: int
    of: int
    example: str = ""
    meant: str = ""

    @property
    def words(self) -> str:
        """For people.

        >>> Unknown(labels=3, of=900, example="slwo", meant="slow").words
        '3 labels of 900 name no class of the model, such as `slwo` (`slow`?): they count as wrong. ...'
        """
        such = f", such as `{self.example}` (`{self.meant}`?)" if self.example else ""
        name = "names" if self.labels == 1 else "name"
        counts = "it counts" if self.labels == 1 else "they count"
        what = f"{amount(self.labels, 'label')} of {self.of:,} {name} no class of the model{such}: {counts} as wrong."
        return f"{what} What is told again with the right label stands."


def unknown(predictions: pl.DataFrame, feedback: pl.DataFrame, classes: Collection[str]) -> Unknown | None:
    """Of the labels of some predictions; None: each names a class, or the model has none.

    Args:
        predictions: rows of the prediction log.
        feedback: rows of the feedback log, the last word on each prediction.
        classes: of the model; empty: it answers something else.
    """
    if not classes:
        return None
    told = feedback.join(predictions.select(KEY).unique(), on=list(KEY), how="semi")["category"].drop_nulls()
    odd = told.filter(~told.is_in(list(classes)))
    if not odd.len():
        return None
    texts = odd.value_counts(sort=True, name="times").sort("times", "category", descending=[True, False])["category"]
    like = ((text, nearest(text, classes)) for text in texts.head(100) if len(text) <= _SHOWN)
    example, meant = next(((text, near) for text, near in like if near), ("", ""))
    return Unknown(labels=odd.len(), of=told.len(), example=example, meant=meant)
