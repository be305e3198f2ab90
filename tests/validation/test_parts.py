"""What checks ask in parts: blocks of rows, however they are cut, add up to the whole."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.spec import checks, hours
from raypipe.validation import Subject
from raypipe.validation.judge import questions
from raypipe.validation.parts import Part, merged, state
from raypipe.validation.reference import reference
from raypipe.validation.table import Table
from tests.validation.test_gate import AS_OF, EVERY_CHECK, KNOWN_PLACES, NOW, odd_rows, rows, visits

STREAM = visits(
    *EVERY_CHECK,
    checks.quantile("real", 0.5, 0, 1),
    checks.quantile("whole", 0.1, None, 5),
    checks.cardinality("text", 1),
    checks.drift("real", 0.5),
    checks.drift("place", 0.5),
    checks.drift("truth", 0.5),
    checks.lag(within=hours(1)),
)
LISTED: list[dict[str, object]] = [
    {"real": float(i % 7), "place": ["Bern", None][i % 2], "truth": i % 3 == 0} for i in range(40)
]
BEFORE = rows(STREAM, *LISTED)


def parts() -> list[Part]:
    subject = Subject.of(STREAM)
    table = Table(subject, BEFORE.lazy(), BEFORE.lazy(), NOW, reference=reference(subject, BEFORE.lazy(), NOW))
    asked, broken = questions(table, {"places": KNOWN_PLACES["place"]})
    assert not broken
    return [part for one in asked.values() for part in one.values()]


def plain(value: object) -> object:
    """Lists of values and of counts have no order of their own."""
    if not isinstance(value, list):
        return value
    return sorted(map(str, value)) if not value or not isinstance(value[0], int) else value


@settings(max_examples=40, deadline=None)
@given(st.lists(odd_rows, min_size=1, max_size=12), st.data())
def test_blocks_add_up_to_the_whole(listed: list[dict[str, object]], data: st.DataObject) -> None:
    asked = parts()
    frame = rows(STREAM, *listed)
    mergeable = [part for part in asked if part.merge is not None]
    assert {part.merge for part in mergeable} == {"sum", "add", "values", "tally"}
    cut = sorted(data.draw(st.lists(st.integers(0, frame.height), max_size=3)))
    edges = [0, *cut, frame.height]
    blocks = [frame.slice(low, high - low) for low, high in pairwise(edges)]
    found = merged([state(block.lazy(), mergeable) for block in blocks], mergeable).row(0, named=True)
    whole = state(frame.lazy(), mergeable).row(0, named=True)
    assert {name: plain(value) for name, value in found.items()} == {n: plain(v) for n, v in whole.items()}


def test_only_what_is_unique_needs_all_rows_at_once() -> None:
    alone = [part for part in parts() if part.merge is None]
    assert len(alone) == 1
    assert "is_first_distinct" in str(alone[0].of)


def test_what_needs_all_rows_is_asked_alone_too() -> None:
    (unique,) = [part for part in parts() if part.merge is None]
    assert state(BEFORE.lazy(), [unique]).row(0) == (BEFORE.select(unique.of).item(),)


def test_a_part_names_the_columns_that_it_reads() -> None:
    """A block is handed in with no others."""
    mergeable = [part for part in parts() if part.merge is not None]
    assert {str(part.of) for part in mergeable if not part.of.meta.root_names()} == {"len()", "0"}


def test_a_question_has_one_name_in_every_process() -> None:
    assert [part.name for part in parts()] == [part.name for part in parts()]


def test_what_is_compared_with_is_found_once(tmp_path: Path) -> None:
    subject = Subject.of(STREAM)
    found = reference(subject, BEFORE.lazy(), NOW, tmp_path / "1")
    gone = BEFORE.head(0).lazy()
    assert found is not None
    assert found.rows == 40
    assert reference(subject, gone, NOW, tmp_path / "1") == found
    assert reference(subject, gone, NOW, tmp_path / "2") != found
    assert len(list(tmp_path.iterdir())) == 1, "of the first snapshot nobody asks any more"


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(microseconds=1)])
def test_what_holds_for_one_moment_alone_is_not_kept(tmp_path: Path, ahead: timedelta) -> None:
    subject = Subject.of(STREAM)
    before = BEFORE.with_columns(known_at=pl.lit(AS_OF + ahead)).lazy()
    found = reference(subject, before, NOW, tmp_path / "1")
    assert found is not None
    assert found.rows == (0 if ahead else 40)
    assert bool(list(tmp_path.iterdir())) == (not ahead)
