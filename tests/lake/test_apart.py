"""Files of which the ranges of ids lie apart are not read, and nothing is missed for that."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypipe.lake import repeats, storage
from raypipe.lake.apart import extent
from raypipe.lake.repeats import repeated_rows
from tests.lake.test_repeats import Row, brute, write

#: Ranges that lie apart, touch, or overlap; sorted or not; with gaps; one column of an id or two.
spans = st.tuples(st.integers(0, 12), st.lists(st.tuples(st.none() | st.integers(0, 4), st.sampled_from("xyz"))))


def rows_of(span: tuple[int, list[tuple[int | None, str]]], *, rising: bool) -> list[Row]:
    start, found = span
    rows = [(None if a is None else start + a, b, len(b)) for a, b in found]
    return sorted(rows, key=lambda row: (row[0] is None, row[0] or 0)) if rising else rows


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(spans, max_size=3), st.lists(spans, max_size=4), st.booleans(), st.sampled_from([["a"], ["a", "b"]]))
def test_the_same_rows_come_again_as_where_all_is_looked_at(
    tmp_path: Path, old, new, rising: bool, id: list[str]
) -> None:
    parts = [rows_of(span, rising=rising) for span in old], [rows_of(span, rising=rising) for span in new]

    def key(row: Row) -> Row:
        return row if id == ["a", "b"] else (row[0], "" if row[0] is not None else row[1], row[2])

    flat: list[Row] = []
    seen_old = []
    for part in parts[0]:  # no row of a table repeats another
        kept = [row for row in part if not brute([key(one) for one in flat], [key(row)])]
        kept = [row for place, row in enumerate(kept) if place not in brute([], [key(one) for one in kept])]
        flat += kept
        seen_old.append(kept)
    come = [row for part in parts[1] for row in part]
    found = repeated_rows(write(tmp_path, "old", seen_old), write(tmp_path, "new", parts[1]), id, ["a", "b", "note"])
    assert found.to_list() == brute([key(one) for one in flat], [key(one) for one in come])


def test_what_lies_apart_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a table of a year a new month touches the last one."""
    months = [[(100 * month + day, "x", 0) for day in range(40)] for month in range(12)]
    old = write(tmp_path, "old", months)
    new = write(tmp_path, "new", [[(1_139, "x", 0), (1_140, "x", 0)], [(1_300, "x", 0), (1_301, "x", 0)]])
    read: set[str] = set()
    scan = storage.scan
    monkeypatch.setattr(repeats.storage, "scan", lambda paths, *how: (read.update(paths), scan(paths, *how))[1])
    assert repeated_rows(old, new, ["a"], ["a", "b", "note"]).to_list() == [0]
    assert read == {old[-1], *new}
    read.clear()
    assert repeated_rows(old, new[1:], ["a"], ["a", "b", "note"]).to_list() == []
    assert read == set(new[1:])


@pytest.mark.parametrize(
    ("values", "known"),
    [([3, 1, None], (1, 3)), ([0.5, float("nan")], None), (["b", "a" * 5_000], None), ([None, None], "none")],
)
def test_only_ranges_that_can_be_trusted_are(tmp_path: Path, values: list[object], known: object) -> None:
    """Not-a-numbers are in no range, and a text that is too long is left out of it."""
    path = str(tmp_path / "one.parquet")
    storage.write(
        pl.DataFrame({"a": values}, schema_overrides={"a": pl.Int64} if known == "none" else None).to_arrow(), path
    )
    found = extent(path, ["a"])
    assert found.ranges == (() if known == "none" else (known,))
    assert found.gaps == (None in values)
    assert found.may_share(found) == (known != "none")
