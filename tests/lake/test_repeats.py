"""The same id counts once, against a plain loop over all rows."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.lake import repeats
from raypipe.lake.repeats import differing, drop_rows, repeated_rows

SCHEMA = pa.schema([("a", pa.int64()), ("b", pa.large_string()), ("note", pa.int64())])
Row = tuple[int | None, str | None, int]
rows = st.lists(
    st.tuples(st.none() | st.integers(0, 3), st.none() | st.sampled_from(["x", "y"]), st.integers(0, 2)), max_size=8
)


def brute(old: list[Row], new: list[Row]) -> list[int]:
    """Rows whose id is whole repeat by id, others by everything."""
    seen = {row[:2] if None not in row[:2] else row for row in old}
    again = []
    for place, row in enumerate(new):
        key = row[:2] if None not in row[:2] else row
        if key in seen:
            again.append(place)
        seen.add(key)
    return again


def brute_differing(old: list[Row], new: list[Row]) -> list[int]:
    """Positions of rows with a whole id that is known with another note."""
    kept: dict[tuple[int | None, str | None], int] = {}
    for row in old:
        kept.setdefault(row[:2], row[2])
    other = []
    for place, row in enumerate(new):
        if None not in row[:2] and kept.setdefault(row[:2], row[2]) != row[2]:
            other.append(place)
    return other


def write(folder: Path, name: str, parts: list[list[Row]]) -> list[str]:
    paths = []
    for place, part in enumerate(parts):
        paths.append(str(folder / f"{name}{place}.parquet"))
        columns = list(zip(*part, strict=True)) or [(), (), ()]
        pq.write_table(pa.table([pa.array(c, t.type) for c, t in zip(columns, SCHEMA, strict=True)], SCHEMA), paths[-1])
    return paths


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows, st.lists(rows, max_size=3), st.sampled_from([1, 4, 1000]))
def test_repeats_are_found_and_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: list[Row], new: list[list[Row]], at_a_time: int
) -> None:
    monkeypatch.setattr(repeats, "ROWS_AT_A_TIME", at_a_time)
    before = [row for place, row in enumerate(old) if place not in brute([], old)]
    old_paths, new_paths = write(tmp_path, "old", [before] if before else []), write(tmp_path, "new", new)
    flat = [row for part in new for row in part]
    expected = brute(before, flat)
    found = repeated_rows(old_paths, new_paths, ["a", "b"], ["a", "b", "note"])
    assert found.to_list() == expected
    other = brute_differing(before, flat)
    told = differing(old_paths, new_paths, found, ["a", "b"], ["a", "b", "note"])
    assert (None if told is None else (told.rows, told.first, told.columns)) == (
        (len(other), other[0], ("note",)) if other else None
    )
    kept = drop_rows(new_paths, found, SCHEMA)
    left = pl.read_parquet(kept, glob=False).rows() if kept else []
    assert left == [row for place, row in enumerate(flat) if place not in expected]
    assert {path.name for path in tmp_path.glob("new*")} == {Path(path).name for path in kept}
    for path in tmp_path.glob("*.parquet"):
        path.unlink()
