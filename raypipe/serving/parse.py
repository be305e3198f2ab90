"""Strict JSON to typed rows. Whatever is wrong is said by the field's name, never by repeating what was sent."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import msgspec
import polars as pl

from raypipe.errors import RequestError, did_you_mean
from raypipe.serving.fields import Field, Value

Row: TypeAlias = tuple[Value, ...]
_Raw: TypeAlias = tuple[Value | msgspec.UnsetType, ...]

_MANY = re.compile(rb'\s*\{\s*"rows"\s*:')
_KEY = re.compile(rb'"\s*:')
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_NAMED = re.compile(r"^Object (?P<fault>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)
_TYPES = re.compile(r"^Expected `(?P<wanted>\w+)[^`]*`, got `(?P<got>\w+)`$")
_ROW = re.compile(r"rows\[(\d+)\]")
_BYTE = re.compile(r"\(byte (\d+)\)$")
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
#: No number that means something is so long; who sends one tries what reads it.
_ENDLESS = re.compile(rb"(?<!\d)\d{1000}")
_NOT_A_NUMBER = re.compile(rb"-?(NaN|nan|Inf|inf)")

_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "datetime": "a time in RFC 3339, such as 2026-01-01T12:00:00Z",
    "date": "a date such as 2026-01-01",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


class Parser:
    """Reads the bodies of requests to one model.

    Args:
        fields: what a row consists of.
        max_rows: how many rows one request may hold.

    >>> parser = Parser((Field("n", int, pl.Int64(), required=True),), max_rows=10)
    >>> parser.parse(b'{"rows": [{"n": 1}, {"n": 2}]}')
    ([(1,), (2,)], True)
    >>> parser.parse(b'{"n": "one"}')
    Traceback (most recent call last):
    ...
    raypipe.errors.RequestError: n: must be a whole number, not text
    """

    def __init__(self, fields: tuple[Field, ...], max_rows: int) -> None:
        self.fields, self.max_rows = fields, max_rows
        self._names = [field.name for field in fields]
        self.names = tuple(self._names)
        # UNSET tells a field that was left out from one that was sent as null.
        columns = [(f.name, f.annotation, msgspec.NODEFAULT if f.required else msgspec.UNSET) for f in fields]
        row = msgspec.defstruct("Row", columns, forbid_unknown_fields=True, kw_only=True)
        many = msgspec.defstruct("Rows", [("rows", list[row])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self._row: type[msgspec.Struct] = row
        self._one: msgspec.json.Decoder[msgspec.Struct] = msgspec.json.Decoder(row)
        self._many: msgspec.json.Decoder[msgspec.Struct] = msgspec.json.Decoder(many)

    def parse(self, body: bytes) -> tuple[list[Row], bool]:
        """The rows of a body, and whether it was written as many (``{"rows": [...]}``) or as one object.

        Raises:
            RequestError: naming the field; status 400 when it is not JSON, a key stands twice or a number does not end,
                413 when there are too many rows, else 422.
        """
        many = "rows" not in self._names and _MANY.match(body) is not None
        try:
            if many:
                (decoded,) = msgspec.structs.astuple(self._many.decode(body))
            else:
                decoded = [self._one.decode(body)]
        except msgspec.ValidationError as error:
            raise self._invalid(str(error), body) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._malformed(body, error) from None
        self.limit(len(decoded))
        rows: list[_Raw] = [msgspec.structs.astuple(row) for row in decoded]
        absent = sum(row.count(msgspec.UNSET) for row in rows)
        self._refuse_repeated(body, len(rows) * len(self._names) - absent + many)
        return cast(list[Row], rows) if not absent else [_filled(row) for row in rows], many

    def convert(self, rows: Sequence[Mapping[str, object]], *, texts: bool = False) -> list[Row]:
        """Rows that are objects already, as strictly as `parse`.

        Args:
            rows: values by field.
            texts: every value is text, as in CSV, and stands for a value of its field's type.

        Raises:
            RequestError: naming the field, such as ``rows[3].flight``; plain ``flight`` when there is one row.
        """
        self.limit(len(rows))
        try:
            found = [msgspec.structs.astuple(msgspec.convert(row, self._row, strict=not texts)) for row in rows]
        except msgspec.ValidationError:
            raise self._first_fault(rows, texts) from None
        return [_filled(row) if msgspec.UNSET in row else row for row in found]

    def limit(self, rows: int) -> None:
        """Refuse to take no rows, or too many.

        Raises:
            RequestError: status 422 or 413.
        """
        if not rows:
            raise RequestError("must hold at least one row", where="rows")
        if rows > self.max_rows:
            raise RequestError(
                f"holds {rows} rows, and {self.max_rows} are allowed",
                where="rows",
                cure="Send them in several requests",
                status=413,
            )

    def _first_fault(self, rows: Sequence[Mapping[str, object]], texts: bool) -> RequestError:
        for number, row in enumerate(rows):
            try:
                msgspec.convert(row, self._row, strict=not texts)
            except msgspec.ValidationError as error:
                path = f"rows[{number}]" if len(rows) > 1 else ""
                found = self._invalid(str(error), row=row, texts=texts)
                where = path if found.where == "body" else _join(path, found.where)
                return RequestError(found.what, where=where, cure=found.cure, status=found.status)
        raise AssertionError("a row was at fault, and none is")

    def frame(self, rows: list[Row]) -> pl.DataFrame:
        """Rows as a frame, one typed column a field."""
        columns = zip(*rows, strict=True)
        return pl.DataFrame([field.series(values) for field, values in zip(self.fields, columns, strict=True)])

    def _refuse_repeated(self, body: bytes, expected: int) -> None:
        """JSON lets a key stand twice, and readers differ on which one counts."""
        # A body with each key once has as many `":` as keys; only others are read again, slowly.
        if len(_KEY.findall(body)) != expected:
            json.loads(body, object_pairs_hook=_once)

    def _invalid(
        self, detail: str, body: bytes = b"", row: Mapping[str, object] | None = None, *, texts: bool = False
    ) -> RequestError:
        found = _PATH.match(detail)
        what, path = (found["what"], found["path"] or "") if found else (detail, "")
        if named := _NAMED.match(what):
            if named["fault"] == "missing required":
                return self._missing(named["name"], path, _at(body, path) if row is None else row)
            return self._misnamed(named["name"], path)
        if path:
            others = self._also(path, _at(body, path) if row is None else row, texts)
            status = 400 if _ENDLESS.search(body) else 422
            return RequestError(f"{_explained(what)}{others}", where=path, status=status)
        return RequestError("must be one JSON object of fields, or an object with a list of `rows`", where="body")

    def _missing(self, name: str, path: str, row: Mapping[str, object]) -> RequestError:
        """Every field that is missing from a row, at once: who mends one need not come back for the next."""
        absent = [f.name for f in self.fields if f.required and f.name not in row] if name in self._names else []
        if len(absent) < 2:
            return RequestError("is missing", where=_join(path, name), cure="Send it: it is not optional")
        what = f"{len(absent)} fields are missing: {', '.join(absent)}"
        return RequestError(what, where=_join(path, absent[0]), cure="Send every field that is not optional")

    def _also(self, path: str, row: Mapping[str, object], texts: bool) -> str:
        """What else is wrong with a row, for who mends one field need not come back for the next."""
        own, wrong = path.rpartition(".")[2], []
        for field in self.fields:
            try:
                if field.name != own and field.name in row:
                    msgspec.convert(row[field.name], field.annotation, strict=not texts)
            except msgspec.ValidationError as error:
                wrong.append(f"`{field.name}` {_explained(str(error))}")
        return "".join(f"; {one}" for one in wrong)

    def _misnamed(self, name: str, path: str) -> RequestError:
        # Not even a name comes back: whoever mixes up names and values would read their secrets in our errors.
        near = did_you_mean(name if _PLAIN_NAME.fullmatch(name) else "", self._names)
        return RequestError("has a field that is not one of this model", where=path or "body", cure=near)

    def _malformed(self, body: bytes, error: Exception) -> RequestError:
        if isinstance(error, UnicodeDecodeError):
            return RequestError("is not UTF-8", where=self._field_before(body, _first_bad_byte(body)), status=400)
        position = _BYTE.search(str(error))
        at = int(position[1]) if position else len(body)
        where = self._field_before(body, at)
        # Half of a surrogate pair lacks something too.
        if "truncated" in str(error) and body.count(b"{") > body.count(b"}") and where != "body":
            cure = f"Send all of it: the last field that can be read is `{where}`"
            return RequestError("is JSON that ends too early", where="body", cure=cure, status=400)
        if _NOT_A_NUMBER.match(body, at) or _NOT_A_NUMBER.match(body, max(0, at - 1)):
            return RequestError("must be a finite number: JSON has no NaN or Infinity", where=where, status=400)
        if where == "body":
            return RequestError("is not JSON", where=where, status=400)
        cure = "Look at the quotes, commas and braces there"
        return RequestError(
            "has a value, or is followed by something, that is not JSON", where=where, cure=cure, status=400
        )

    def _field_before(self, body: bytes, at: int) -> str:
        """The last known field whose key stands before a byte: where the caller should look."""
        keys = re.findall(rb'"([^"\\]{1,200})"\s*:', body[:at])
        known = {name.encode(): name for name in self._names}
        return next((known[key] for key in reversed(keys) if key in known), "body")


def _at(body: bytes, path: str) -> Mapping[str, object]:
    """The object at, or around, a path such as ``rows[3].n`` of a body that was read before; else an empty one."""
    try:
        found = msgspec.json.decode(body)
    # What follows the object, or lies deep in it, was not looked at when its first fault was found.
    except (msgspec.DecodeError, RecursionError):
        return {}
    if number := _ROW.match(path):
        found = found["rows"][int(number[1])]
    return found if isinstance(found, dict) else {}


def _filled(row: _Raw) -> Row:
    return tuple(None if isinstance(value, msgspec.UnsetType) else value for value in row)


def _explained(what: str) -> str:
    if found := _TYPES.match(what):
        wanted, got = _WORDS.get(found["wanted"], "something else"), _WORDS.get(found["got"], "that")
        return f"must be {wanted}, not {got}"
    if "timezone" in what:
        return "must say its zone, such as 2026-01-01T12:00:00Z or 2026-01-01T12:00:00-05:00"
    if "RFC3339" in what:
        return f"must be {_WORDS['datetime']}"
    if "ISO8601" in what:
        return f"must be {_WORDS['date']}"
    if "length" in what:
        return "is too long a text"
    return "is out of range"


def _once(pairs: list[tuple[str, object]]) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            # Decoded before, so the name is a known one.
            raise RequestError("stands twice", where=name, status=400)
        seen.add(name)


def _first_bad_byte(body: bytes) -> int:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(body)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
