"""What all versions answered in the newest ticks, with what was told of it: read once, kept until it is older."""

import polars as pl

from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
from raypipe.flows.collect import KINDS
from raypipe.flows.figures import PREDICTED
from raypipe.flows.platform import Platform
from raypipe.flows.tail import Tail


class Newest:
    """Both logs of a pipeline, followed.

    Args:
        platform: whose logs.
        name: of the pipeline.
    """

    def __init__(self, platform: Platform, name: str) -> None:
        self._platform, self._name = platform, name
        self._begin()

    def _begin(self) -> None:
        columns = (*PREDICTED, "at"), tuple(FEEDBACK.columns)
        self._tails = [
            Tail(self._platform, files, self._name, names) for files, names in zip(KINDS, columns, strict=True)
        ]
        self._rows = [
            pl.DataFrame(schema={name: files.kind.columns[name] for name in names})
            for files, names in zip(KINDS, columns, strict=True)
        ]

    def follow(self, since: int) -> None:
        """Read what is new; what was logged before a moment (microseconds UTC) is let go.

        Raises:
            WorkspaceError: the logs cannot be read.
        """
        try:
            new = self._new(since)
        except BaseException:
            # One of them may have been read.
            self._begin()
            raise
        young = pl.col("at").cast(pl.Int64) >= since
        self._rows = [pl.concat(both).filter(young) for both in zip(self._rows, new, strict=True)]

    def _new(self, since: int) -> list[pl.DataFrame]:
        new = [tail.more(since) for tail in self._tails]
        if any(rows is None for rows in new):
            self._begin()
            new = [tail.more(since) for tail in self._tails]
        return [rows for rows in new if rows is not None]

    def since(self, moment: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Predictions, with the columns `PREDICTED`, and feedback from a moment on, one row each, as it stands.

        Raises:
            WorkspaceError: the logs cannot be read.
        """
        self.follow(moment)
        predictions, feedback = self._rows
        return PREDICTIONS.standing(predictions.lazy()).collect(), FEEDBACK.standing(feedback.lazy()).collect()
