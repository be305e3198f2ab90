"""How good a model turned out to be: labels come late, twice, corrected, or never, and are joined by request id.

A prediction belongs to the span of time in which it was made, however late its label comes. The newest spans are shown
as not mature: labels that come early are not like those that come late. What raises an alarm is counted from mature
spans only, each label once: those that come after most have, and corrections, are taken in until their time is over.
What is shown is always computed from what is known now.
"""

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from raypipe.contracts.judged import Judged, JudgedNumbers
from raypipe.contracts.watching import Cohort, PerformanceReport
from raypipe.monitoring.sums import Memory, Sums
from raypipe.monitoring.yardstick import yardstick
from raypipe.stats.arrays import Ints
from raypipe.stats.cusum import Cusum
from raypipe.stats.estimate import Estimate, corrected, mean, wilson
from raypipe.stats.shift import Floats

#: A span is mature when so large a share of its predictions has a label, or its labels have had their time.
_MATURE = 0.9


@dataclass
class _Span:
    start: int
    place: dict[str, int] = field(default_factory=dict)
    score: "array[float]" = field(default_factory=lambda: array("d"))
    label: "array[float]" = field(default_factory=lambda: array("d"))  # NaN: none yet
    settled: bool = False


class Performance:
    """Joins labels to predictions of one model version and keeps the score.

    Args:
        judged: the rows it was judged on; what is normal is read from them.
        span: predictions of so many microseconds are taken together.
        settles: microseconds after which a label that has not come is not waited for.
        budget: labels between two false alarms, on average.
        keep: spans that are remembered; labels that come later than that belong to nothing.
        memory: of what was known before; then the same rows may be handed in again.
    """

    def __init__(
        self,
        judged: Judged | JudgedNumbers,
        *,
        span: int,
        settles: int,
        budget: float = 100_000.0,
        keep: int = 60,
        memory: Memory | None = None,
    ) -> None:
        self._judged, self._span, self._settles, self._keep = judged, span, settles, keep
        self._by = yardstick(judged)
        self._sums = Sums(self._by, budget, memory)
        self._spans: OrderedDict[int, _Span] = OrderedDict()
        self._where: dict[str, int] = {}
        self._early: dict[str, tuple[int, float]] = {}
        self._versions: dict[str, int] = {}

    def predicted(self, ids: Sequence[str], at: Sequence[int] | Ints, score: Floats) -> None:
        """Remember predictions; one that is remembered already is left as it is.

        Args:
            ids: of the requests.
            at: when each was answered, microseconds UTC.
            score: shape (rows,).
        """
        for name, moment, value in zip(ids, np.asarray(at).tolist(), score.tolist(), strict=True):
            if name in self._where:
                continue
            start = moment - moment % self._span
            span = self._spans.get(start)
            if span is None:
                span = self._spans[start] = _Span(start, settled=start in self._sums.memory.settled)
            self._where[name] = start
            span.place[name] = len(span.score)
            span.score.append(value)
            early = self._early.pop(name, None)
            span.label.append(float("nan") if early is None else early[1])
        self._forget()

    def joined(self, at: Ints, score: Floats, truth: Floats) -> None:
        """Take in rows that are new to it, with their labels, by time.

        Args:
            at: when each was answered, microseconds UTC, rising; shape (rows,).
            score: likewise.
            truth: likewise, 0 or 1, or the number; NaN: not known yet.
        """
        if not len(at):
            return
        starts, firsts = np.unique(at - at % self._span, return_index=True)
        for start, first, end in zip(starts.tolist(), firsts, [*firsts[1:], len(at)], strict=True):
            span = self._spans.setdefault(start, _Span(start, settled=start in self._sums.memory.settled))
            span.score.frombytes(score[first:end].astype(np.float64).tobytes())
            span.label.frombytes(truth[first:end].astype(np.float64).tobytes())
        self._forget()

    def labelled(self, ids: Sequence[str], truth: Floats, versions: Sequence[int] | Ints | None = None) -> None:
        """Join labels. The same label twice counts once; of corrections the one with the highest version stands.

        Args:
            ids: of the requests they belong to.
            truth: shape (rows,), 0 or 1, or the number.
            versions: of each label; None: the one that came last.
        """
        order = range(len(ids)) if versions is None else np.asarray(versions).tolist()
        for name, value, version in zip(ids, np.asarray(truth, dtype=float).tolist(), order, strict=True):
            if versions is not None:
                if version < self._versions.get(name, version):
                    continue
                self._versions[name] = version
            start = self._where.get(name)
            if start is None:
                self._early[name] = (0, value)
            else:
                span = self._spans[start]
                span.label[span.place[name]] = value

    def report(self, at: int, cohorts: int = 8) -> PerformanceReport:
        """What is known now; what has become known of mature spans since the last report is taken into account."""
        for span in self._spans.values():
            if not span.settled and self._mature(span, at):
                self._sums.take(span.start, *_known(span))
                span.settled = at >= self._over(span)
                if span.settled:
                    self._sums.settle(span.start)
        shown = sorted(self._spans.values(), key=lambda span: span.start)[-cohorts:]
        risen = self._sums.risen()
        return PerformanceReport(
            at=at,
            cohorts=tuple(self._cohort(span, at) for span in shown),
            reference=(self._judged.loss, self._judged.error),
            alarm=self._sums.memory.alarm,
            onset=risen.onset,
            error_rise=risen.rise,
            error_rates=risen.rates,
            detects=self.cusum.delay,
            regret=self._sums.memory.regret,
            new_labels=self._sums.memory.labels,
            unmatched=len(self._early),
        )

    @property
    def cusum(self) -> Cusum:
        """What watches errors."""
        return self._sums.cusum

    @property
    def memory(self) -> Memory:
        """What it has come to by the last report."""
        settled = {span.start for span in self._spans.values() if span.settled}
        return structs.replace(
            self._sums.memory, settled=sorted(settled.union(self._sums.memory.settled))[-self._keep :]
        )

    def _mature(self, span: _Span, at: int) -> bool:
        if at < span.start + self._span:
            return False
        known = np.count_nonzero(~np.isnan(np.array(span.label)))
        return bool(known >= _MATURE * len(span.label) or at >= self._over(span))

    def _over(self, span: _Span) -> int:
        """From when on labels that have not come are not waited for."""
        return span.start + self._span + self._settles

    def _cohort(self, span: _Span, at: int) -> Cohort:
        score, truth = _known(span)
        everything = np.array(span.score)
        wrong, losses = int(self._by.wrong(score, truth).sum()), self._by.losses(score, truth)
        of_labelled, chance = self._by.expected(score), self._by.chance(score)
        return Cohort(
            start=span.start,
            predictions=len(everything),
            labelled=len(truth),
            mature=self._mature(span, at),
            loss=_interval(mean(losses)) if len(truth) else (float("nan"),) * 3,
            error=_interval(wilson(wrong, len(truth))),
            estimated=_interval(
                corrected(self._by.expected(everything), of_labelled, losses, chance, self._by.unsure(everything))
            ),
        )

    def _forget(self) -> None:
        while len(self._spans) > self._keep:
            _, span = self._spans.popitem(last=False)
            for name in span.place:
                del self._where[name]
                self._versions.pop(name, None)
        while len(self._early) > 100_000:
            self._early.pop(next(iter(self._early)))


def _known(span: _Span) -> tuple[Floats, Floats]:
    truth, score = np.array(span.label), np.array(span.score)
    known: NDArray[np.bool_] = ~np.isnan(truth)
    return score[known], truth[known]


def _interval(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
