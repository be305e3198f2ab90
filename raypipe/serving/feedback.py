"""What turned out to be true: labels and business outcomes by request id, late, repeated and corrected as they come.

``POST /{pipeline}/feedback`` takes one object or ``{"feedback": [...]}``. It is on the disk before it is acknowledged,
so whoever got no answer tells it again: the same thing told twice counts once, and of two that differ the later stands.
Nobody asks whether the prediction is known: its log may reach the lake later than what is told about it.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Annotated

import msgspec
import polars as pl
from msgspec import Meta

from raypipe.clock import Clock
from raypipe.contracts.logs import FEEDBACK, told_in
from raypipe.contracts.segment import Segment, frames
from raypipe.contracts.target import BINARY, Target
from raypipe.errors import RequestError, did_you_mean
from raypipe.serving.call import Call, Paths, Route
from raypipe.serving.describe import Description
from raypipe.serving.engine import Engine
from raypipe.serving.http import Response, failure, read_body, require_json
from raypipe.serving.strict import refuse_repeated

MOST = 4_096
#: So much of a class that is not known is compared with those that are.
_WORD = 64
_Name = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
_encode = msgspec.json.Encoder(order="sorted").encode


class Told(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Feedback on one prediction: what it was, or what it brought, or both.

    ``row`` is its place among the rows of its request, ``label`` what turned out to be true: true or false, a number,
    or a class, as the model predicts. ``outcomes`` are business figures by name.
    """

    request_id: Annotated[str, Meta(pattern="^[A-Za-z0-9._:-]{1,128}$")]
    row: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    label: bool | float | Annotated[str, Meta(max_length=1_024)] | None = None
    outcomes: Annotated[dict[_Name, float | None], Meta(max_length=64)] | None = None


class _Many(msgspec.Struct, forbid_unknown_fields=True):
    feedback: Annotated[list[Told], Meta(min_length=1, max_length=MOST)]


_one, _many = msgspec.json.Decoder(Told), msgspec.json.Decoder(_Many)


class FeedbackLog:
    """The files of one replica. Safe to share between threads.

    Args:
        folder: of this pipeline's segments.
        clock: says when something was told.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._lock = Lock()
        self._segment: Segment | None = None

    def add(self, told: list[Told]) -> None:
        """Keep it; when this comes back, it is on the disk.

        Raises:
            RequestError: it cannot be written: status 503.
        """
        now = self._clock.now()
        rows = [
            (one.request_id, one.row, now, one.label, _encode(one.outcomes) if one.outcomes else None) for one in told
        ]
        try:
            with self._lock:
                if self._segment is not None and self._segment.full:
                    self._segment.close()
                    self._segment = None
                if self._segment is None:
                    self._segment = Segment(self._folder, now)
                segment = self._segment
                segment.append(0, msgspec.msgpack.encode(rows))
            segment.sync()
        except OSError:
            cure = "Send it again later"
            raise RequestError("cannot be kept now", where="feedback", cure=cure, status=503) from None


class FeedbackFace(Paths):
    """The path that takes feedback.

    Args:
        log: keeps it.
        body_bytes: the largest body.
        body_seconds: the longest time that a body may take to arrive.
    """

    def __init__(self, log: FeedbackLog, body_bytes: int, body_seconds: float) -> None:
        self._log, self._bytes, self._seconds = log, body_bytes, body_seconds
        super().__init__({"/feedback": Route(self._take, ("POST",), failure, scope="feedback")})

    async def _take(self, engine: Engine, description: Description, call: Call) -> Response:
        require_json(call.headers)
        body = await read_body(call.headers, call.receive, most=self._bytes, seconds=self._seconds)
        target = engine.answers.target
        told = parse(body, target)
        # A file is synced in a blink, but not at once: others are answered meanwhile.
        await asyncio.to_thread(self._log.add, told)
        said = {"accepted": len(told), "request_id": call.id.decode()} | unknown_classes(told, target)
        return Response(200, msgspec.json.encode(said))


def unknown_classes(told: Sequence[Told], target: Target) -> dict[str, object]:
    """What to say of labels that are no class of the model: they may be true, or misspelt. Empty: there are none.

    >>> told = [Told("a", label="slwo"), Told("b", label="slow")]
    >>> unknown_classes(told, Target(task="multiclass", classes=("normal", "slow")))["unknown"]
    1
    """
    if not (known := frozenset(target.classes)):
        return {}
    places = [place for place, one in enumerate(told) if one.label is not None and one.label not in known]
    if not places:
        return {}
    first = str(told[places[0]].label)
    more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
    # What was told is not repeated: answers are written down elsewhere.
    what = f"feedback[{places[0]}].label{more}: no class that the model has seen, so that it counts as wrong"
    return {"unknown": len(places), "warning": f"{what}. {did_you_mean(first[:_WORD], target.classes)}"}


def parse(body: bytes, target: Target = BINARY) -> list[Told]:
    """Feedback out of a body: one object, or many in ``{"feedback": [...]}``.

    Args:
        body: of the request.
        target: what is predicted; labels must be such.

    >>> [one.label for one in parse(b'{"request_id": "a", "label": true}')]
    [True]
    >>> [one.label for one in parse(b'{"request_id": "a", "label": 12}', Target(task="regression"))]
    [12.0]

    Raises:
        RequestError: it is none; names the field, never repeats it.
    """
    many = body.lstrip()[:200].find(b'"feedback"') > 0
    try:
        told = _many.decode(body).feedback if many else [_one.decode(body)]
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        known = "has a field other than `request_id`, `row`, `label` and `outcomes`"
        shown = known if "unknown field" in what else what.removeprefix("Object ").lower()
        raise RequestError(shown, where=path.strip("`.") or "feedback", cure=_CURE) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RequestError("is not JSON", where="body", status=400, cure=_CURE) from None
    refuse_repeated(body, many + sum(map(_keys, told)))
    words, kinds, example = _LABELS[told_in(target)]
    for number, one in enumerate(told):
        if one.label is not None and type(one.label) not in kinds:
            cure = f'Write {{"request_id": "…", "label": {example}}}'
            raise RequestError(f"must be {words}", where=f"feedback[{number}].label", cure=cure)
        if one.label is None and not one.outcomes:
            raise RequestError("tells nothing: neither a label nor outcomes", where=f"feedback[{number}]", cure=_CURE)
    return told


def _keys(one: Told) -> int:
    """How many keys it must have had."""
    return 1 + (one.row != 0) + (one.label is not None) + (0 if one.outcomes is None else 1 + len(one.outcomes))


#: By the column that keeps it: what a label is, in words, as what it is read, and an example.
_LABELS: dict[str, tuple[str, tuple[type, ...], str]] = {
    "label": ("true or false", (bool,), "true"),
    "number": ("a number", (float,), "12.5"),
    "category": ("the class as text", (str,), '"late"'),
}
_CURE = 'Write {"request_id": "…", "row": 0, "label": true, "outcomes": {"cost": 12.5}}'


def read(path: Path, position: int) -> tuple[pl.DataFrame, int]:
    """The feedback of a file from a position on, as `contracts.logs.FEEDBACK` has it, and where it ends."""
    rows: list[tuple[object, ...]] = []
    for _, content, end in frames(path, position):
        rows += [_columns(*row) for row in msgspec.msgpack.decode(content)]
        position = end
    return pl.DataFrame(rows, schema=dict(FEEDBACK.columns), orient="row"), position


def follow(columns: Sequence[str]) -> Callable[[Path, int], tuple[pl.DataFrame, int]]:
    """`read` with some columns alone."""

    def some(path: Path, position: int) -> tuple[pl.DataFrame, int]:
        rows, end = read(path, position)
        return rows.select(columns), end

    return some


def _columns(
    id_: str, row: int, at: int, label: bool | float | str | None, outcomes: bytes | None
) -> tuple[object, ...]:
    truth = label if isinstance(label, bool) else None
    number = label if isinstance(label, float) else None
    category = label if isinstance(label, str) else None
    return id_, row, at, truth, outcomes.decode() if outcomes else None, number, category
