"""Why an alarm: in one paragraph a person can act on, from what is at hand in seconds.

Broken data comes first: nothing else is to be believed before. Then which inputs moved, ranked by how far times how
much the score depends on them, and checked by giving each its old values back. Then who is hit: whether there are more
of the hard cases (mix) or the cases became harder (within). Then what changed upstream.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from raypipe.clock import to_second
from raypipe.contracts.records import Record
from raypipe.contracts.watching import ColumnDrift, DriftReport, PerformanceReport
from raypipe.monitoring.sentinel import sentinel
from raypipe.monitoring.units import converted
from raypipe.stats.shift import Floats
from raypipe.words import amount

Matrix: TypeAlias = NDArray[np.float32]
#: Fewer rows, of a segment or of a side, say nothing about it.
_LEAST = 200
_SHOWN = 3


class Blamed(Record, frozen=True, kw_only=True):
    """One input that moved: how far, and by how much the mean score falls when it gets its old values back."""

    column: str
    distance: float
    importance: float
    swap: float


class Segment(Record, frozen=True, kw_only=True):
    """One value of a column, and its part in the change of the mean loss: ``mix + within`` sum to the change."""

    column: str
    value: str
    rows: int
    mix: float
    within: float


class Diagnosis(Record, frozen=True, kw_only=True):
    """What is behind an alarm: ``text`` is the paragraph, ``breaks`` those of the report and columns in other units."""

    breaks: tuple[str, ...]
    blamed: tuple[Blamed, ...]
    segments: tuple[Segment, ...]
    upstream: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Sides:
    """Rows before and after, as the model sees them: matrices of shape (rows, inputs), and the names of the inputs.

    Without ``score`` nothing is swapped. What is ``computed`` of values, such as a mean over a window, is in no unit of
    its own: it moves by any factor with the season.
    """

    columns: tuple[str, ...]
    before: Matrix
    after: Matrix
    score: Callable[[Matrix], NDArray[np.float32]] | None
    computed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Losses:
    """Losses of labelled rows with what each row belongs to, by column; before and after."""

    before: Floats
    after: Floats
    segments_before: Mapping[str, Sequence[str]]
    segments_after: Mapping[str, Sequence[str]]


def diagnose(
    report: DriftReport,
    sides: Sides | None = None,
    losses: Losses | None = None,
    upstream: Sequence[str] = (),
    found: PerformanceReport | None = None,
) -> Diagnosis:
    """Say what is behind the open alarms of a report.

    Args:
        report: of the tick in which they are open.
        sides: rows of the reference and of now; without them nothing is swapped.
        losses: of labelled rows; without them, or with few from one of the sides, nobody is found to be hit.
        upstream: what changed when it began, in words, such as snapshots and deployments.
        found: what came true, when an alarm of errors is to be explained as well.
    """
    moved = sorted(report.alarms, key=lambda column: (-column.importance * column.distance, -column.excess))
    blamed = tuple(
        Blamed(
            column=column.column,
            distance=column.distance,
            importance=column.importance,
            swap=swap(sides, column.column) if sides and column.column in sides.columns else 0.0,
        )
        for column in moved
    )
    segments = tuple(split(losses)) if losses and _enough(losses) else ()
    breaks = broken(report, sides)
    said = [*_breaks(breaks), *_risen(found), *_moved(report, blamed), *_hit(segments, losses), *_upstream(upstream)]
    text = " ".join(said)
    return Diagnosis(breaks=breaks, blamed=blamed, segments=segments, upstream=tuple(upstream), text=text)


def broken(report: DriftReport, sides: Sides | None) -> tuple[str, ...]:
    """What looks broken: what counts tell, and of the open alarms what rows tell, as far as they are at hand."""
    # Whoever asks again is not told twice.
    return tuple(dict.fromkeys([*report.breaks, *_odd_values(report.alarms, sides)]))


def swap(sides: Sides, column: str) -> float:
    """By how much the mean score of today's rows would differ if this input had kept its old values.

    The other inputs stay as they are, so what only moves together with others shows little here.
    """
    if sides.score is None:
        return 0.0
    place, rows = sides.columns.index(column), sides.after
    changed = rows.copy()
    changed[:, place] = np.resize(np.random.default_rng(0).permutation(sides.before[:, place]), len(rows))
    return float(sides.score(rows).mean(dtype=float) - sides.score(changed).mean(dtype=float))


def split(losses: Losses) -> list[Segment]:
    """The change of the mean loss, taken apart exactly by each column's values; the largest parts first.

    ``mix`` is what the change of the segment's share would do at the old losses, measured from the old mean; ``within``
    what its own change of loss does at the new shares. Over the values of one column they sum to the whole change.

    >>> losses = Losses(np.ones(4), np.array([1, 1, 3, 3.0]), {"a": list("xxyy")}, {"a": list("xxyy")})
    >>> [(part.value, part.mix, part.within) for part in split(losses)]
    [('y', 0.0, 1.0), ('x', 0.0, 0.0)]
    """
    parts = []
    mean = float(losses.before.mean())
    for column, names in losses.segments_after.items():
        after, before = np.asarray(names), np.asarray(losses.segments_before[column])
        for value in sorted({*after.tolist(), *before.tolist()}):
            now, then = losses.after[after == value], losses.before[before == value]
            share, usual = len(now) / len(after), len(then) / len(before)
            old = float(then.mean()) if len(then) else mean
            within = share * (float(now.mean()) - old) if len(now) else 0.0
            mix = (share - usual) * (old - mean)
            parts.append(Segment(column=column, value=str(value), rows=len(now), mix=mix, within=within))
    return sorted(parts, key=lambda part: -abs(part.mix + part.within))


def _odd_values(moved: Sequence[ColumnDrift], sides: Sides | None) -> Iterator[str]:
    """Columns that come in another unit, or with a value that stands for none."""
    for column in moved:
        if sides is None or column.column not in sides.columns:
            continue
        place = sides.columns.index(column.column)
        before, after = sides.before[:, place], sides.after[:, place]
        found = None if column.column in sides.computed else converted(before, after)
        if found is not None:
            yield f"{column.column}: likely in another unit, its values are those of the reference {found.shown}"
        # A category that is new is one that was not there when the model was made, and is counted as that.
        elif column.median_before is not None and (value := sentinel(before, after)) is not None:
            yield f"{column.column}: {value:g} likely stands for no value, it was hardly there in the reference"


def _breaks(breaks: Sequence[str]) -> list[str]:
    if not breaks:
        return []
    return [f"This looks like broken data, which should be mended and not learned from: {'; '.join(breaks)}."]


def _risen(found: PerformanceReport | None) -> list[str]:
    if found is None or found.onset is None:
        return []
    before, after = found.error_rates
    return [f"The share of errors went from {before:.1%} to {after:.1%}, since {to_second(found.onset)}."]


def _moved(report: DriftReport, blamed: Sequence[Blamed]) -> list[str]:
    if not blamed:
        return ["No input has moved enough to raise an alarm."]
    columns = {column.column: column for column in report.columns}
    said = []
    for one in blamed[:_SHOWN]:
        column = columns[one.column]
        what = f"{one.column} ({_direction(column.median_before, column.median_after, column.stream)}"
        what += f", distance {one.distance:.2f}"
        what += f", it moves the mean score by {one.swap:+.3f})" if one.swap else ")"
        said.append(what)
    rest = f" and {len(blamed) - _SHOWN} more" if len(blamed) > _SHOWN else ""
    ticks = max(columns[one.column].ticks for one in blamed[:_SHOWN])
    return [f"Inputs that have moved, over about {amount(ticks, 'tick')}: {', '.join(said)}{rest}."]


def _direction(before: float | None, after: float | None, stream: str) -> str:
    if stream != "values":
        return f"share of {stream}"
    if before is None or after is None:
        return "shares of its values"
    return f"median {before:.4g} to {after:.4g}" if before != after else "spread, at the same median"


def _enough(losses: Losses) -> bool:
    return min(len(losses.before), len(losses.after)) >= _LEAST


def _hit(segments: Sequence[Segment], losses: Losses | None) -> list[str]:
    if losses is None:
        return ["No labels were looked at to say who is hit."]
    before, after = len(losses.before), len(losses.after)
    if not (before or after):
        return ["No labels are in yet to say who is hit."]
    if not _enough(losses):
        known = f"{before:,} are from before it, {after:,} since"
        return [f"To say who is hit takes {_LEAST} labelled rows of both sides: {known}."]
    change = float(losses.after.mean() - losses.before.mean())
    said = [f"The mean loss went from {losses.before.mean():.4f} to {losses.after.mean():.4f}."]
    shown = [part for part in segments if part.rows >= _LEAST and abs(part.mix + part.within) >= 0.1 * abs(change)]
    for part in shown[:_SHOWN]:
        why = (
            "there are more or fewer of them than before"
            if abs(part.mix) > abs(part.within)
            else "the model does worse or better on them"
        )
        said.append(f"{part.column} {part.value} accounts for {part.mix + part.within:+.4f} of it: {why}.")
    return said


def _upstream(upstream: Sequence[str]) -> list[str]:
    return [f"Changed upstream about then: {'; '.join(upstream)}."] if upstream else []
