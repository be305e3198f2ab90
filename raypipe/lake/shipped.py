"""What files look like as they are shipped, and what changed since: more is taken note of, less stops the source."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.contracts.records import Record
from raypipe.errors import SourceError
from raypipe.lake import faults
from raypipe.lake.declared import files_of
from raypipe.lake.elsewhere import FoundTable
from raypipe.lake.files import FoundFile
from raypipe.spec import Source

#: Rows of a JSON file that are asked for their keys.
ROWS_ASKED = 1_000
#: Below so many values the quantiles of a column say too little.
FEW_VALUES = 100
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
#: What lies between two units of one thing: minutes and hours, metres and kilometres, seconds and microseconds …
FACTORS = (60.0, 100.0, 1e3, 3_600.0, 86_400.0, 1e6, 1e9)
#: How far each quantile may be from the factor, and how wide a column has to be spread for that to tell anything.
NEAR, SPREAD = 0.25, 1.5
#: Numbers from here on are times since an epoch: they are all alike, and jump by exactly a power of a thousand.
EPOCH = 1e8


class Shape(Record, frozen=True, kw_only=True):
    """What columns look like as shipped.

    ``columns`` are in the order of the file, each with its type and the unit that it names, empty where a format tells
    no types; ``scales`` the quantiles of numeric columns, as they were first seen.
    """

    columns: tuple[tuple[str, str], ...] = ()
    scales: dict[str, tuple[float, ...]] = msgspec.field(default_factory=dict)


def columns_of(file: FoundFile, source: Source) -> tuple[tuple[str, str], ...]:
    """The columns that a file has, each with its type; it was read already, so it can be read."""
    return tuple(_types(file, source).items())


def _types(file: FoundFile, source: Source) -> dict[str, str]:
    if isinstance(file, FoundTable):
        return {one.name: str(one.type) for one in file.schema or ()}
    kind = files_of(source).format
    if kind == "csv":
        return dict.fromkeys(faults.csv_header(file), "")
    if kind == "json":
        with closing(faults.lines(file)) as lines:
            return {name: "" for _, line in islice(lines, ROWS_ASKED) for name in msgspec.json.decode(line)}
    with file.path.open("rb") as raw:
        if kind == "avro":
            import fastavro

            schema: Any = fastavro.reader(raw).writer_schema
            return {one["name"]: _avro_type(one["type"]) for one in schema["fields"]}
        if kind == "orc":
            from pyarrow import orc

            return {one.name: str(one.type) for one in orc.ORCFile(pa.PythonFile(raw, mode="r")).schema}
        return {one.name: str(one.type) + _unit(one) for one in pq.read_schema(raw)}


def scales_of(source: Source, rows: pl.DataFrame) -> dict[str, tuple[float, ...]]:
    """The quantiles of each shipped column of numbers that tell how large its values are."""
    names = [n for n, kind in source.columns.items() if kind in (int, float) and n not in source.rescales]
    sizes = rows.lazy().select(pl.col(names).abs().cast(pl.Float64).fill_nan(None))
    asked = [
        *(pl.col(name).quantile(q).alias(f"{name}\0{q}") for name in names for q in QUANTILES),
        *(pl.col(name).count().alias(name) for name in names),
    ]
    if not names:
        return {}
    found = sizes.select(asked).collect().row(0, named=True)
    enough = [name for name in names if found[name] >= FEW_VALUES and found[f"{name}\0{QUANTILES[0]}"]]
    return {name: tuple(found[f"{name}\0{q}"] for q in QUANTILES) for name in enough}


def after(source: Source, before: Shape, now: Shape, where: str) -> tuple[Shape, list[str]]:
    """The shape with what came later, and what changed, in words.

    Args:
        source: whose columns they are.
        before: what they looked like; empty when nothing came yet.
        now: what they look like.
        where: names what came.

    Raises:
        SourceError: a declared column is narrower than it was, or its values are in another unit.
    """
    old, new = dict(before.columns), dict(now.columns)
    for name in source.columns.keys() & old.keys() & new.keys():
        _require_no_less(source, name, old[name], new[name], where)
    for name in before.scales.keys() & now.scales.keys():
        _require_unit(source, name, before.scales[name], now.scales[name], where)
    scales = now.scales | {name: one for name, one in before.scales.items() if name not in source.rescales}
    return Shape(columns=now.columns or before.columns, scales=scales), _changes(old, new)


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    if not before or not now:
        return []
    found = [f"`{name}` was added" for name in now if name not in before]
    found += [f"`{name}`, which is not declared, is gone" for name in before if name not in now]
    found += [
        f"`{name}` was {before[name]} and is {now[name]}" for name in now if now[name] != before.get(name, now[name])
    ]
    both = [name for name in before if name in now]
    return found + (["the columns are in another order"] if both != [name for name in now if name in before] else [])


def _require_no_less(source: Source, name: str, before: str, now: str, where: str) -> None:
    (old, old_unit), (new, new_unit) = _parts(before), _parts(now)
    cure = f"Change the file; or, if it is right, give the table another name and convert it at {source.where}"
    if old_unit != new_unit:
        raise SourceError(
            f"column `{name}` was in {old_unit or 'no unit'} and is in {new_unit or 'none'}", where=where, cure=cure
        )
    if _digits(new) < _digits(old):
        raise SourceError(f"column `{name}` was {old} and is only {new}", where=where, cure=cure)


def _require_unit(source: Source, name: str, before: Sequence[float], now: Sequence[float], where: str) -> None:
    ratios = [b / a for a, b in zip(before, now, strict=True)]
    spread = min(before[-1] / before[0], now[-1] / now[0]) >= SPREAD
    for factor in (*FACTORS, *(1 / one for one in FACTORS)):
        epoch = max(factor, 1 / factor) in (1e3, 1e6, 1e9) and min(*before, *now) >= EPOCH
        if (spread or epoch) and all(abs(ratio / factor - 1) <= NEAR for ratio in ratios):
            times = f"{factor:,.0f} times as large" if factor > 1 else f"{1 / factor:,.0f} times smaller"
            what = f"column `{name}` seems to be in another unit: its values are {times} as they were"
            cure = f'Convert it where it is written; if it is right, add `rescales=["{name}"]` at {source.where}'
            raise SourceError(what, where=where, cure=cure)


def _avro_type(declared: object) -> str:
    kinds = [kind for kind in (declared if isinstance(declared, list) else [declared]) if kind != "null"]
    return "|".join(kind if isinstance(kind, str) else msgspec.json.encode(kind).decode() for kind in kinds)


def _unit(field: pa.Field) -> str:
    said = field.metadata or {}
    unit = said.get(b"unit", said.get(b"units", b"")).decode(errors="replace")
    return f" in {unit}" if unit else ""


def _parts(text: str) -> tuple[str, str]:
    kind, _, unit = text.partition(" in ")
    return kind, unit


def _digits(kind: str) -> int:
    """How fine values of a type are, in bits; types that cannot be compared count alike."""
    exact = {"float": 24, "halffloat": 11, "double": 53, "long": 64}
    if kind in exact:
        return exact[kind]
    if kind.startswith(("int", "uint")):
        return int(kind.lstrip("uint") or 32)
    for place, unit in enumerate(("[s", "[ms", "[us", "[ns")):
        if kind.startswith("timestamp") and unit in kind:
            return place - 10
    return 0
