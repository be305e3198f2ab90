"""How good a model turned out to be: labels come late, twice, corrected, or never, and are joined by request id.

A prediction belongs to the span of time in which it was made, however late its label comes. The newest spans are shown
as not mature: labels that come early are not like those that come late. What raises an alarm is counted from mature
spans only, each label once: those that come after most have, and corrections, are taken in until their time is over.
What is shown is always computed from what is known now.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

import msgspec
import numpy as np
from msgspec import structs
from numpy.typing import NDArray
from scipy.special import logit

from raypipe.contracts.bins import Judged, slices
from raypipe.contracts.watching import Cohort, PerformanceReport
from raypipe.stats import recalibrate
from raypipe.stats.cusum import Cusum, rise
from raypipe.stats.estimate import (
    Estimate,
    calibrate,
    corrected,
    expected_log_loss,
    log_loss,
    log_loss_variance,
    mean,
    wilson,
)
from raypipe.stats.exact import Ints
from raypipe.stats.shift import Floats

#: How sure it is that a model that is as good as ever has no more errors than the detector takes for usual: one side of
#: this interval.
_BELIEF = 0.9
#: A rise of the share of errors by this factor is what the detector is made for.
_RISE = 1.25
#: A span is mature when so large a share of its predictions has a label, or its labels have had their time.
_MATURE = 0.9
#: Standard deviations that errors must be away from what could be chance.
_SURE = 3.0
#: Scores are recalibrated on this many mature spans.
_RECENT = 28
#: An alarm of errors is over when so many spans in a row that came after it have no more of them than there may be.
_NORMAL = 28
#: When errors rose is looked for in so many spans.
_REMEMBERED = 400


class Counted(msgspec.Struct, frozen=True):
    """What was taken into account of a span so far, while more of its labels may come.

    Attributes:
        seen: labels, errors, and labels that are true.
        spared: by a recalibration, log loss summed over its rows.
        scored: its scores with their labels.
    """

    seen: tuple[int, int, int] = (0, 0, 0)
    spared: float = 0.0
    scored: recalibrate.Summed = []


class Memory(msgspec.Struct):
    """What the outcomes of a version have come to: each label is taken into account once.

    Attributes:
        total: the cumulative sum of errors.
        regret: what a recalibration would have spared.
        labels: how many were taken into account.
        alarm: whether the share of errors has risen for certain.
        raised: the start of the span that raised the alarm.
        errors: of the newest mature spans the start, the errors, and the labels.
        scored: of the newest settled spans the scores and their labels: what scores are recalibrated by.
        counted: by their starts the mature spans of which more may become known.
        settled: the starts of the spans whose labels have had their time, as far as they are remembered.
        through: spans that start before are done with.
        whole: when all spans that are not done with were looked at last, microseconds UTC.
        shown: the newest spans, as they were when they were looked at last.
    """

    total: float = 0.0
    regret: float = 0.0
    labels: int = 0
    alarm: bool = False
    raised: int = 0
    errors: list[tuple[int, int, int]] = []
    scored: list[recalibrate.Summed] = []
    counted: dict[int, Counted] = {}
    settled: list[int] = []
    through: int = 0
    whole: int = 0
    shown: list[Cohort] = []


@dataclass
class _Span:
    start: int
    place: dict[str, int] = field(default_factory=dict)
    score: list[float] = field(default_factory=list)
    label: list[float] = field(default_factory=list)  # NaN: none yet
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
        judged: Judged,
        *,
        span: int,
        settles: int,
        budget: float = 100_000.0,
        keep: int = 60,
        memory: Memory | None = None,
    ) -> None:
        self._judged, self._span, self._settles, self._keep = judged, span, settles, keep
        # What it was judged on is few rows: errors may have been more than they were there by chance.
        rows = sum(judged.rows)
        low = min(max(wilson(round(judged.error * rows), rows, _BELIEF).high, 1e-4), 0.7)
        self.cusum = Cusum.designed(low, min(low * _RISE, 0.95), budget)
        self._expected = calibrate(np.array(judged.rows), np.array(judged.trues))
        self._spans: OrderedDict[int, _Span] = OrderedDict()
        self._where: dict[str, int] = {}
        self._early: dict[str, tuple[int, float]] = {}
        self._versions: dict[str, int] = {}
        # A copy: whoever asks and throws the answer away must find what there was.
        self._memory = structs.replace(memory) if memory else Memory()

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
                span = self._spans[start] = _Span(start, settled=start in self._memory.settled)
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
            truth: likewise, 0 or 1; NaN: not known yet.
        """
        if not len(at):
            return
        starts, firsts = np.unique(at - at % self._span, return_index=True)
        for start, first, end in zip(starts.tolist(), firsts, [*firsts[1:], len(at)], strict=True):
            span = self._spans.setdefault(start, _Span(start, settled=start in self._memory.settled))
            span.score += score[first:end].tolist()
            span.label += truth[first:end].tolist()
        self._forget()

    def labelled(self, ids: Sequence[str], truth: Floats, versions: Sequence[int] | Ints | None = None) -> None:
        """Join labels. The same label twice counts once; of corrections the one with the highest version stands.

        Args:
            ids: of the requests they belong to.
            truth: shape (rows,), 0 or 1.
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
                self._count(span)
                span.settled = at >= self._over(span)
                if span.settled:
                    self._settle(span.start)
        shown = sorted(self._spans.values(), key=lambda span: span.start)[-cohorts:]
        onset, rise = self._risen() if self._memory.alarm and self._memory.errors else (None, 0.0)
        return PerformanceReport(
            at=at,
            cohorts=tuple(self._cohort(span, at) for span in shown),
            reference=(self._judged.loss, self._judged.error),
            alarm=self._memory.alarm,
            onset=onset,
            error_rise=rise,
            detects=self.cusum.delay,
            regret=self._memory.regret,
            new_labels=self._memory.labels,
            unmatched=len(self._early),
        )

    @property
    def memory(self) -> Memory:
        """What it has come to by the last report."""
        settled = {span.start for span in self._spans.values() if span.settled}
        return structs.replace(self._memory, settled=sorted(settled.union(self._memory.settled))[-self._keep :])

    def _count(self, span: _Span) -> None:
        """Take in what is new of a mature span: at first all of it, then what came since or was corrected."""
        memory, before = self._memory, self._memory.counted.get(span.start, Counted())
        score, truth = _known(span)
        wrong = (score >= self._judged.threshold) != (truth > 0.5)
        seen = len(truth), int(wrong.sum()), int(truth.sum())
        if seen == before.seen:
            return
        labels, errors = seen[0] - before.seen[0], seen[1] - before.seen[1]
        if before.seen[0]:
            # Which rows are new is not known: they are taken as evenly mixed.
            memory.total = peak = self.cusum.add(memory.total, errors, labels)
        else:
            memory.total, peak = self.cusum.through(memory.total, wrong)
        if peak >= self.cusum.limit and not memory.alarm:
            memory.alarm, memory.raised = True, span.start
        others = (one.scored for start, one in memory.counted.items() if start != span.start)
        usual = recalibrate.fit_summed([*memory.scored, *others][-_RECENT:])
        spared = float((log_loss(truth, score) - log_loss(truth, recalibrate.apply(score, *usual))).sum())
        # What chance gives one day it takes the next: only what lasts adds up.
        memory.regret = max(0.0, memory.regret + spared - before.spared)
        memory.labels += labels
        known = [one for one in memory.errors if one[0] != span.start]
        memory.errors = [*known, (span.start, seen[1], seen[0])][-_REMEMBERED:]
        memory.counted = {**memory.counted, span.start: Counted(seen, spared, recalibrate.summed(score, truth))}
        self._calm()

    def _settle(self, start: int) -> None:
        """Its labels have had their time: nothing more is taken in."""
        memory, counted = self._memory, dict(self._memory.counted)
        if start in counted:
            memory.scored = [*memory.scored, counted.pop(start).scored][-_RECENT:]
            memory.counted = counted

    def _calm(self) -> None:
        """The alarm stays while a policy may be held back; it is over when errors have been normal for weeks."""
        memory = self._memory
        newest = sorted(one for one in memory.errors if one[0] > memory.raised)[-_NORMAL:]
        wrong, rows = (sum(one[i] for one in newest) for i in (1, 2))
        if memory.alarm and len(newest) == _NORMAL and wrong <= self.cusum.low * rows:
            memory.alarm, memory.total = False, 0.0

    def _risen(self) -> tuple[int, float]:
        """The span with which errors rose, and by how much; what it was judged on stands before all of them."""
        starts, wrong, rows = zip(*sorted(self._memory.errors), strict=True)
        judged = sum(self._judged.rows)
        first = rise(np.array([self._judged.error * judged, *wrong]), np.array([judged, *rows])) - 1
        errors = sum(wrong[first:])
        low = max(errors - _SURE * sqrt(errors), 0.0) / sum(rows[first:])
        return int(starts[first]), max(low / max(self._judged.error, 1e-4) - 1, 0.0)

    def _mature(self, span: _Span, at: int) -> bool:
        if at < span.start + self._span:
            return False
        known = sum(value == value for value in span.label)
        return known >= _MATURE * len(span.label) or at >= self._over(span)

    def _over(self, span: _Span) -> int:
        """From when on labels that have not come are not waited for."""
        return span.start + self._span + self._settles

    def _cohort(self, span: _Span, at: int) -> Cohort:
        score, truth = _known(span)
        everything = np.array(span.score)
        wrong = int(((score >= self._judged.threshold) != (truth > 0.5)).sum())
        losses = log_loss(truth, score)
        expected = expected_log_loss(_look_up(self._expected, everything), everything)
        likely = _look_up(self._expected, score)
        of_labelled, chance = expected_log_loss(likely, score), log_loss_variance(likely, score)
        return Cohort(
            start=span.start,
            predictions=len(everything),
            labelled=len(truth),
            mature=self._mature(span, at),
            loss=_interval(mean(losses)) if len(truth) else (float("nan"),) * 3,
            error=_interval(wilson(wrong, len(truth))),
            estimated=_interval(corrected(expected, of_labelled, losses, chance, self._unsure(everything))),
        )

    def _unsure(self, score: Floats) -> float:
        """The variance of the mean expected loss of these scores, which comes of the rows it was judged on."""
        weights = np.bincount(slices(score), weights=logit(score.clip(1e-7, 1 - 1e-7)), minlength=len(self._expected))
        rows = np.maximum(np.array(self._judged.rows), 1)
        return float(((weights / len(score)) ** 2 * self._expected * (1 - self._expected) / rows).sum())

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


def _look_up(expected: Floats, score: Floats) -> Floats:
    found: Floats = expected[slices(score)]
    return found


def _interval(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
