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
from raypipe.lake.units import FEW_VALUES, FEWEST, QUANTILES, factor, factor_of_few, quantiles
from raypipe.spec import Source

#: Rows of a JSON file that are asked for their keys.
ROWS_ASKED = 1_000


class Shape(Record, frozen=True, kw_only=True):
    """What columns look like as shipped.

    ``columns`` are in the order of the file, each with its type and the unit that it names, empty where a format tells
    no types; ``scales`` the quantiles of numeric columns, as they were first seen; ``few`` how large values were, in
    three digits, of columns that came in so small numbers that they are yet to be judged.
    """

    columns: tuple[tuple[str, str], ...] = ()
    scales: dict[str, tuple[float, ...]] = msgspec.field(default_factory=dict)
    few: dict[str, tuple[float, ...]] = msgspec.field(default_factory=dict)


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


def sizes_of(source: Source, rows: pl.DataFrame) -> Shape:
    """How large the values of shipped columns of numbers are: quantiles, or, where they are few, themselves."""
    names = [n for n, kind in source.columns.items() if kind in (int, float) and n not in source.rescales]
    if not names:
        return Shape()
    sizes = rows.lazy().select(pl.col(names).abs().cast(pl.Float64).fill_nan(None))
    asked = [
        *(pl.col(name).quantile(q).alias(f"{name}\0{q}") for name in names for q in QUANTILES),
        *(pl.col(name).count().alias(name) for name in names),
    ]
    found = sizes.select(asked).collect().row(0, named=True)
    enough = [name for name in names if found[name] >= FEW_VALUES and found[f"{name}\0{QUANTILES[0]}"]]
    small = [name for name in names if 0 < found[name] < FEW_VALUES]
    few = sizes.select(pl.col(small).round_sig_figs(3).implode()).collect() if small else pl.DataFrame()
    return Shape(
        scales={name: tuple(found[f"{name}\0{q}"] for q in QUANTILES) for name in enough},
        few={name: tuple(few[name][0].drop_nulls()) for name in small},
    )


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
        _require_unit(source, name, factor(before.scales[name], now.scales[name]), where)
    first, few = dict(now.scales), dict(before.few)
    for name, values in now.few.items():
        pool = few.pop(name, ())
        if name in before.scales:
            pool = _judged(source, name, before.scales[name], pool, values, where)
        elif len(pool := pool + values) >= FEW_VALUES:
            first |= {name: size} if (size := quantiles(pool)) else {}
            pool = ()
        few |= {name: pool} if pool else {}
    scales = first | {name: one for name, one in before.scales.items() if name not in source.rescales}
    return Shape(columns=now.columns or before.columns, scales=scales, few=few), _changes(old, new)


def _judged(
    source: Source, name: str, scale: Sequence[float], pool: tuple[float, ...], values: tuple[float, ...], where: str
) -> tuple[float, ...]:
    """Judge values that are few: alone, or with those before that were fewer still. Returns those yet to be judged."""
    alone = len(values) >= FEWEST
    some = values if alone else pool + values
    if len(some) < FEWEST:
        return some
    _require_unit(source, name, factor_of_few(scale, some), where)
    return pool if alone else ()


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


def _require_unit(source: Source, name: str, found: float | None, where: str) -> None:
    if found is None:
        return
    times = f"{found:,.0f} times as large" if found > 1 else f"{1 / found:,.0f} times smaller"
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
