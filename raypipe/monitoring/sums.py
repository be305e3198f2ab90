"""What the outcomes of a version have come to, in little room: each label is taken into account once, and as it stands.

Errors are summed label by label. Regret is what a mere recalibration of the scores would have spared.
"""

from math import sqrt
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import structs

from raypipe.contracts.watching import Cohort
from raypipe.monitoring.yardstick import Yardstick
from raypipe.stats.cusum import Cusum, rise
from raypipe.stats.estimate import wilson
from raypipe.stats.recalibrate import Summed
from raypipe.stats.shift import Floats

#: How sure it is that a model that is as good as ever has no more errors than the detector takes for usual: one side of
#: this interval.
_BELIEF = 0.9
#: A rise of the share of errors by this factor is what the detector is made for.
_RISE = 1.25
#: Standard deviations that errors must be away from what could be chance.
_SURE = 3.0
#: Scores are recalibrated on this many mature spans.
_RECENT = 28
#: An alarm of errors is over when so many spans in a row that came after it have no more of them than there may be.
_NORMAL = 28
#: When errors rose is looked for in so many spans.
_REMEMBERED = 400
#: Of so many spans more may become known: older ones are not looked at any more.
_OPEN = 100


class Counted(msgspec.Struct, frozen=True):
    """What was taken into account of a span so far, while more of its labels may come.

    Attributes:
        seen: labels, errors, and the mark of the labels.
        spared: by a recalibration, log loss summed over its rows.
        scored: its scores with their labels.
    """

    seen: tuple[int, int, int] = (0, 0, 0)
    spared: float = 0.0
    scored: Summed = []


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
        shown: the newest spans, as they were when they were looked at last,
        usual: and how many answers one had.
        read: when the logs were read last, microseconds UTC,
        heard: and what told then whether more has been told since.
    """

    total: float = 0.0
    regret: float = 0.0
    labels: int = 0
    alarm: bool = False
    raised: int = 0
    errors: list[tuple[int, int, int]] = []
    scored: list[Summed] = []
    counted: dict[int, Counted] = {}
    settled: list[int] = []
    through: int = 0
    whole: int = 0
    shown: list[Cohort] = []
    usual: float = 1.0
    read: int = 0
    heard: str = ""


class Risen(NamedTuple):
    """How the share of errors has risen.

    Attributes:
        onset: the start of the span with which it did; None: no alarm is open.
        rise: by how much, in parts, for certain.
        rates: the share until then, what it was judged on included, and since.
    """

    onset: int | None = None
    rise: float = 0.0
    rates: tuple[float, float] = (0.0, 0.0)


class Sums:
    """Takes in spans of outcomes.

    Args:
        yardstick: measures answers, and knows what is normal.
        budget: labels between two false alarms, on average, or more.
        memory: of what was known before.
    """

    def __init__(self, yardstick: Yardstick, budget: float, memory: Memory | None = None) -> None:
        self._by, judged = yardstick, yardstick.judged
        # What it was judged on is few rows: errors may have been more than they were there by chance.
        rows = sum(judged.rows)
        low = min(max(wilson(round(judged.error * rows), rows, _BELIEF).high, 1e-4), 0.7)
        self.cusum = Cusum.designed(low, min(low * _RISE, 0.95), budget)
        # A copy: whoever asks and throws the answer away must find what there was.
        self.memory = structs.replace(memory) if memory else Memory()

    def take(self, start: int, score: Floats, truth: Floats) -> None:
        """Take in what is new of a span: at first all of it, then what came since or was corrected.

        Args:
            start: of the span, microseconds UTC.
            score: of all rows of which the label is known, by time; shape (rows,).
            truth: likewise.
        """
        memory, before = self.memory, self.memory.counted.get(start, Counted())
        wrong = self._by.wrong(score, truth)
        seen = len(truth), int(wrong.sum()), self._by.mark(truth)
        if seen == before.seen:
            return
        labels, errors = seen[0] - before.seen[0], seen[1] - before.seen[1]
        if before.seen[0]:
            # Which rows are new is not known: they are taken as evenly mixed.
            memory.total = peak = self.cusum.add(memory.total, errors, labels)
        else:
            memory.total, peak = self.cusum.through(memory.total, wrong)
        if peak >= self.cusum.limit and not memory.alarm:
            memory.alarm, memory.raised = True, start
        others = (one.scored for other, one in memory.counted.items() if other != start)
        spared = self._by.spared(score, truth, [*memory.scored, *others][-_RECENT:])
        # What chance gives one day it takes the next: only what lasts adds up.
        memory.regret = max(0.0, memory.regret + spared - before.spared)
        memory.labels += labels
        known = [one for one in memory.errors if one[0] != start]
        memory.errors = [*known, (start, seen[1], seen[0])][-_REMEMBERED:]
        memory.counted = {**memory.counted, start: Counted(seen, spared, self._by.summed(score, truth))}
        if len(memory.counted) > _OPEN:
            self.settle(min(memory.counted))
        self._calm()

    def settle(self, start: int) -> None:
        """Its labels have had their time: nothing more is taken in."""
        memory, counted = self.memory, dict(self.memory.counted)
        if start in counted:
            memory.scored = [*memory.scored, counted.pop(start).scored][-_RECENT:]
            memory.counted = counted

    def _calm(self) -> None:
        """The alarm stays while a policy may be held back; it is over when errors have been normal for weeks."""
        memory = self.memory
        newest = sorted(one for one in memory.errors if one[0] > memory.raised)[-_NORMAL:]
        wrong, rows = (sum(one[i] for one in newest) for i in (1, 2))
        if memory.alarm and len(newest) == _NORMAL and wrong <= self.cusum.low * rows:
            # When errors rise again it is asked since when they did that.
            memory.alarm, memory.total, memory.errors = False, 0.0, newest

    def risen(self) -> Risen:
        """Since when there are more errors, and by how much."""
        if not (self.memory.alarm and self.memory.errors):
            return Risen()
        # What it was judged on stands before all of them.
        starts, wrong, rows = zip(*sorted(self.memory.errors), strict=True)
        judged = sum(self._by.judged.rows)
        usual = self._by.judged.error * judged
        first = rise(np.array([usual, *wrong]), np.array([judged, *rows])) - 1
        errors, labels = sum(wrong[first:]), sum(rows[first:])
        low = max(errors - _SURE * sqrt(errors), 0.0) / labels
        before = (usual + sum(wrong[:first])) / (judged + sum(rows[:first]))
        above = max(low / max(self._by.judged.error, 1e-4) - 1, 0.0)
        return Risen(int(starts[first]), above, (before, errors / labels))
