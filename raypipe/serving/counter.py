"""Counting at the replica: what was answered falls into the cells of the version's reference, off the way of a request.

A micro-batch is put aside, which costs a microsecond, and counted by a thread a second later, in one go with all that
came meanwhile. A replica that is killed loses the counts of that second; its prediction log loses nothing.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, Lock, Thread
from time import process_time

import numpy as np
from numpy.typing import NDArray

from raypipe.clock import Clock
from raypipe.contracts import bundle, counts
from raypipe.contracts.arms import CHAMPION
from raypipe.contracts.bins import answers
from raypipe.contracts.counts import Counted
from raypipe.contracts.segment import Segment, segments
from raypipe.contracts.watched import Watched
from raypipe.serving.log import Question
from raypipe.serving.model import Model

logger = logging.getLogger(__name__)

#: What was answered is counted so often, or when so many rows wait.
COUNT_SECONDS, _ROWS = 1.0, 4_096
#: Where nobody reads them, the oldest counts beyond so many bytes go.
_MOST = 128 * 2**20


class Counter:
    """Counts what one version answers.

    Args:
        model: the version; one without a reference has only its rows, latency and cost counted.
        full: called when so many rows wait that they should be counted now.
    """

    def __init__(self, model: Model, full: Callable[[], None]) -> None:
        folder = Path(model.served.folder)
        reference = bundle.bins(folder)
        self.version, self.digest, self.arm = model.served.version, model.served.digest, CHAMPION
        self._watched = None if reference is None else Watched.of(reference)
        self._places = {column.name: place for place, column in enumerate(model.signature.columns)}
        self._full = full
        self._waiting: deque[_Answered] = deque()
        self._rows = 0

    def add(
        self,
        questions: Sequence[Question],
        matrix: NDArray[np.float32],
        scores: NDArray[np.float32],
        unseen: Mapping[str, int],
        now: float,
        seconds: float,
    ) -> None:
        """Put a micro-batch aside.

        Args:
            questions: what was asked.
            matrix: what the model saw, shape (rows, columns); nobody may write into it from now on.
            scores: shape (rows,), of classes (rows, classes).
            unseen: of each category, how many values were never seen in training.
            now: by ``time.perf_counter``.
            seconds: of computing that it took.
        """
        self._waiting.append((questions, matrix, scores, unseen, now, seconds))
        self._rows += len(questions)
        if self._rows >= _ROWS:
            self._full()

    def take(self) -> "tuple[list[_Answered], float]":
        """What waits, and the seconds of computing that it took; it waits no more."""
        # One by one: another thread may be adding.
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self._rows = 0
        return taken, sum(one[5] for one in taken)

    def count(self, taken: "list[_Answered]", at: int, cpu: float) -> Counted:
        """What was taken, counted."""
        questions = [question for one in taken for question in one[0]]
        began = np.array([question.asked.began for question in questions])
        ended = np.repeat([one[4] for one in taken], [len(one[0]) for one in taken])
        self.arm = questions[-1].arm
        return Counted(
            version=self.version,
            digest=self.digest,
            arm=self.arm,
            at=at,
            rows=len(questions),
            cells=self._cells(taken),
            latency=counts.latency_cells(ended - began),
            cpu=cpu,
        )

    def _cells(self, taken: "list[_Answered]") -> bytes:
        if self._watched is None:
            return b""
        matrix, scores = (np.concatenate([one[place] for one in taken]) for place in (1, 2))
        unseen: dict[int, int] = {}
        for one in taken:
            for name, count in one[3].items():
                unseen[self._places[name]] = unseen.get(self._places[name], 0) + count
        return counts.pack(self._watched.binning.count(np.column_stack([matrix, answers(scores)]), unseen))


_Answered = tuple[
    Sequence[Question], NDArray[np.float32], NDArray[np.float32], Mapping[str, int], float, float
]  # as `Counter.add` takes them


class Counts:
    """The counts of one replica, written in turn.

    Args:
        folder: of this pipeline's segments.
        clock: dates them.
        failures: how many rows could not be answered since the process began, by arm.
    """

    def __init__(self, folder: Path, clock: Clock, failures: Callable[[], Mapping[str, int]]) -> None:
        self._folder, self._clock, self._failures = folder, clock, failures
        self._counters: dict[tuple[int, str], Counter] = {}
        self._failed: dict[str, int] = {}
        self._segment: Segment | None = None
        self._computed = process_time()
        self._lock, self._now = Lock(), Event()
        Thread(target=self._run, name="counts", daemon=True).start()

    def counter(self, model: Model) -> Counter:
        """Counts what one version answers."""
        served = model.served
        return self._counters.setdefault((served.version, served.digest), Counter(model, self._now.set))

    def write(self) -> None:
        """Count what waits, and write it down.

        Raises:
            OSError: it cannot be written, and is lost.
        """
        with self._lock:
            taken = [(counter, *counter.take()) for counter in list(self._counters.values())]
            at, busy = self._clock.now(), [one for one in taken if one[1]]
            # What a process does in a second without answers is no answer's cost.
            spent, self._computed = process_time() - self._computed, process_time()
            whole = sum(seconds for _, _, seconds in busy)
            for counter, answered, seconds in busy:
                share = seconds / whole if whole else 1 / len(busy)
                self._append(counter.count(answered, at, spent * share))
            for arm, failed in self._failures().items():
                if more := failed - self._failed.get(arm, 0):
                    self._append(Counted(_version(arm), "", arm, at, 0, b"", {}, 0.0, more))
                    self._failed[arm] = failed

    def _append(self, counted: Counted) -> None:
        if self._segment is not None and self._segment.full:
            self._segment.close()
            self._segment = None
        if self._segment is None:
            self._tidy()
            self._segment = Segment(self._folder, self._clock.now())
        self._segment.append(0, counts.encode(counted))

    def _tidy(self) -> None:
        """Nobody may be reading: the disk is not to be filled with counts."""
        if not self._folder.is_dir():
            return
        sizes = [(path, path.stat().st_size) for path in segments(self._folder)]
        while sizes and sum(size for _, size in sizes) > _MOST:
            path, _ = sizes.pop(0)
            logger.warning("nobody reads the counts: %s goes", path.name)
            path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            self._now.wait(COUNT_SECONDS)
            self._now.clear()
            try:
                self.write()
            except Exception:  # whatever it is, answers come first
                logger.exception("answers were not counted")


def _version(arm: str) -> int:
    """Of a part such as ``challenger/4``; 0 for the champion, whose version whoever reads it knows."""
    return int(arm.partition("/")[2] or 0)
