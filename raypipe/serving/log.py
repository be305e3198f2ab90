"""The prediction log of one replica: every answer is in a file of this process before it is sent.

One write a micro-batch. Whoever kills the process loses nothing, for the system holds what was written. In mode
``fast`` the disk has it a second later; in mode ``strict`` it has it before the answer goes out. Files are read into
the lake by `raypipe.flows.collect`; nothing there is on the way of a request.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from math import isfinite
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple

import msgspec
import polars as pl
from opentelemetry.trace import INVALID_SPAN, Span

from raypipe.clock import Clock, SystemClock
from raypipe.contracts.logs import PREDICTIONS
from raypipe.contracts.segment import Segment, frames
from raypipe.errors import RequestError
from raypipe.observe import part
from raypipe.serving.parse import Row
from raypipe.spec import Log

logger = logging.getLogger(__name__)

#: In mode ``fast``, the longest that an answer is in the system's memory alone.
SYNC_SECONDS = 1.0
_LAYOUT, _ANSWERS = 0, 1
_encode = msgspec.msgpack.Encoder().encode


class Asked(NamedTuple):
    """A request: its id, when it came (microseconds UTC), the same by ``time.perf_counter``, and its span."""

    request_id: str
    at: int
    began: float
    span: Span = INVALID_SPAN

    def part(self, name: str, began: float, ended: float, rows: int) -> None:
        """Work on it, and on ``rows`` rows of all who asked at once, from and to by ``time.perf_counter``."""
        first, last = (self.at * 1_000 + int((moment - self.began) * 1e9) for moment in (began, ended))
        part(name, self.span, first, last, rows=rows)


class Question(NamedTuple):
    """One row of a request on its way to an answer.

    ``place`` is its place among the request's rows, ``unit`` the hash of whom it is about.
    """

    row: Row
    place: int
    asked: Asked
    unit: str = ""
    arm: str = "champion"
    answered: bool = True


class _Layout(msgspec.Struct, array_like=True):
    """What the values of the rows are called, and which model gave the scores."""

    version: int
    digest: str
    fields: tuple[str, ...]
    features: tuple[str, ...]


class _Answers(msgspec.Struct, array_like=True):
    """A micro-batch: the place of its layout in the file, what it read, and its rows."""

    layout: int
    generation: int
    watermark: int
    rows: list[tuple[str, int, int, str, str, bool, int, float, bool | str | None, list[object], list[object]]]


class Keyed:
    """Hashes that tell nothing to those who lack the key.

    >>> keyed = Keyed(b"secret")
    >>> keyed("N14228") == keyed("N14228"), keyed("N14228") == Keyed(b"other")("N14228")
    (True, False)
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, value: object) -> str:
        """32 hex digits; the same for the same value."""
        return hmac.new(self._key, str(value).encode(), sha256).hexdigest()[:32]


class Recorder:
    """Writes down what one model answers.

    Args:
        log: where to.
        kept: what may be kept.
        layout: of the model.
        hash_: for what is kept hashed.
    """

    def __init__(self, log: "PredictionLog", kept: Log, layout: _Layout, hash_: Keyed) -> None:
        self._log, self._hash = log, hash_
        self._fields = _Allowed(layout.fields, kept.fields, kept.hashed)
        self._features = _Allowed(layout.features, kept.features, kept.hashed)
        self.layout = _Layout(layout.version, layout.digest, self._fields.names, self._features.names)
        self._strict = kept.mode == "strict"

    def record(
        self,
        questions: Sequence[Question],
        features: Sequence[Sequence[object]],
        answers: Sequence[tuple[float, bool | str | None]],
        state: tuple[int, int],
        now: float,
    ) -> None:
        """Write down one micro-batch. When it comes back, the rows outlive this process.

        Args:
            questions: what was asked.
            features: the values that the model saw, one row a question.
            answers: the score of each, and what was decided: true or false, the class, or nothing.
            state: generation and watermark of the stored features.
            now: by ``time.perf_counter``.

        Raises:
            RequestError: it cannot be written, and the mode is strict: status 503.
        """
        rows = [
            (
                q.asked.request_id, q.place, q.asked.at, q.unit, q.arm, q.answered, int((now - q.asked.began) * 1e6),
                score, label, self._fields(q.row, self._hash), self._features(seen, self._hash),
            )
            for q, seen, (score, label) in zip(questions, features, answers, strict=True)
        ]  # fmt: skip
        self._log.append(self.layout, state, rows, strict=self._strict)

    async def settled(self) -> None:
        """In mode strict: come back when all that was written is on the disk."""
        if self._strict:
            await asyncio.to_thread(self._log.sync, strict=True)


class _Allowed:
    """Which values of a row may be kept, and which of them as hashes."""

    def __init__(self, names: tuple[str, ...], allowed: Sequence[str] | None, hashed: Sequence[str]) -> None:
        places = [place for place, name in enumerate(names) if allowed is None or name in allowed]
        self.names = tuple(names[place] for place in places)
        self._all = len(places) == len(names) and not set(hashed) & set(names)
        self._places = [(place, names[place] in hashed) for place in places]

    def __call__(self, row: Sequence[object], hash_: Keyed) -> Sequence[object]:
        if self._all:
            return row
        return [hash_(row[p]) if hashed and row[p] is not None else row[p] for p, hashed in self._places]


class PredictionLog:
    """The files of one replica, written in turn. Safe to share between threads.

    Args:
        folder: of this pipeline's segments.
        hash_: for ids.
        clock: names the files.
        lost: told how many answers could not be written down, in mode fast.
    """

    def __init__(
        self, folder: Path, hash_: Keyed, clock: Clock | None = None, lost: Callable[[int], None] | None = None
    ) -> None:
        self.hash = hash_
        self._folder, self._clock, self._lost = folder, clock or SystemClock(), lost
        self._lock = Lock()
        self._segment: Segment | None = None
        self._layouts: dict[str, int] = {}
        self._dirty = Event()
        Thread(target=self._sync_for_ever, name="prediction-log", daemon=True).start()

    def recorder(
        self, kept: Log, *, version: int, digest: str, fields: tuple[str, ...], features: tuple[str, ...]
    ) -> Recorder:
        """Writes down what one model answers."""
        return Recorder(self, kept, _Layout(version, digest, fields, features), self.hash)

    def append(self, layout: _Layout, state: tuple[int, int], rows: Sequence[object], *, strict: bool) -> None:
        """Write a micro-batch; see `Recorder.record`."""
        with self._lock:
            try:
                segment = self._open()
                place = self._place(segment, layout)
                segment.append(_ANSWERS, _encode((place, *state, rows)))
            except OSError as error:
                self._give_up(error, len(rows), strict=strict)
        self._dirty.set()

    def sync(self, *, strict: bool = False) -> None:
        """Bring to the disk what was written so far."""
        segment = self._segment
        try:
            if segment is not None:
                segment.sync()
        except OSError as error:
            self._give_up(error, 0, strict=strict)

    def _open(self) -> Segment:
        if self._segment is not None and self._segment.full:
            self._segment.sync()
            self._segment.close()
            self._segment = None
        if self._segment is None:
            self._segment, self._layouts = Segment(self._folder, self._clock.now()), {}
        return self._segment

    def _place(self, segment: Segment, layout: _Layout) -> int:
        key = f"{layout.digest}/{layout.version}"
        if key not in self._layouts:
            segment.append(_LAYOUT, _encode(layout))
            self._layouts[key] = len(self._layouts)
        return self._layouts[key]

    def _give_up(self, error: OSError, rows: int, *, strict: bool) -> None:
        if strict:
            raise RequestError("cannot write its log", where="server", cure="Try again later", status=503) from None
        logger.warning("%d predictions are not in the log: %s", rows, error.strerror)
        if self._lost is not None:
            self._lost(rows)

    def _sync_for_ever(self) -> None:
        stop = Event()
        while self._dirty.wait():
            self._dirty.clear()
            self.sync()
            stop.wait(SYNC_SECONDS)


class Follower:
    """Reads files again and again while they grow, each from where it had come to.

    Args:
        columns: of `contracts.logs.PREDICTIONS`, that are read.
    """

    def __init__(self, columns: Iterable[str]) -> None:
        self._columns = list(columns)
        self._known: dict[Path, tuple[int, list[_Layout]]] = {}

    def __call__(self, path: Path, position: int) -> tuple[pl.DataFrame, int]:
        """The predictions of a file from a position on, and where they end."""
        if path not in self._known:  # of those that are gone by now nothing need be known
            self._known = {one: known for one, known in self._known.items() if one.exists()}
        start, layouts = self._known.get(path, (0, []))
        # Whoever read it before may have come further, or not so far: what the rows are called stands where it stands.
        if position < start:
            start, layouts = 0, []
        rows: list[tuple[object, ...]] = []
        for kind, content, end in frames(path, start):
            start = end
            if kind == _LAYOUT:
                layouts.append(msgspec.msgpack.decode(content, type=_Layout))
            elif end > position:
                rows += _told(layouts, msgspec.msgpack.decode(content, type=_Answers), self._columns)
        self._known[path] = start, layouts
        found = pl.DataFrame(rows, schema=dict(PREDICTIONS.columns), orient="row")
        return found.select(self._columns), max(start, position)


def read(path: Path, position: int) -> tuple[pl.DataFrame, int]:
    """The predictions of a file from a position on, as `contracts.logs.PREDICTIONS` has them, and where they end.

    >>> read(Path("/dev/null"), 0)[1]
    0
    """
    return Follower(PREDICTIONS.columns)(path, position)


def _told(layouts: list[_Layout], answers: _Answers, columns: Sequence[str]) -> Iterator[tuple[object, ...]]:
    layout = layouts[answers.layout]
    # Texts of values are most of the work: nobody makes those that nobody reads.
    asked, seen = "request" in columns, "features" in columns
    for id_, place, at, unit, arm, answered, latency, score, label, fields, features in answers.rows:
        yield (
            id_, place, at, unit, arm, answered, layout.version, layout.digest, answers.generation, answers.watermark,
            latency, score, None if isinstance(label, str) else label,
            _object(layout.fields, fields) if asked else None, _object(layout.features, features) if seen else None,
            label if isinstance(label, str) else None,
        )  # fmt: skip


def _object(names: tuple[str, ...], values: list[object]) -> str:
    return msgspec.json.encode({name: _told_in_json(one) for name, one in zip(names, values, strict=True)}).decode()


def _told_in_json(value: object) -> object:
    """JSON has no number for what is not finite, and null is something else: it goes by its name."""
    if type(value) is not float or isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
