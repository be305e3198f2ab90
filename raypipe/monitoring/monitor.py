"""The state of watching one model version: counts come in, ticks are closed, each with a report.

Nothing here reads a clock or a file. The state is a few arrays of fixed size, goes into bytes and comes back exactly,
and counts that arrive twice are counted once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from raypipe.contracts.watched import Watched
from raypipe.contracts.watching import ColumnDrift, DriftReport
from raypipe.monitoring.breaks import breaks
from raypipe.monitoring.usual import Usual
from raypipe.stats import effect
from raypipe.stats.arrays import Ints
from raypipe.stats.bins import ABOVE
from raypipe.stats.seasonal import Hours, Seasonal
from raypipe.stats.shift import SCALES, STREAMS, Floats, Scores, scores, threshold, tried, windows_of

#: An alarm is over after so many ticks in a row with less than this part of what raised it.
_QUIET_TICKS, _QUIET = 3, 0.7
#: Sources of counts that said nothing for so long are forgotten.
_FORGET = 1_000


@dataclass(frozen=True)
class Plan:
    """How a model is watched.

    Attributes:
        budget: ticks between two false alarms, on average, over all columns and windows together.
        material: a move by less than this share is no alarm, however certain it is.
        rows: a tick is closed when it holds so many predictions (None: however many),
        span: or after so long, in microseconds, if it holds at least `least`; else it goes on.
        least: predictions below which a tick says nothing.
    """

    budget: float = 2_160.0
    material: float = 0.03
    rows: int | None = 1_000
    span: int = 3_600_000_000
    least: int = 200

    def closes(self, rows: int, after: int) -> bool:
        """Whether a tick of so many rows is closed so many microseconds after it was opened."""
        return (self.rows is not None and rows >= self.rows) or (after >= self.span and rows >= self.least)


class _State(msgspec.Struct):
    tick: int
    opened: int
    pending: bytes
    ring: list[bytes]
    hours: list[dict[int, int]]  # the last ones are those of the open tick
    sequences: dict[str, tuple[int, int]]
    open: dict[int, tuple[int, int]]  # column: raised in tick, quiet ticks since
    usual: Usual = msgspec.field(default_factory=Usual)
    closed: list[int] = []  # when each tick of the ring was closed; of the first: when it was opened


class Monitor:
    """Watches one model version.

    Args:
        pipeline: its name.
        version: of the model.
        watched: its reference.
        plan: how it is watched.
        importance: by how much the score depends on each input, shape (columns - 1,); None: alike. What follows the
            clock counts for nothing.
        seasonal: what is usual at which time; None: all ticks are alike.
        at: when watching begins, microseconds UTC.
    """

    def __init__(
        self,
        pipeline: str,
        version: int,
        watched: Watched,
        plan: Plan,
        *,
        importance: Floats | None = None,
        seasonal: Seasonal | None = None,
        at: int = 0,
    ) -> None:
        self.pipeline, self.version, self.watched, self.plan = pipeline, version, watched, plan
        self._seasonal, self._is_category, self._is_clock = seasonal, watched.is_category, watched.is_clock
        inputs = len(watched.names) - 1
        weights = np.ones(inputs) if importance is None or not importance.sum() else importance
        weights = np.where(self._is_clock[:-1], 0.0, weights)
        self._importance = np.append(weights / max(weights.sum(), 1e-12), 0.0)
        self._limit = threshold(plan.budget, tried(watched.counts[~self._is_clock]))
        self._centres = _centres(watched)
        self._spread = effect.spread(watched.counts, self._centres)
        self._spread[self._spread == 0] = 1.0
        self._median = np.where(watched.is_category, np.nan, effect.quantile(watched.counts, self._centres, 0.5))
        self._pending = np.zeros_like(watched.counts)
        self._ring: list[Ints] = [np.zeros_like(watched.counts)]
        self._hours: list[dict[int, int]] = [{}]
        self._tick, self._opened = 0, at
        self._closed = [at]
        self._sequences: dict[str, tuple[int, int]] = {}
        self._open: dict[int, tuple[int, int]] = {}
        self._usual = Usual()

    def add(self, counts: Ints, source: str = "", sequence: int = 0, hours: Hours | None = None) -> bool:
        """Count predictions; False when they had been counted before.

        Args:
            counts: of the columns of ``watched``, by its binning.
            source: who counted, such as a replica.
            sequence: rises with each delivery of a source; 0: it does not number them.
            hours: rows by the hour of the week in which they were asked; a seasonal reference needs it.
        """
        if self._seasonal is not None and hours is None:
            raise ValueError("a seasonal reference has nothing to compare with rows of no hour")
        if sequence and sequence <= self._sequences.get(source, (0, 0))[0]:
            return False
        self._pending += counts
        for hour, rows in (hours or {}).items():
            self._hours[-1][hour] = self._hours[-1].get(hour, 0) + rows
        if sequence:
            self._sequences[source] = (sequence, self._tick)
        return True

    @property
    def opened(self) -> int:
        """When the tick began that is open, microseconds UTC."""
        return self._opened

    @property
    def rows(self) -> int:
        """Predictions in the open tick."""
        return int(self._pending[-1].sum())

    def ready(self, at: int, failed: int = 0) -> bool:
        """Whether the tick can be closed, in which so many rows were asked about and not answered."""
        return self.plan.closes(self.rows + failed, at - self._opened)

    def close(self, at: int) -> DriftReport:
        """Close the tick, test all windows that end with it, and say what there is to say.

        Args:
            at: now, microseconds UTC.
        """
        rows = self.rows
        self._ring = [*self._ring, self._ring[-1] + self._pending][-(max(SCALES) + 1) :]
        self._pending = np.zeros_like(self._pending)
        opened, self._tick, self._opened = self._opened, self._tick + 1, at
        self._closed = [*self._closed, at][-len(self._ring) :]
        self._sequences = {s: n for s, n in self._sequences.items() if self._tick - n[1] < _FORGET}
        scales, windows = windows_of(self._ring)
        found, limit = self._scores(windows)
        excess = found.z / limit
        self._hours = [*self._hours, {}][-max(SCALES) - 1 :]
        columns = self._columns(scales, windows, found.distance, excess, self._material(found))
        lasting = max((column.ticks for column in columns if column.open_for is not None), default=1)
        seasonal = self._seasonal
        return DriftReport(
            pipeline=self.pipeline,
            version=self.version,
            at=at,
            tick=self._tick,
            rows=rows,
            columns=tuple(sorted(columns, key=lambda column: -column.excess)),
            breaks=self._breaks(windows[0], rows, opened, at),
            budget=self.plan.budget,
            calibrated="even" if seasonal is None else f"seasonal, {seasonal.days} days",
            onset=self._closed[-1 - lasting],
        )

    def _breaks(self, window: Ints, rows: int, opened: int, at: int) -> tuple[str, ...]:
        """What looks broken in the newest tick, beside all that was seen before it."""
        volume = self._usual.volume(rows, opened, at)
        found = breaks(window, self.watched, self._usual)
        self._usual.count(rows, opened, at)
        return found if volume is None else (volume, *found)

    def _scores(self, windows: Ints) -> tuple[Scores, float]:
        """How far the windows are from what is usual, and from where on that is an alarm."""
        if self._seasonal is None:
            return scores(windows, self.watched.counts, self._is_category), self._limit
        recent = np.stack([later - sooner for sooner, later in pairwise(self._ring)])
        return self._seasonal.scores(recent, self._hours[-len(recent) :]), self._seasonal.limit

    def _material(self, found: Scores) -> NDArray[np.bool_]:
        """Which moves are large enough to matter, beyond what chance does to the largest of many gaps."""
        distance = found.distance.copy()
        distance[..., 0] -= self._limit / np.sqrt(np.maximum(found.effective, 1.0))
        large: NDArray[np.bool_] = distance >= self.plan.material
        return large

    def _columns(
        self,
        scales: Sequence[int],
        windows: Ints,
        distance: Floats,
        excess: Floats,
        material: NDArray[np.bool_],
    ) -> list[ColumnDrift]:
        """Each column where it shows most; what is certain and small must not hide what is certain and large."""
        loud = (excess > 1) & material & ~self._is_clock[:, None]
        raised = np.logical_or.reduce(loud, axis=(0, 2))
        shown = np.where(loud | ~raised[:, None], excess, -np.inf)
        scale, stream = np.divmod(shown.transpose(1, 0, 2).reshape(len(raised), -1).argmax(axis=1), len(STREAMS))
        every = np.arange(len(raised))
        window, top = windows[scale, every], excess[scale, every, stream]
        far, matters = distance[scale, every, stream], material[scale, every, stream]
        sizes = self._sizes(window)
        return [
            ColumnDrift(
                column=self.watched.names[i],
                stream=STREAMS[stream[i]],
                ticks=scales[scale[i]],
                excess=float(top[i]),
                distance=float(far[i]),
                material=bool(matters[i]),
                importance=float(self._importance[i]),
                psi=float(sizes["psi"][i]),
                jensen_shannon=float(sizes["jensen_shannon"][i]),
                wasserstein=float(sizes["wasserstein"][i]),
                median_before=_known(self._median[i]),
                median_after=_known(sizes["median"][i]),
                open_for=self._latch(i, float(top[i]), raised=bool(raised[i])),
                clock=bool(self._is_clock[i]),
            )
            for i in every.tolist()
        ]

    def _sizes(self, window: Ints) -> dict[str, Floats]:
        """How large the moves are, in the measures that people know; shape (columns,) each."""
        reference = self.watched.counts
        return {
            "psi": effect.population_stability(window, reference),
            "jensen_shannon": effect.jensen_shannon(window, reference),
            "wasserstein": effect.wasserstein(window, reference, self._centres) / self._spread,
            "median": np.where(np.isnan(self._median), np.nan, effect.quantile(window, self._centres, 0.5)),
        }

    def _latch(self, i: int, excess: float, *, raised: bool) -> int | None:
        """An alarm stays open until it has been quiet for a while, and is raised once."""
        known = self._open.get(i)
        if known is None:
            if not raised:
                return None
            self._open[i] = (self._tick, 0)
            return 0
        since, quiet = known
        quiet = quiet + 1 if excess < _QUIET else 0
        if quiet >= _QUIET_TICKS:
            del self._open[i]
            return None
        self._open[i] = (since, quiet)
        return self._tick - since

    def snapshot(self) -> bytes:
        """The whole state; `restore` on a monitor made of the same arguments brings it back exactly."""
        state = _State(
            tick=self._tick,
            opened=self._opened,
            pending=self._pending.tobytes(),
            ring=[counts.tobytes() for counts in self._ring],
            hours=self._hours,
            sequences=self._sequences,
            open=self._open,
            usual=self._usual,
            closed=self._closed,
        )
        return msgspec.msgpack.encode(state)

    def restore(self, snapshot: bytes) -> None:
        """Go on where the snapshot was taken."""
        state = msgspec.msgpack.decode(snapshot, type=_State)
        self._tick, self._opened = state.tick, state.opened
        self._pending = self._read(state.pending).copy()
        self._ring = [self._read(counts) for counts in state.ring]
        self._hours, self._sequences = state.hours, state.sequences
        # Another release raised alarms on columns that follow the clock.
        self._open = {i: since for i, since in state.open.items() if not self._is_clock[i]}
        self._usual = state.usual
        # Another release has not kept them: what moves now is taken to have begun with the open tick.
        self._closed = state.closed or [state.opened] * len(self._ring)

    def _read(self, content: bytes) -> NDArray[np.int64]:
        return np.frombuffer(content, dtype=np.int64).reshape(self.watched.counts.shape)


def _centres(watched: Watched) -> Floats:
    """What stands for the cells of each number, shape (columns, `ABOVE` + 1); zeros for a category."""
    made = np.zeros((len(watched.names), ABOVE + 1))
    for i, (starts, high) in enumerate(zip(watched.binning.starts, watched.binning.highs, strict=True)):
        if starts is not None:
            made[i] = effect.centres(starts.astype(float), high)
    return made


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
