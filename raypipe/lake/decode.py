"""Messages become rows, strictly as their stream declares them; what cannot is poison, kept byte for byte."""

import io
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import polars as pl

from raypipe.contracts.streaming import Messages
from raypipe.errors import SourceError
from raypipe.spec import POLARS_TYPES, ColumnType, Stream

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_TYPES: dict[ColumnType, Any] = {
    str: str,
    int: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    float: float,
    bool: bool,
    datetime: Annotated[datetime, msgspec.Meta(tz=True)],
}
#: What a reader says of a message that it cannot read.
_UNREADABLE = (
    msgspec.MsgspecError,
    ValueError,
    RecursionError,
    EOFError,
    OverflowError,
    TypeError,
    KeyError,
    IndexError,
    struct.error,
)


@dataclass(frozen=True)
class Poison:
    """One message that is no row: where it stands in its batch, and why."""

    place: int
    reason: str


@dataclass(frozen=True)
class Decoded:
    """What messages came to.

    Attributes:
        rows: the shipped columns, in declared order.
        places: for each row, which message of the batch it was.
        poison: the other messages.
        extra: columns that a message has and the stream does not declare.
    """

    rows: pl.DataFrame
    places: list[int]
    poison: list[Poison]
    extra: tuple[str, ...]


class Rows:
    """Values of declared columns, judged strictly: every column is there, with a value of its type or null.

    Args:
        columns: the columns and their types.
    """

    def __init__(self, columns: Mapping[str, ColumnType]) -> None:
        self._columns = columns
        names = {f"f{place}": name for place, name in enumerate(columns)}
        kinds = [(key, _TYPES[columns[name]] | None) for key, name in names.items()]
        self.kind = msgspec.defstruct("Row", kinds, rename=names, gc=False)

    def of(self, record: object) -> msgspec.Struct:
        """A record that was read already; raises ``msgspec.ValidationError`` when it is no row."""
        return msgspec.convert(record, self.kind)

    def frame(self, rows: Sequence[msgspec.Struct]) -> pl.DataFrame:
        """Rows as columns."""
        series = []
        for place, (name, kind) in enumerate(self._columns.items()):
            values = list(map(attrgetter(f"f{place}"), rows))
            if kind is datetime:
                values = [None if value is None else (value - _EPOCH) // _MICROSECOND for value in values]
                series.append(pl.Series(name, values, pl.Int64).cast(POLARS_TYPES[kind]))
            else:
                series.append(pl.Series(name, values, POLARS_TYPES[kind]))
        return pl.DataFrame(series)


class Decoder:
    """Reads the messages of one stream.

    Every declared column must be there, with a value of its type or null; others are left aside.

    Args:
        source: a stream with a live side.

    Raises:
        SourceError: its schema is none, or its reader is not installed.
    """

    def __init__(self, source: Stream) -> None:
        self._columns, self._rows = source.columns, Rows(source.columns)
        self._loose: Callable[[bytes], Any] = msgspec.json.decode
        self._read: Callable[[Any], Any] = msgspec.json.Decoder(self._rows.kind).decode
        if source.live is not None and source.live.avro:
            self._loose = _avro(source)
            self._read = lambda value: self._rows.of(self._loose(value))

    def decode(self, messages: Messages) -> Decoded:
        """Read messages in order."""
        values = messages.values
        rows: list[msgspec.Struct] = []
        poison: list[Poison] = []
        reading = map(self._read, values)
        while len(rows) + len(poison) < len(values):
            try:
                rows.extend(reading)  # as far as it goes: there are hundreds of thousands a second
            except _UNREADABLE as error:
                place = len(rows) + len(poison)
                poison.append(Poison(place, "holds no value" if values[place] is None else self._why(error)))
        bad = {one.place for one in poison}
        places = [place for place in range(len(values)) if place not in bad]
        # Two look for all: a producer that begins to send another column goes on to.
        extra = {name for place in {*places[:1], *places[-1:]} for name in self._extra(messages.values[place])}
        return Decoded(self._rows.frame(rows), places, poison, tuple(sorted(extra)))

    def _extra(self, value: bytes | None) -> set[str]:
        return set(self._loose(value or b"{}")) - set(self._columns)

    def _why(self, error: Exception) -> str:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, RecursionError):
            return "is nested too deep"
        # The reader names fields as they are shipped: `$.fare`.
        return text[:200] if text[:2].isupper() else text[:1].lower() + text[1:200]


def _avro(source: Stream) -> Callable[[bytes], Any]:
    live = source.live
    assert live is not None  # noqa: S101  # who calls has looked
    try:
        import fastavro
    except ImportError:
        cure = "Run `pip install 'raypipe[avro]'`"
        raise SourceError("fastavro is not installed", where=f"stream {source.name}", cure=cure) from None
    try:
        schema = fastavro.parse_schema(msgspec.json.decode(live.avro))
    except (msgspec.DecodeError, fastavro.schema.SchemaParseException, KeyError, TypeError) as error:
        raise SourceError(f"its Avro schema is none: {error}", where=live.where, cure="Give it as JSON text") from None

    def read(value: bytes) -> Any:  # noqa: ANN401  # whatever the schema says
        content = io.BytesIO(value)
        found = fastavro.schemaless_reader(content, schema, None)
        if content.tell() != len(value):
            raise ValueError(f"{len(value) - content.tell()} bytes are left over")
        return found

    return read
