"""What became of what all versions answered in the newest ticks: a row is read once, a tick counted when it changes.

Answers lie by the tick's length of time in which they were given, each with what was told of them. Of one of which
nothing is new the tallies stand, so what a tick costs does not grow with the answers of those before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
from raypipe.flows.collect import KINDS
from raypipe.flows.figures import PREDICTED, joined, segmented
from raypipe.flows.measure import Measure
from raypipe.flows.platform import Platform
from raypipe.flows.tail import Tail
from raypipe.flows.watching.joined import Index
from raypipe.flows.watching.known import Known
from raypipe.flows.watching.labels import ID
from raypipe.flows.watching.tallies import Part, Tally, tallied, together
from raypipe.spec import fingerprint

_COLUMNS = (*PREDICTED, "at"), tuple(FEEDBACK.columns)
#: What names an answer in the log: a request may have some of several arms.
_NAMES = list(PREDICTIONS.key)
_HASH = "__hash"


def _empty(place: int) -> pl.DataFrame:
    kinds = {name: KINDS[place].kind.columns[name] for name in _COLUMNS[place]}
    return pl.DataFrame(schema=kinds | {_HASH: pl.UInt64()})


@dataclass
class _Slot:
    """Answers of a stretch of time, what was told of them, and the tallies of both; None: to be counted."""

    answers: pl.DataFrame
    told: pl.DataFrame = field(default_factory=lambda: _empty(1))
    tallies: dict[Part, Tally] | None = None
    _index: Index | None = None

    def has(self, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which rows of either log are about answers in here."""
        if self._index is None:
            self._index = Index(self.answers[_HASH].to_numpy())
        return self._index.find(ids) >= 0

    def change(self, answers: pl.DataFrame, told: pl.DataFrame) -> None:
        """Hold other rows from now on."""
        self._index = self._index if answers is self.answers else None
        self.answers, self.told, self.tallies = answers, told, None

    def count(self, known: Known, by: Sequence[str]) -> dict[Part, Tally]:
        """The tallies, counted anew if anything has changed."""
        if self.answers.is_empty():
            return {}
        if self.tallies is None:
            self.answers = segmented(self.answers, by)
            answers = PREDICTIONS.standing(self.answers.lazy()).collect()
            told = FEEDBACK.standing(self.told.lazy()).collect() if self.told.height else self.told.drop(_HASH)
            rows = joined(answers, told, known.pipeline, known.measure, by)
            self.tallies = tallied(rows, known.measure, by)
        return self.tallies


class Newest:
    """Both logs of a pipeline, followed.

    Args:
        platform: whose logs.
        name: of the pipeline.
    """

    def __init__(self, platform: Platform, name: str) -> None:
        self._platform, self._name, self._span = platform, name, platform.watching.plan.span
        self._begin()

    def _begin(self) -> None:
        self._tails = [
            Tail(self._platform, files, self._name, columns) for files, columns in zip(KINDS, _COLUMNS, strict=True)
        ]
        self._slots: dict[int, _Slot] = {}
        self._early = _empty(1)
        self._how: tuple[tuple[str, ...], Measure, str] | None = None

    def follow(self, since: int) -> None:
        """Read what is new; what was logged before a moment (microseconds UTC) is let go, but for the tick it is in.

        Raises:
            WorkspaceError: the logs cannot be read.
        """
        since = since // self._span * self._span
        try:
            answers, told = self._new(since)
            self._slots = {start: slot for start, slot in self._slots.items() if start >= since}
            self._answered(answers)
            self._told(told, since)
        except BaseException:
            # Some of it may have been read, and not be here.
            self._begin()
            raise

    def _new(self, since: int) -> list[pl.DataFrame]:
        new = [tail.more(since) for tail in self._tails]
        if any(rows is None for rows in new):
            self._begin()
            new = [tail.more(since) for tail in self._tails]
        return [rows.with_columns(ID.hash().alias(_HASH)) for rows in new if rows is not None]

    def _answered(self, rows: pl.DataFrame) -> None:
        for (start,), part in rows.group_by(pl.col("at").cast(pl.Int64) // self._span * self._span):
            self._put(int(str(start)), part)

    def _put(self, start: int, rows: pl.DataFrame) -> None:
        """Answers of one tick. One that was given before, and is asked for again, counts where it was given last."""
        ids = rows[_HASH].to_numpy()
        for other, slot in self._slots.items():
            if other == start or not slot.has(ids).any():
                continue
            if other > start:
                rows = rows.join(slot.answers, on=_NAMES, how="anti", maintain_order="left")
            else:
                moved = slot.told.join(rows, on=_HASH, how="semi", maintain_order="left")
                self._early = pl.concat([self._early, moved])
                left = slot.answers.join(rows, on=_NAMES, how="anti", maintain_order="left")
                slot.change(left, slot.told.join(moved, on=_HASH, how="anti", maintain_order="left"))
        slot = self._slots.setdefault(start, _Slot(_empty(0)))
        slot.change(pl.concat([slot.answers.select(rows.columns), rows]), slot.told)

    def _told(self, rows: pl.DataFrame, since: int) -> None:
        left = pl.concat([self._early, rows])
        # Most of it is about the newest answers.
        for _, slot in sorted(self._slots.items(), reverse=True):
            if not left.height:
                break
            here = slot.has(left[_HASH].to_numpy())
            if here.any():
                slot.change(slot.answers, pl.concat([slot.told, left.filter(here)]))
                left = left.filter(~here)
        # An answer may be seen after what was told of it.
        self._early = left.filter(pl.col("at").cast(pl.Int64) >= since)

    def tallies(self, since: int, known: Known, by: Sequence[str]) -> dict[Part, Tally]:
        """What became of the predictions from a moment on, and from when the tick before it began.

        Args:
            since: microseconds UTC.
            known: its pipeline says what is to be known of them.
            by: request fields, each value of which has tallies of its own.

        Raises:
            WorkspaceError: the logs cannot be read.
        """
        self.follow(since)
        how = tuple(by), known.measure, fingerprint(known.pipeline.value)
        if self._how != how:
            self._how = how
            for slot in self._slots.values():
                slot.change(slot.answers, slot.told)
        return together(slot.count(known, by) for slot in self._slots.values())
