"""Keys of entities, alike in history and in requests: as columns to join by, as bytes to store under."""

import hashlib
from collections.abc import Sequence

import msgspec
import polars as pl

from raypipe.errors import FeatureError

_LONGEST = 200
_MANY = 255
_AS_THEY_ARE = frozenset({pl.String(), pl.Boolean(), pl.Binary(), pl.Int64()})
_NAN = float("nan")
_encode = msgspec.msgpack.Encoder().encode


def plain(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Key columns as ``k0``, ``k1`` … in the few types that keys are compared in."""
    return pl.DataFrame([comparable(frame[name]).alias(f"k{i}") for i, name in enumerate(names)])


def comparable(values: pl.Series) -> pl.Series:
    """A key column in one of the few types that keys are compared in."""
    if values.dtype in _AS_THEY_ARE:
        return values
    return values.to_frame().select(expression(values.name, values.dtype)).to_series()


def expression(name: str, kind: pl.DataType) -> pl.Expr:
    """The same for a column of a frame."""
    column = pl.col(name)
    if kind in _AS_THEY_ARE:
        return column
    if kind.is_integer() or kind.is_temporal():
        return column.to_physical().cast(pl.Int64)
    if not kind.is_float():
        return column.cast(pl.String)
    # The two zeros are one key, and so is all that is no number, whatever its bits.
    number = column.cast(pl.Float64)
    return pl.when(number.is_nan()).then(_NAN).otherwise(number + 0.0).alias(name)


def bucket(columns: Sequence[pl.Expr], many: int) -> pl.Expr:
    """Which of ``many`` parts of a job a key belongs to; good within one job only."""
    return (pl.struct(columns).hash(0) % many).cast(pl.Int64)


def stored(number: int, key: Sequence[object]) -> bytes | None:
    """What an entity's state is stored under; None when a part of the key is missing: nobody is asked about.

    Args:
        number: the place of the group or table among the pipeline's.
        key: the values of one row of ``plain``.
    """
    if None in key:
        return None
    text = _encode([_alike(value) if type(value) is float else value for value in key])
    if len(text) > _LONGEST:
        text = hashlib.blake2b(text, digest_size=32).digest()
    return _prefix(number) + text


def _alike(value: float) -> float:
    """A number as `expression` has it."""
    return value + 0.0 if value == value else _NAN  # only what is no number differs from itself


def _prefix(number: int) -> bytes:
    r"""One byte for the first 255 groups and tables, five for those beyond: no one begins as another does.

    >>> _prefix(7), _prefix(300)
    (b'\x07', b'\xff\x00\x00\x01,')
    """
    return bytes([number]) if number < _MANY else bytes([_MANY]) + number.to_bytes(4, "big")


def stored_each(number: int, asked: Sequence[tuple[object, ...]]) -> list[bytes | None]:
    """The same for many keys, of which most are asked for more than once."""
    known = {key: stored(number, key) for key in set(asked)}
    return [known[key] for key in asked]


def require_alike(found: pl.DataFrame, asked: pl.DataFrame, where: str) -> None:
    """Raises FeatureError when the keys of events and of questions have different types."""
    if found.schema != asked.schema:
        kinds = f"{_kinds(asked)} is asked for, but the events have {_kinds(found)}"
        raise FeatureError(f"key types differ: {kinds}", where=where, cure="Cast one of them in `derive`")


def _kinds(frame: pl.DataFrame) -> str:
    return ", ".join(str(kind) for kind in frame.dtypes)
