"""A share of a batch: messages of a log become rows, strictly, and files that nobody refers to yet.

It is the same in the process that commits the batch and, where the cluster reads, in those that each read a span of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

import polars as pl
import pyarrow as pa
from msgspec import field

from raypipe.contracts.records import Record, Taken
from raypipe.contracts.streaming import Messages, Span
from raypipe.lake.decode import Decoder, Poison
from raypipe.lake.derive import derive_good
from raypipe.lake.poison import Bad, bad_messages, require_few_bad
from raypipe.lake.shipped import Shape, sizes_of
from raypipe.lake.spread import spread
from raypipe.lake.stage import PartWriter
from raypipe.lake.times import mark_late, newest_after
from raypipe.spec import Stream
from raypipe.spec.shape import LATE

#: With more bytes that are no rows a share ends: they are in memory until they are set aside.
MOST_BAD = 64 * 2**20
_NEVER = -(2**63)


class Share(Record, frozen=True, kw_only=True):
    """What some messages came to.

    Attributes:
        first, last, marks: of the messages, by partition; see ``Messages``.
        newest: the newest event time by partition, these and those before; see ``Taken``.
        until: when the last of them came, microseconds UTC.
        read: how many they are.
        rows, late: how many of them are rows, and how many of these are late.
        bad: the others, in order.
        extra: columns that messages have and the stream does not declare.
        sizes: how large numbers are, block by block.
        paths: the files, in the order of their rows.
    """

    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    until: int = 0
    read: int = 0
    rows: int = 0
    late: int = 0
    bad: tuple[Bad, ...] = ()
    extra: tuple[str, ...] = ()
    sizes: tuple[Shape, ...] = ()
    paths: tuple[str, ...] = ()

    def __add__(self, other: "Share") -> "Share":
        """Both, of which the other comes later."""
        partitions = self.newest.keys() | other.newest.keys()
        return Share(
            first=other.first | self.first,
            last=self.last | other.last,
            marks=self.marks | other.marks,
            newest={name: max(one.get(name, _NEVER) for one in (self.newest, other.newest)) for name in partitions},
            until=max(self.until, other.until),
            read=self.read + other.read,
            rows=self.rows + other.rows,
            late=self.late + other.late,
            bad=self.bad + other.bad,
            extra=tuple(sorted({*self.extra, *other.extra})),
            sizes=self.sizes + other.sizes,
            paths=self.paths + other.paths,
        )


@dataclass(frozen=True)
class Maker:
    """Everything that is needed to make shares of one batch, in any process.

    Attributes:
        source: says what a row is.
        lookups: the key and wanted columns of each looked-up table.
        schema: of the Parquet written, with Iceberg's field ids.
        folder: where it is written.
        taken: what was taken in before the batch.
        many: how many messages the batch has, at most.
    """

    source: Stream
    lookups: Mapping[str, pl.DataFrame]
    schema: pa.Schema
    folder: str
    taken: Taken
    many: int

    def make(self, decoder: Decoder, blocks: Iterable[Messages], prefix: str) -> Share:
        """Read, derive, mark what is late, write.

        Args:
            decoder: of the source's messages.
            blocks: the messages, in order; of a partition all that the batch has.
            prefix: what the written names begin with; names sort in order of the rows.

        Raises:
            SourceError: more messages are bad than may be.
        """
        share = Share()
        with PartWriter(self.folder, prefix, self.schema) as writer:
            for messages in blocks:
                rows, one = self._made(decoder, messages, share)
                writer.write(rows.to_arrow())
                share += one
                if sum(len(bad.content) for bad in share.bad) >= MOST_BAD:
                    break
        return share + Share(paths=tuple(writer.paths))

    def spread(self, spans: Sequence[Span]) -> Share:
        """The same by the cluster, a task for each span; of different partitions.

        Raises:
            SourceError, ServiceError: a span cannot be read.
        """
        errands = [_Errand(self, span, f"{place:07d}") for place, span in enumerate(spans)]
        found = spread(errands, f"read_{self.source.name}")
        return sum((Share.from_json(one) for one in found), Share())

    def _made(self, decoder: Decoder, messages: Messages, before: Share) -> tuple[pl.DataFrame, Share]:
        """All columns of the messages that are rows, late ones marked, and what there is to say of all."""
        source, decoded = self.source, decoder.decode(messages)
        poison, places = list(decoded.poison), list(decoded.places)

        def spare(row: int, why: str) -> None:
            poison.append(Poison(places.pop(row), why))
            self._require_few(len(before.bad) + len(poison), poison[0].reason)

        rows = derive_good(decoded.rows, source, self.lookups, spare)
        self._require_few(len(before.bad) + len(poison), poison[0].reason if poison else "")
        sizes = sizes_of(source, rows)
        newest = self.taken.newest | before.newest
        rows = mark_late(source, rows, places, messages, newest)
        return rows, Share(
            first=messages.first,
            last=messages.last,
            marks=messages.marks,
            newest=newest_after(newest, rows),
            until=max(messages.times),
            read=len(messages),
            rows=rows.height,
            late=rows.filter(LATE).height if LATE in rows.columns else 0,
            bad=tuple(bad_messages(source, messages, sorted(poison, key=lambda one: one.place))),
            extra=decoded.extra,
            sizes=(sizes,),
        )

    def _require_few(self, bad: int, why: str) -> None:
        """What is too much even of the largest batch that it can be; whoever has all of it looks again."""
        require_few_bad(self.source, self.taken.recent, self.many, bad, why)


@dataclass(frozen=True)
class _Errand:
    """One span, to be read in any process."""

    maker: Maker
    span: Span
    prefix: str

    def run(self) -> Share:
        # A name of its own for each try: one that was given up for dead may still write.
        prefix = f"{self.prefix}-{uuid4().hex[:8]}"
        return self.maker.make(Decoder(self.maker.source), self.span.read(), prefix)
