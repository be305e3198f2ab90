"""A gate reads each row of a table once, whatever it asks; blocks of the pass change no answer."""

import re
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from unittest import mock

import polars as pl
import polars.selectors as cs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.contracts.changes import Changes
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import GateReport, Snapshot
from raypipe.spec import checks, hours
from raypipe.spec.checks import Check
from raypipe.validation import examine
from raypipe.validation.gate import examine_rows
from raypipe.validation.subject import Subject
from tests.validation.test_gate import AS_OF, EVERY_CHECK, KNOWN_PLACES, NOW, one, pipeline, rows, visits
from tests.validation.test_gate import judge as judged

#: All six kinds: schema (always), statistical, complete, fresh, consistent, distributed as before.
STREAM = visits(
    *EVERY_CHECK,
    checks.quantile("real", 0.5, 0, 1),
    checks.cardinality("place", 1),
    checks.unique("id"),
    checks.rows_like_before(within=10),
    checks.lag(within=hours(1)),
    checks.drift("real", 0.5),
    checks.drift("place", 0.5),
)


def sound(first: int, many: int) -> pl.DataFrame:
    return rows(
        STREAM,
        *(
            {"id": i, "text": "a", "real": i * 5 % 12 / 100, "whole": 1, "truth": True, "place": "Bern"}
            for i in range(first, first + many)
        ),
    )


def snapshot(table: str, number: int) -> Snapshot:
    return Snapshot(table=table, snapshot_id=number, definition="", rows=0, added=0, repeated=0, files=())


def gated(folder: Path, *, came: bool = True) -> GateReport:
    """What the gate says of two files, of which the later came since."""
    old, new = folder / "old.parquet", folder / "new.parquet"
    files = [old, new] if came else [old]
    frames = {
        ("places", 2): KNOWN_PLACES.lazy(),
        ("visits", 1): pl.scan_parquet(old),
        ("visits", 2): pl.scan_parquet(files),
    }
    gained = pl.scan_parquet(new) if came else sound(0, 0).lazy()
    return examine(
        pipeline(STREAM),
        [snapshot("places", 2), snapshot("visits", 2)],
        lambda which: frames[which.table, which.snapshot_id],
        NOW,
        Silent(),
        [snapshot("visits", 1)],
        since=lambda _, __: Changes(kept=pl.scan_parquet(old), gained=gained, lost=None, anew=False),
        kept=folder / "kept",
    ).report


def test_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound(0, 8).write_parquet(tmp_path / "old.parquet")
    sound(8, 4).write_parquet(tmp_path / "new.parquet")
    first = gated(tmp_path)  # finds what is compared with, and keeps it
    read: Counter[str] = Counter()
    collect, collect_all = pl.LazyFrame.collect, pl.collect_all

    def count(plan: str) -> None:
        for files in re.findall(r"Parquet SCAN \[([^\]]*)\]", plan):
            read.update(re.findall(r"(\w+)\.parquet", files))

    def one_plan(self: pl.LazyFrame, *args: object, **kwargs: object) -> pl.DataFrame:
        count(self.explain())
        return collect(self, *args, **kwargs)  # type: ignore[call-overload,no-any-return]

    def plans(frames: list[pl.LazyFrame], **kwargs: object) -> list[pl.DataFrame]:
        count(pl.explain_all(frames))
        return collect_all(frames, **kwargs)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(pl.LazyFrame, "collect", one_plan)
    monkeypatch.setattr(pl, "collect_all", plans)
    report = gated(tmp_path)
    assert read == {"old": 1, "new": 1}
    assert report == first
    assert not report.stopping, report.stopping


def test_new_rows_alone_are_compared_and_all_when_none_are_new(tmp_path: Path) -> None:
    def drift() -> tuple[bool, str]:
        report = gated(tmp_path, came=came)
        result = next(r for r in report.results if r.check.startswith("drift(real"))
        return result.passed, result.detail

    sound(0, 8).write_parquet(tmp_path / "old.parquet")
    sound(8, 4).with_columns(real=pl.lit(0.9)).write_parquet(tmp_path / "new.parquet")
    came = True
    assert drift()[0] is False
    assert " of 4 values from 8 before" in drift()[1]
    came = False
    assert drift()[0] is True
    assert " of 8 values from 8 before" in drift()[1]


RULES = {
    "one row": (pl.col("whole") >= 1_000, 1_000),
    "rows around": (pl.col("whole") >= pl.col("whole").max(), 299_999),
    "the row before": (pl.col("whole") > pl.col("whole").shift(1), 0),
    "columns by their kind": (pl.max_horizontal(cs.integer()) < 299_000, 1_000),
    "a name beside others by their kind": (pl.col("whole") == pl.max_horizontal(cs.integer()), 0),
}


@pytest.mark.parametrize(("rule", "failed"), RULES.values(), ids=RULES)
def test_a_rule_means_the_same_in_blocks(rule: pl.Expr, failed: int) -> None:
    """There are more rows than one block of a pass holds."""
    stream = visits(checks.holds(rule))
    many = rows(stream, {}).select(pl.all().repeat_by(300_000).explode()).with_columns(
        whole=pl.int_range(300_000, dtype=pl.Int64), id=pl.int_range(300_000, dtype=pl.Int64)
    )  # fmt: skip
    assert one(judged(many, stream)).failed == failed


@pytest.mark.parametrize(("low", "high", "passed"), [(3, 4, True), (4, 4, False), (3, 3, False)])
def test_a_row_that_is_not_known_yet_fills_no_table_and_does_not_hide_in_it(low: int, high: int, passed: bool) -> None:
    stream = visits(checks.rows(low, high))
    later = AS_OF + timedelta(seconds=1)
    result = one(judged(rows(stream, {}, {}, {}, {"known_at": later}), stream))
    assert (result.passed, result.rows) == (passed, 4)
    assert result.detail == f"4 rows, 1 of them not known yet; at least {low}, at most {high}"


def aside(check: Check) -> Check:
    return check.quarantine()


def test_rows_are_set_aside_in_one_more_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that finds them, one that judges what is left: also with four checks that each have some."""
    gate = (checks.not_null("text"), checks.between("real", 0, 1), checks.unique("whole"), checks.lag(within=hours(1)))
    stream = visits(*map(aside, gate), checks.rows(1))
    listed: list[dict[str, object]] = [{"text": "a", "real": 0.5, "whole": i} for i in range(9)]
    listed[2]["text"], listed[4]["real"], listed[6]["whole"] = None, 7.0, 5
    listed[8]["known_at"] = AS_OF + timedelta(hours=3)
    rows(stream, *listed).write_parquet(tmp_path / "visits.parquet")
    frames = {"places": KNOWN_PLACES.lazy(), "visits": pl.scan_parquet(tmp_path / "visits.parquet")}
    scans: Counter[str] = Counter()
    collect, collect_all = pl.LazyFrame.collect, pl.collect_all

    def one_plan(self: pl.LazyFrame, *args: object, **kwargs: object) -> pl.DataFrame:
        scans.update(re.findall(r"(\w+)\.parquet", self.explain()))
        return collect(self, *args, **kwargs)  # type: ignore[call-overload,no-any-return]

    def plans(frames: list[pl.LazyFrame], **kwargs: object) -> list[pl.DataFrame]:
        scans.update(re.findall(r"(\w+)\.parquet", pl.explain_all(frames)))
        return collect_all(frames, **kwargs)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(pl.LazyFrame, "collect", one_plan)
    monkeypatch.setattr(pl, "collect_all", plans)
    snapshots = [snapshot("places", 2), snapshot("visits", 2)]
    found = examine(pipeline(stream), snapshots, lambda which: frames[which.table], NOW, Silent())
    assert scans == {"visits": 3}
    (faulty,) = found.faulty
    assert dict(faulty.rows.select("row", "check").rows()) == {
        2: gate[0].name,
        4: gate[1].name,
        6: gate[2].name,
        8: gate[3].name,
    }


VALUES = st.tuples(st.none() | st.sampled_from("ab"), st.none() | st.sampled_from([0.5, 7.0]), st.integers(0, 3))


@given(st.lists(VALUES, max_size=12), st.permutations(range(4)), st.sampled_from([0, 100_000]))
@settings(deadline=None, max_examples=150)
def test_a_row_is_charged_to_the_first_check_that_it_fails(
    listed: list[tuple[str | None, float | None, int]], order: list[int], looked_at: int
) -> None:
    """As plain Python says, check by check on what is left; whether whole rows are gathered changes nothing."""
    grows = pl.col("whole") >= pl.col("whole").shift(1)  # looks at the row before
    gate = (checks.not_null("text"), checks.between("real", 0, 1), checks.unique("whole", "real"), checks.holds(grows))
    stream = visits(*(gate[place].quarantine() for place in order))
    left = [(row, *values) for row, values in enumerate(listed)]
    expected: list[tuple[int, str]] = []
    counts: list[tuple[int, int]] = []
    for place in order:
        some = _failing(place, left)
        about = {
            0: len(left),
            1: sum(real is not None for _, _, real, _ in left),
            2: len(left),
            3: max(len(left) - 1, 0),
        }[place]
        counts.append((about, len(some)))
        expected += [(row, gate[place].name) for row in some]
        left = [one for one in left if one[0] not in some]
    full: list[dict[str, object]] = [dict(zip(("text", "real", "whole"), one, strict=True)) for one in listed]
    frame = rows(stream, *full)
    with mock.patch("raypipe.validation.sieve.LOOKED_AT", looked_at):
        subject = Subject.of(stream)
        verdict = examine_rows(subject, frame.lazy(), {}, NOW)
    assert sorted(verdict.faulty.select(pl.first(), "check").rows()) == sorted(expected)
    assert [(one.rows, one.failed) for one in verdict.results[1:]] == counts
    assert verdict.good.collect()["id"].to_list() == [row for row, *_ in left]


def _failing(place: int, left: list[tuple[int, str | None, float | None, int]]) -> list[int]:
    if place == 0:
        return [row for row, text, _, _ in left if text is None]
    if place == 1:
        return [row for row, _, real, _ in left if real is not None and real > 1]
    if place == 2:
        return [one[0] for at, one in enumerate(left) if any(one[2:] == other[2:] for other in left[:at])]
    return [now[0] for before, now in pairwise(left) if now[3] < before[3]]
