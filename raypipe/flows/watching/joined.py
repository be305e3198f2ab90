"""The answers of a version beside what was told of them, kept while labels may come: no row is looked for twice.

Answers lie by the span of time in which they were given. A new label is looked up in the spans by a sorted index, so
what it costs to take one in does not grow with the answers that wait; a span says when it changed last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from raypipe.contracts.logs import told_in
from raypipe.flows.measure import Measure
from raypipe.stats.arrays import Ints

#: What is known of a label: of which answer, when it was told, and what.
LABEL = {"id": pl.UInt64(), "at": pl.Int64(), "label": pl.Boolean(), "number": pl.Float64(), "category": pl.String()}
#: What is known of an answer.
ANSWER = {"id": pl.UInt64(), "at": pl.Int64(), "score": pl.Float64(), "category": pl.String()}


class Index:
    """Where ids are among others, by bisection: what a look-up costs hardly grows with how many there are."""

    def __init__(self, ids: NDArray[np.uint64]) -> None:
        self._order = np.argsort(ids)
        self._keys = ids[self._order]

    def find(self, ids: NDArray[np.uint64]) -> Ints:
        """The place of each; -1: it is not here."""
        if not len(self._keys):
            return np.full(len(ids), -1)
        near = np.searchsorted(self._keys, ids).clip(max=len(self._keys) - 1)
        return np.where(self._keys[near] == ids, self._order[near], -1)


@dataclass
class _Span:
    """Answers by time, with ``truth`` (NaN: not known), when it was ``heard``, and when any of it ``changed``."""

    rows: pl.DataFrame
    changed: int

    @cached_property
    def _index(self) -> Index:
        return Index(self.rows["id"].to_numpy())

    def find(self, ids: NDArray[np.uint64]) -> Ints:
        """The place of each; -1: it is not here."""
        return self._index.find(ids)

    def tell(self, places: Ints, told: pl.DataFrame, measure: Measure, stamp: int) -> None:
        """Labels of the answers at some places; what was told last stands."""
        truth, heard = self.rows["truth"].to_numpy(writable=True), self.rows["heard"].to_numpy(writable=True)
        beside = measure.beside(self.rows[places].select("id", "category"), told, ["id"])
        new, when = beside["truth"].fill_null(np.nan).to_numpy(), told["at"].to_numpy()
        newer = when >= heard[places]
        places, new, when = places[newer], new[newer], when[newer]
        if not (new == truth[places]).all():
            self.changed = stamp
        truth[places], heard[places] = new, when
        self.rows = self.rows.with_columns(pl.Series("truth", truth), pl.Series("heard", heard))


class Joined:
    """Takes in answers and labels in whatever order they come, and however often.

    Args:
        measure: of the version's answers.
        span: microseconds that are taken together.
    """

    def __init__(self, measure: Measure, span: int) -> None:
        self._measure, self._span = measure, span
        self._spans: dict[int, _Span] = {}
        self._early = pl.DataFrame(schema=LABEL)

    def add(self, answers: pl.DataFrame, told: pl.DataFrame, stamp: int) -> None:
        """Take in more.

        Args:
            answers: columns `ANSWER`; of two with one id the first stands.
            told: columns `LABEL`; of two about one answer the one that was told last stands.
            stamp: spans that change are known to have changed at this moment.
        """
        self._answered(answers.sort("at").unique("id", keep="first", maintain_order=True), stamp)
        self._told(told, stamp)

    def rows(self, since: int, due: Callable[[int, int, int], bool]) -> pl.DataFrame:
        """Answers of spans from a moment on, as ``at``, ``score``, ``truth``, by time.

        Args:
            since: the start of a span.
            due: says which spans, by the start, when it changed, and its newest answer.
        """
        frames = [
            span.rows.select("at", "score", "truth")
            for start, span in sorted(self._spans.items())
            if start >= since and due(start, span.changed, span.rows["at"][-1])
        ]
        kinds = {"at": pl.Int64(), "score": pl.Float64(), "truth": pl.Float64()}
        return pl.concat(frames) if frames else pl.DataFrame(schema=kinds)

    def usual(self, since: int, until: int) -> float:
        """How many answers a span has, from one moment to another."""
        counts = [(span.rows["at"] <= until).sum() for start, span in self._spans.items() if start >= since]
        return float(sum(counts)) / max(sum(count > 0 for count in counts), 1)

    def forget(self, before: int) -> None:
        """Spans that start before a moment are done with."""
        self._spans = {start: span for start, span in self._spans.items() if start >= before}

    def _answered(self, rows: pl.DataFrame, stamp: int) -> None:
        for span in self._spans.values():
            if not rows.height:
                return
            rows = rows.filter(span.find(rows["id"].to_numpy()) < 0)
        new = rows.with_columns(truth=pl.lit(np.nan), heard=pl.lit(np.iinfo(np.int64).min, pl.Int64))
        for (start,), part in new.group_by(pl.col("at") // self._span * self._span, maintain_order=True):
            there = self._spans.get(int(str(start)))
            together = part if there is None else pl.concat([there.rows, part]).sort("at", maintain_order=True)
            self._spans[int(str(start))] = _Span(together, stamp)

    def _told(self, told: pl.DataFrame, stamp: int) -> None:
        told = told.drop_nulls(told_in(self._measure.target))
        left = pl.concat([self._early, told]).sort("at", maintain_order=True)
        left = left.unique("id", keep="last", maintain_order=True)
        # Most labels are of the newest spans.
        for _, span in sorted(self._spans.items(), reverse=True):
            if not left.height:
                break
            places = span.find(left["id"].to_numpy())
            if (places >= 0).any():
                span.tell(places[places >= 0], left.filter(places >= 0), self._measure, stamp)
                left = left.filter(places < 0)
        # An answer may be seen after its label; what nobody has answered for a whole span is of another version.
        self._early = left.filter(pl.col("at") >= pl.col("at").max() - self._span)
