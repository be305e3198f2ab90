"""JSON that can be read in one way only: no repeated key, no NaN, no number beyond 64 bits, no deep nesting."""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import msgspec

from raypipe.errors import RequestError

T = TypeVar("T")
DEPTH = 32
_KEY = re.compile(rb'"\s*:')
_PLAIN_PATH = re.compile(r"- at `\$\.?(?P<path>[\w.\[\]]{0,100})`$")


def decode(body: bytes, kind: type[T], keys: Callable[[T], int] | None = None) -> T:
    """A body as a type.

    Args:
        body: JSON in UTF-8.
        kind: what it must be.
        keys: counts the keys of what was read, if that can be done; spares a second look.

    Raises:
        RequestError: status 400, naming where it is wrong, never what was sent.

    >>> decode(b'{"a": 1, "a": 2}', dict)
    Traceback (most recent call last):
    ...
    raypipe.errors.RequestError: body: holds a key that stands twice in one object
    """
    try:
        found: T = _decoder(kind).decode(body)  # type: ignore[arg-type]  # a type can be a key
    except msgspec.ValidationError as error:
        path = _PLAIN_PATH.search(str(error))
        where = path["path"] if path and path["path"] else "body"
        raise RequestError(_said(str(error)), where=where, status=400) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RequestError("is not JSON in UTF-8", where="body", status=400) from None
    except RecursionError:
        raise _too_deep() from None
    if keys is None:
        _look_again(body)
    else:
        refuse_repeated(body, keys(found))
    return found


def refuse_repeated(body: bytes, keys: int) -> None:
    """Refuse a key that stands twice in one object: readers differ on which one counts.

    Args:
        body: JSON that was read.
        keys: how many keys what was read must have had, at least.

    Raises:
        RequestError: status 400.
    """
    # A body without a repeat has no more keys than that; only others are read again, slowly.
    if len(_KEY.findall(body)) != keys:
        _look_again(body)


@cache
def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(kind)


def _look_again(body: bytes) -> None:
    """Slower, by Python's own reader, which tells of every key."""
    try:
        found = json.loads(body, object_pairs_hook=_once)
    except RecursionError:
        raise _too_deep() from None
    if _depth(found) > DEPTH:
        raise _too_deep()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RequestError("holds a key that stands twice in one object", where="body", status=400)
    return found


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level and deepest <= DEPTH:
        deepest += 1
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = inner
    return deepest


def _too_deep() -> RequestError:
    return RequestError(f"is nested more than {DEPTH} deep", where="body", status=400)


def _said(detail: str) -> str:
    what = detail.partition(" - at ")[0]
    if "unknown field" in what:
        return "holds a key that does not belong there"
    if found := re.fullmatch(r"Object missing required field `([A-Za-z_]{1,64})`", what):
        return f"lacks `{found[1]}`"
    return "is not of the right type" if "Expected" in what else "is out of range"
