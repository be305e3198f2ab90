"""Tensors of the Open Inference Protocol as columns of request fields.

Every input is one request field, of shape ``[n]`` or ``[n, 1]``: a row is what stands at one place in all of them.
Times are INT64 microseconds UTC, or BYTES as in JSON. NaN in a floating-point input is a missing value.
"""

import struct
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np

from raypipe.errors import RequestError, did_you_mean
from raypipe.serving.fields import LONGEST_TEXT, Field, Value
from raypipe.serving.parse import Parser, Row

#: Datatypes and how their elements lie in raw contents; BYTES are lengths and bytes, BF16 is not taken.
RAW: dict[str, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
BYTES = "BYTES"
_KINDS = {name: np.dtype(kind) for name, kind in RAW.items()}
_WHOLE = {name for name in RAW if "INT" in name}
_FLOAT = {"FP16", "FP32", "FP64"}
_TAKEN: dict[type, set[str]] = {
    str: {BYTES},
    int: _WHOLE,
    float: _FLOAT | _WHOLE,
    bool: {"BOOL"},
    datetime: {"INT64", BYTES},
    date: {BYTES},
}
#: What the metadata says of a field.
DECLARED: dict[type, str] = {str: BYTES, int: "INT64", float: "FP64", bool: "BOOL", datetime: "INT64", date: BYTES}
_LENGTH = struct.Struct("<I")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Tensor(NamedTuple):
    """One input: its elements in order, as Python values."""

    name: str
    datatype: str
    values: Sequence[object]


def size_of(name: str, datatype: str, shape: Sequence[int], most: int) -> int:
    """How many elements an input has, by its shape; looked at before anything of it is read.

    Raises:
        RequestError: the datatype is unknown, or the shape is not one of rows.
    """
    if datatype not in RAW and datatype != BYTES:
        raise RequestError("is not a datatype that is taken here", where=f"inputs.{name}.datatype", status=400)
    if not shape or len(shape) > 2 or (len(shape) == 2 and shape[1] != 1) or shape[0] < 1:
        raise RequestError("must be [rows] or [rows, 1]", where=f"inputs.{name}.shape", status=400)
    if shape[0] > most:
        what = f"says {shape[0]} rows, and {most} are allowed" if shape[0] < 2**63 else "says too many rows"
        raise RequestError(what, where=f"inputs.{name}.shape", status=413)
    return shape[0]


def from_raw(name: str, datatype: str, count: int, raw: bytes | memoryview) -> Tensor:
    """An input from its raw contents.

    Raises:
        RequestError: they are not as long as its shape says, or are no UTF-8.
    """
    where = f"inputs.{name}"
    if datatype == BYTES:
        return Tensor(name, datatype, _texts(where, count, bytes(raw)))
    kind = _KINDS[datatype]
    if len(raw) != count * kind.itemsize:
        what = f"holds {len(raw)} bytes, and its shape and datatype ask for {count * kind.itemsize}"
        raise RequestError(what, where=where, status=400)
    return Tensor(name, datatype, np.frombuffer(raw, kind).tolist())


def _texts(where: str, count: int, raw: bytes) -> list[object]:
    found: list[object] = []
    at = 0
    try:
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(raw, at)
            at += _LENGTH.size + length
            if at > len(raw):
                break
            found.append(raw[at - length : at].decode())
    except (struct.error, UnicodeDecodeError):
        raise RequestError(
            "must be 4-byte lengths, each with so many bytes of UTF-8", where=where, status=400
        ) from None
    if len(found) != count or at != len(raw):
        raise RequestError(f"does not hold {count} texts", where=where, status=400)
    return found


def raw_texts(texts: Sequence[str]) -> bytes:
    """Texts as raw contents.

    >>> len(raw_texts(["UA", ""]))
    10
    """
    return b"".join(_LENGTH.pack(len(text)) + text for text in map(str.encode, texts))


def from_json(name: str, datatype: str, count: int, data: object) -> Tensor:
    """An input from JSON, flat or nested as its shape is.

    Raises:
        RequestError: it does not hold what shape and datatype say.
    """
    where = f"inputs.{name}.data"
    values = data if isinstance(data, list) else []
    if values and isinstance(values[0], list):
        if not all(isinstance(value, list) and len(value) == 1 for value in values):
            raise RequestError("must be flat, or nested as the shape says", where=where, status=400)
        values = [value[0] for value in values]
    if len(values) != count:
        raise RequestError(f"must hold {count} elements, as the shape says", where=where, status=400)
    kinds = _JSON_KINDS.get(datatype, (int, float) if datatype in _FLOAT else (int,))
    for place, value in enumerate(values):
        if type(value) not in kinds:
            raise RequestError(f"must be {_WORDS[kinds[-1]]}", where=f"{where}[{place}]", status=400)
    return Tensor(name, datatype, values)


_JSON_KINDS: dict[str, tuple[type, ...]] = {BYTES: (str,), "BOOL": (bool,)}
_WORDS: dict[type, str] = {str: "text", bool: "true or false", float: "a number", int: "a whole number"}


def rows(parser: Parser, tensors: Sequence[Tensor]) -> list[Row]:
    """The rows that some inputs are.

    Raises:
        RequestError: an input is unknown, stands twice, is missing, or holds what its field cannot be.
    """
    given: dict[str, Tensor] = {}
    for place, tensor in enumerate(tensors):
        if tensor.name not in parser.names:
            cure = did_you_mean("", parser.names)
            raise RequestError("is not an input of this model", where=f"inputs[{place}].name", cure=cure)
        if tensor.name in given:
            raise RequestError("stands twice", where=f"inputs.{tensor.name}")
        given[tensor.name] = tensor
    if absent := [field.name for field in parser.fields if field.required and field.name not in given]:
        what = "is missing" if len(absent) == 1 else f"{len(absent)} inputs are missing: {', '.join(absent)}"
        raise RequestError(what, where=f"inputs.{absent[0]}")
    count = len(next(iter(given.values())).values) if given else 0
    columns: list[Sequence[Value]] = []
    for field in parser.fields:
        if field.name not in given:
            columns.append([None] * count)
            continue
        tensor = given[field.name]
        if len(tensor.values) != count:
            raise RequestError("holds another number of rows than the first input", where=f"inputs.{field.name}.shape")
        columns.append(_column(field, tensor))
    parser.limit(count)
    return list(zip(*columns, strict=True))


def _column(field: Field, tensor: Tensor) -> Sequence[Value]:
    where = f"inputs.{field.name}"
    if tensor.datatype not in _TAKEN[field.kind]:
        wanted = " or ".join(sorted(_TAKEN[field.kind]))
        raise RequestError(f"must be {wanted}", where=f"{where}.datatype")
    try:
        return _checked(field, tensor)
    except msgspec.ValidationError:
        raise RequestError(_said(field), where=where) from None
    except (OverflowError, ValueError):
        raise RequestError("is out of range", where=where) from None


def _checked(field: Field, tensor: Tensor) -> Sequence[Value]:
    """The values, if they are such as the field may have.

    Of which type they are, their datatype has made sure. msgspec takes ten times as long to say so again, so it is only
    asked to refuse.
    """
    values = cast("Sequence[Any]", tensor.values)
    if field.kind is float:
        return [_number(value, field) for value in values]
    if field.kind is datetime and tensor.datatype == "INT64":
        return [_EPOCH + timedelta(microseconds=value) for value in values]
    if field.kind is bool:
        return values
    if field.kind is str and max(map(len, values)) <= LONGEST_TEXT:
        return values
    if field.kind is int and field.least <= min(values) and max(values) <= field.most:
        return values
    checked: Sequence[Value] = msgspec.convert(values, field.column)
    return checked


def _number(value: object, field: Field) -> float | None:
    number = float(value)  # type: ignore[arg-type]  # the datatype is one of numbers
    if number != number and not field.required:
        return None
    if number - number != 0:
        raise ValueError
    return number


def _said(field: Field) -> str:
    return _ASKED.get(field.kind, "is out of range")


_ASKED: dict[type, str] = {
    str: f"must be text of at most {LONGEST_TEXT} characters",
    datetime: "must be RFC 3339 with a zone, such as 2026-01-01T12:00:00Z",
    date: "must be a date such as 2026-01-01",
}
