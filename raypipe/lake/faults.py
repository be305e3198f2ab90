"""Where exactly a file is not what its source declares. Slow and exact: it runs only when reading has failed."""

import csv
import io
import json
import re
from collections.abc import Generator, Iterator
from datetime import datetime

from raypipe.errors import SourceError
from raypipe.lake.files import BrokenFileError, FoundFile, opened
from raypipe.spec import ColumnType, Source

_VALUE = re.compile(
    r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to ([^:]+(?:\[[^\]]*\])?): (.*)", re.DOTALL
)
_SHAPE = re.compile(r"CSV parse error: (?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", re.DOTALL)
_QUOTED = re.compile(r"'(.*)'", re.DOTALL)
WORDS: dict[ColumnType, str] = {
    str: "text in UTF-8",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    datetime: "a time with its zone, such as 2013-01-01T00:00:00Z",
}


def csv_header(file: FoundFile) -> list[str]:
    """The names in the first line.

    Raises:
        SourceError: there is none, or it is not text.
    """
    for _, names in _records(file):
        return names
    raise BrokenFileError("is empty: not even a header line", where=file.name, cure="Get the file again")


def in_csv(file: FoundFile, source: Source, error: str) -> SourceError:
    """The sentence for a complaint of the CSV reader."""
    if found := _VALUE.match(error):
        index, row, _, why = found.groups()
        name = csv_header(file)[int(index)]
        line = _line(file, int(row)) if row else None
        value = text[1] if (text := _QUOTED.search(why)) else None
        return wrong_value(file, source, line, name, value)
    if found := _SHAPE.match(error):
        row, expected, got = found.groups()
        where = f"{file.name}:{_line(file, int(row))}" if row else file.name
        return SourceError(f"has {got} fields, expected {expected}", where=where, cure="Is the file cut off?")
    why = error.strip().splitlines()[0] if error.strip() else "unknown fault"
    return SourceError(f"cannot be read as CSV: {why}", where=file.name, cure="Get the file again")


def wrong_value(file: FoundFile, source: Source, line: int | None, column: str, value: str | None) -> SourceError:
    """A value that is not of its column's declared type."""
    where = f"{file.name}:{line}" if line else file.name
    shown = "a value" if value is None else f"`{value[:60]}{'…' if len(value) > 60 else ''}`"
    expected = WORDS[source.columns[column]]
    cure = f"Change the file, the type at {source.where}, or its `nulls`"
    return SourceError(f"column `{column}` holds {shown}, expected {expected}", where=where, cure=cure)


def require_closed_quotes(file: FoundFile) -> None:
    """Raises SourceError when a quote is opened and never closed; a lone quote inside a plain value is none."""
    last = 0
    try:
        for line, _ in _records(file, strict=True):
            last = line
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            where = f"{file.name}:{last + 1}"
            raise SourceError("a quote is opened and never closed", where=where, cure="Is the file cut off?") from None


def in_json(file: FoundFile, source: Source) -> SourceError | None:
    """The first line that does not fit, when the JSON reader complains; None when all that is wrong is a key more."""
    found = (in_object(file, source, number, line) for number, line in lines(file))
    return next((fault for fault in found if fault is not None), None)


def in_object(file: FoundFile, source: Source, number: int, line: bytes) -> SourceError | None:
    """What is wrong with one line; None when nothing is, or it has only a key more."""
    where = f"{file.name}:{number}"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as fault:
        cure = "Is the file cut off?"
        return SourceError(f"is not a JSON object a line: {str(fault).splitlines()[0]}", where=where, cure=cure)
    if not isinstance(row, dict):
        return SourceError("is not a JSON object", where=where, cure="Write one object a line")
    extra, missing = sorted(set(row) - set(source.columns)), sorted(set(source.columns) - set(row))
    if extra and missing:
        cure = f"Was it renamed? Change the file, or `columns` at {source.where}"
        return SourceError(f"has `{extra[0]}`, and lacks column `{missing[0]}`", where=where, cure=cure)
    for name, value in row.items():
        if name in source.columns and not _json_fits(value, source.columns[name]):
            return wrong_value(file, source, number, name, json.dumps(value, ensure_ascii=False))
    return None


def unknown_json(file: FoundFile, error: str) -> SourceError:
    """The JSON reader's own words, where no line shows a fault."""
    why = error.strip().splitlines()[0]
    return SourceError(f"cannot be read as JSON lines: {why}", where=file.name, cure="Get the file again")


def json_keys(file: FoundFile, wanted: set[str]) -> set[str]:
    """Which of these keys any object of the file has, be it null."""
    found: set[str] = set()
    for _, line in lines(file):
        found |= wanted & set(json.loads(line))
        if found == wanted:
            break
    return found


def line_of(file: FoundFile, kind: str, row: int) -> int:
    """The line of a text file on which its row (from 0, the header not counted) ends; 0 when it has no lines."""
    if kind not in ("csv", "json"):
        return 0
    if kind == "json":
        numbers = (number for number, _ in lines(file))
    else:
        numbers = (number for number, _ in _records(file))
        row += 1
    return next((number for index, number in enumerate(numbers) if index == row), 0)


def _line(file: FoundFile, record: int) -> int:
    """The line on which a record (from 1, the header counted) ends: quoted values may span lines, blank ones count."""
    return next((line for index, (line, _) in enumerate(_records(file), 1) if index == record), record)


def _records(file: FoundFile, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    with opened(file) as (content, _):
        # Bytes that are not text are looked at as they are: the reader has said, or will say, what is wrong.
        text = io.TextIOWrapper(io.BufferedReader(content), "utf-8-sig", errors="backslashreplace", newline="")  # type: ignore[type-var]
        reader = csv.reader(text, strict=strict)
        csv.field_size_limit(2**31 - 1)
        for record in reader:
            if record:
                yield reader.line_num, record


def lines(file: FoundFile) -> Generator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    with opened(file) as (content, _), io.BufferedReader(content) as buffered:  # type: ignore[type-var]
        for number, line in enumerate(buffered, 1):
            if line.strip():
                yield number, line


def _json_fits(value: object, kind: ColumnType) -> bool:
    if value is None:
        return True
    if kind is datetime:
        try:
            return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            return False
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return isinstance(value, kind)
