"""What a person types after ``raypipe predict NAME``, as rows of a request."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from raypipe.errors import RequestError, SourceError

Scalar: TypeAlias = str | int | float | bool | None

_INTEGER = re.compile(r"-?\d{1,18}")
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}


def pairs(words: Sequence[str]) -> dict[str, str]:
    """Names and values from ``--name value``, ``--name=value`` and ``name=value``, in any mixture.

    >>> pairs(["--carrier", "UA", "--flight=1545", "origin=EWR"])
    {'carrier': 'UA', 'flight': '1545', 'origin': 'EWR'}

    Raises:
        RequestError: a word belongs to nothing, or a name stands twice.
    """
    found: dict[str, str] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, content = word.removeprefix("--").partition("=")
        if not equals and word.startswith("--"):
            if not left:
                raise RequestError("has no value", where=word, cure=f"Write `{word} VALUE` or `{name}=VALUE`")
            content = left.pop(0)
        elif not equals:
            raise RequestError(
                "is not a field with its value", where=word, cure="Write `--field VALUE` or `field=VALUE`"
            )
        # Dashes are how options are written; fields are Python names.
        name = name.replace("-", "_") if word.startswith("--") else name
        if name in found:
            raise RequestError("is given twice", where=name, cure="Give each field once")
        found[name] = content
    return found


def typed(row: Mapping[str, str], types: Mapping[str, str]) -> dict[str, Scalar]:
    """Texts as the JSON types that the service asks for; what cannot be read so is sent as it is, for it to refuse.

    >>> typed({"flight": "1545", "tailnum": "1545"}, {"flight": "integer", "tailnum": "string"})
    {'flight': 1545, 'tailnum': '1545'}
    """
    return {name: _value(text, types.get(name, "string")) for name, text in row.items()}


def _value(text: str, kind: str) -> Scalar:
    if text == "null":
        return None
    if kind == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "boolean":
        return _WORDS.get(text.lower(), text)
    if kind in ("number", "integer"):
        try:
            return float(text)
        except ValueError:
            return text
    return text


def rows_of(file: str) -> tuple[list[dict[str, Any]], bool]:
    """The rows of a JSON file (``-``: of standard input), and whether it holds many: a list, or an object a line.

    Raises:
        SourceError: there is no such file, or it is not JSON.
    """
    name = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "cannot be read").lower() if isinstance(error, OSError) else "is not UTF-8"
        raise SourceError(reason, where=name, cure="Give a JSON file of rows") from None
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        return _lines(text, name, error), True
    many = isinstance(found, list)
    rows = found if many else [found]
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise _no_rows(name)
    return rows, many


def _lines(text: str, name: str, whole: json.JSONDecodeError) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            # In a file whose first line is no JSON by itself, the fault of the whole says more.
            at, fault = (number, error) if rows else (whole.lineno, whole)
            raise SourceError(f"is not JSON: {fault.msg.lower()}", where=f"{name}:{at}") from None
        if not isinstance(row, dict):
            raise SourceError("is not an object of fields", where=f"{name}:{number}")
        rows.append(row)
    if not rows:
        raise _no_rows(name)
    return rows


def _no_rows(name: str) -> SourceError:
    return SourceError("holds no rows", where=name, cure="Give an object of fields, a list of them, or one a line")
