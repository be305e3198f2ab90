"""Files with faults, where their source lets some go: what can be read becomes rows, what cannot is kept as it is.

Slow and exact: it runs only when a file could not be read as a whole. A record of text (CSV or JSON lines) is judged by
the same reader as all files are, alone; of other formats a file that is broken is one bad record.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from raypipe.errors import SourceError
from raypipe.lake import faults
from raypipe.lake.declared import files_of, require_columns
from raypipe.lake.files import FoundFile, opened
from raypipe.lake.poison import FEW, Bad
from raypipe.lake.texts import rows_of_text
from raypipe.spec import Source

if TYPE_CHECKING:
    from raypipe.lake.stage import Staged

#: Records that are tried together.
AT_A_TIME = 2**14
#: So many bytes of a file that cannot be read at all are kept.
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Line:
    """One record of a text: the line on which it ends, how many it spans, its bytes."""

    number: int
    spans: int
    content: bytes


#: Why a record is none.
Reasons: TypeAlias = list[tuple[Line, str]]


@dataclass(frozen=True)
class Salvaged:
    """Some records of a file: rows, the line of each, and those that are none."""

    rows: pa.Table
    lines: list[Line]
    bad: Reasons


def salvage(file: FoundFile, source: Source) -> Iterator[Salvaged]:
    """What of a text is rows, a block at a time.

    Raises:
        SourceError: its columns are not as declared, or it changed while it was read.
    """
    kind = files_of(source).format
    with opened(file) as (content, _), BufferedReader(content) as lines:  # type: ignore[type-var]
        head = b""
        if kind == "csv":
            records = _csv_records(lines)
            head = next(records).content
            require_columns(file, source, faults.csv_header(file))
        else:
            records = (Line(number, 1, line) for number, line in enumerate(lines, 1) if line.strip())
        while some := list(islice(records, AT_A_TIME)):
            yield _sifted(some, lambda part: _read(file, source, head, part))
    file.require_unchanged()


def names_of(file: FoundFile, source: Source, lines: Iterable[Line]) -> list[str]:
    """The names of the columns of a text, some of whose records are given: of JSON their keys."""
    if files_of(source).format == "csv":
        return faults.csv_header(file)
    return list(dict.fromkeys(name for line in lines for name in json.loads(line.content)))


def whole(file: FoundFile, fault: SourceError) -> Bad:
    """A file of which nothing can be read."""
    with file.path.open("rb") as raw:
        content = raw.read(MOST_BYTES)
    kept = f"; of {file.size:,} bytes the first {len(content):,} are kept" if file.size > len(content) else ""
    return Bad(
        origin=file.name, offset="", at=file.changed // 1_000, reason=f"{fault.what}{kept}", content=content, spans=0
    )


def bad_line(file: FoundFile, line: Line, why: str) -> Bad:
    """A record of a text that is none."""
    content, at = line.content.rstrip(b"\r\n"), file.changed // 1_000
    return Bad(origin=file.name, offset=str(line.number), at=at, reason=why, content=content, spans=line.spans)


def require_share(source: Source, staged: Sequence["Staged"], size: int) -> None:
    """Raises SourceError when more lines, or more bytes of whole files, are bad than the source lets go.

    Args:
        source: says how much may be.
        staged: what was read.
        size: bytes of all files of the source.
    """
    bad = [one for file in staged for one in file.bad]
    if not bad:
        return
    most, lines = files_of(source).at_most_bad, sum(one.spans for one in bad)
    many = lines + sum(file.file.rows for file in staged)
    lost = sum(file.size for file in staged if any(not one.spans for one in file.bad))
    cure = f"Correct the files, or what {files_of(source).where} lets go; nothing was taken in"
    if lines > most * max(many, FEW):
        first = next(one for one in bad if one.spans)
        what = f"{lines:,} of {many:,} lines cannot be read; line {first.offset}: {first.reason}"
        raise SourceError(what, where=first.origin, cure=cure)
    if lost > most * size:
        first = next(one for one in bad if not one.spans)
        what = f"{lost / size:.1%} of the source's bytes cannot be read, such as: {first.reason}"
        raise SourceError(what, where=first.origin, cure=cure)


def _csv_records(lines: Iterator[bytes]) -> Iterator[Line]:
    """Records with their bytes: a quoted value may span lines."""
    taken: list[bytes] = []

    def fed() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line.decode("utf-8", errors="backslashreplace")

    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(fed())
    for fields in reader:
        content, spans = b"".join(taken), len(taken)
        taken.clear()
        if fields:
            yield Line(reader.line_num, spans, content)


def _sifted(lines: list[Line], read: Callable[[list[Line]], pa.Table]) -> Salvaged:
    """Halves are tried until only bad records are left alone."""
    try:
        return Salvaged(read(lines), lines, [])
    except SourceError as fault:
        if len(lines) == 1:
            return Salvaged(pa.table({}), [], [(lines[0], fault.what)])
    middle = len(lines) // 2
    first, second = _sifted(lines[:middle], read), _sifted(lines[middle:], read)
    rows = [one.rows for one in (first, second) if one.lines]
    return Salvaged(pa.concat_tables(rows) if rows else first.rows, first.lines + second.lines, first.bad + second.bad)


def _read(file: FoundFile, source: Source, head: bytes, lines: list[Line]) -> pa.Table:
    if head and _is_open(lines[-1].content):
        raise SourceError("a quote is opened and never closed", where=file.name)
    for line in () if head else lines:
        if (fault := faults.in_object(file, source, line.number, line.content)) is not None:
            raise fault
    text = b"".join(line.content if line.content.endswith(b"\n") else line.content + b"\n" for line in lines)
    rows = rows_of_text(file, source, head + text)
    if rows.num_rows != len(lines):
        raise SourceError("is not one record", where=file.name)
    return rows


def _is_open(record: bytes) -> bool:
    if record.count(b'"') % 2 == 0:
        return False
    try:
        list(csv.reader(record.decode("utf-8", errors="backslashreplace").splitlines(keepends=True), strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False
