"""Messages that are no rows: set aside with where they stood, why, and all their bytes."""

from collections.abc import Sequence
from hashlib import sha256
from typing import TypeAlias

import polars as pl
from pyiceberg.catalog.sql import SqlCatalog

from raypipe.contracts.records import Record
from raypipe.contracts.streaming import Messages, Offsets
from raypipe.errors import SourceError
from raypipe.lake.aside import append_rows
from raypipe.lake.decode import Poison
from raypipe.spec import Stream

CHECK = "readable"
#: Below so many messages a share says little; among more than so many, old ones do not count.
FEW, MANY = 1_000, 10_000
#: How many messages were read, and how many of these were bad, part by part.
Recent: TypeAlias = tuple[tuple[int, int], ...]
#: So many bytes are shown as text too.
MOST_TEXT = 2**20


def name_of(log: str, first: Offsets, last: Offsets, many: int) -> str:
    """Names one batch: the same messages have the same name."""
    text = f"{log}\0{sorted(first.items())}\0{sorted(last.items())}\0{many}"
    return sha256(text.encode()).hexdigest()[:32]


class Bad(Record, frozen=True, kw_only=True):
    """What is no row: where it stood in what, when that came (microseconds UTC), why, and its bytes.

    ``spans`` is how many lines it takes up; 0 for a whole file.
    """

    origin: str
    offset: str
    at: int
    reason: str
    content: bytes
    spans: int = 1


def bad_messages(source: Stream, messages: Messages, poison: Sequence[Poison]) -> list[Bad]:
    """What the quarantine is to hold of messages that are no rows."""
    live = source.live
    assert live is not None  # noqa: S101  # its messages were read
    return [
        Bad(
            origin=f"{live.kind}:{live.topic}/{messages.partitions[one.place]}",
            offset=str(messages.offsets[one.place]),
            at=messages.times[one.place],
            reason=one.reason,
            content=messages.values[one.place] or b"",
        )
        for one in poison
    ]


def keep_bad(catalog: SqlCatalog, source: str, name: str, bad: Sequence[Bad]) -> None:
    """Write what is no row into the quarantine as a set with a name, unless that is there.

    Raises:
        CommitFailedException: somebody else wrote to it meanwhile; nothing was changed.
    """
    frame = pl.DataFrame(
        {
            "set": name,
            "source": source,
            "snapshot": pl.Series([None] * len(bad), dtype=pl.Int64),
            "check": CHECK,
            "reason": [one.reason for one in bad],
            "row": [one.content[:MOST_TEXT].decode("utf-8", errors="backslashreplace") for one in bad],
            "as_of": pl.Series([one.at for one in bad]).cast(pl.Datetime("us", "UTC")),
            "origin": [one.origin for one in bad],
            "offset": [one.offset for one in bad],
            "bytes": pl.Series([one.content for one in bad], dtype=pl.Binary),
        }
    )
    append_rows(catalog, name, frame)


def require_few_bad(source: Stream, recent: Recent, read: int, bad: int, why: str) -> None:
    """Judge a batch with the messages that were taken in before it, by whomever.

    Args:
        source: says how large a share may be bad.
        recent: what was taken in last, as ``Taken`` has it.
        read: how many messages the batch has.
        bad: how many of them are no rows.
        why: what is wrong with one of these.

    Raises:
        SourceError: more messages are bad than may be.
    """
    live = source.live
    assert live is not None  # noqa: S101  # its messages were read
    many = sum(count for count, _ in recent) + read
    count = sum(count for _, count in recent) + bad
    if not bad or count <= live.at_most_bad * max(many, FEW):
        return
    what = f"{count:,} of the last {many:,} messages cannot be read, such as: {why}"
    cure = (
        f"Correct what writes them, the columns at {source.where}, or `at_most_bad`; nothing of this batch was taken in"
    )
    raise SourceError(what, where=f"{live.kind} {live.topic} ({live.where})", cure=cure)


def recent_after(recent: Recent, read: int, bad: int) -> Recent:
    """The newest part of what was taken in, with a batch more: ``MANY`` messages at least, in a dozen parts or so."""
    *before, last = recent or ((0, 0),)
    parts = [*before, (last[0] + read, last[1] + bad)] if last[0] < FEW else [*recent, (read, bad)]
    while sum(count for count, _ in parts[1:]) >= MANY:
        parts.pop(0)
    return tuple(parts)
