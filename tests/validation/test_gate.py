"""Each kind of check with a planted fault that must not pass, counted by plain Python; and data that is odd."""

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import CheckResult, GateReport, Snapshot
from raypipe.errors import GateError
from raypipe.spec import Pipeline, Search, Stream, Table, checks, csv, days, hours, models, periods, request
from raypipe.spec.checks import Check
from raypipe.spec.shape import in_lake
from raypipe.validation import check, require

AS_OF = datetime(2024, 1, 2, tzinfo=UTC)
NOW = int(AS_OF.timestamp()) * 1_000_000
NAN = float("nan")
PLACES = Table("places", csv("places.csv"), key="place", columns={str: "place", int: "number"})


def visits(*gate: Check) -> Stream:
    return Stream(
        "visits",
        csv("visits.csv"),
        id=["id"],
        time="at",
        columns={int: "id whole", str: "text place", float: "real", bool: "truth", datetime: "at"},
        gate=gate,
    )


def pipeline(stream: Stream) -> Pipeline:
    return Pipeline(
        "visits",
        ask=stream.before("at"),
        inputs=[request("id", "at")],
        label=stream.label(pl.col("truth"), settled_after=days(1)),
        split=periods(train="2023-01", tune="2023-02", holdout="2023-03"),
        search=Search([models.Linear()]),
    )


def rows(stream: Stream, *listed: dict[str, object]) -> pl.DataFrame:
    """Visits an hour before the run's moment, unless said otherwise; known when they happen."""
    at = AS_OF - timedelta(hours=1)
    full = [{"id": place, "at": at, "event_time": at, "known_at": at} | row for place, row in enumerate(listed)]
    return pl.DataFrame(full, schema=in_lake(stream))


def judge(frame: pl.DataFrame, stream: Stream, places: pl.DataFrame | None = None) -> GateReport:
    frames = {"visits": frame, "places": places if places is not None else pl.DataFrame(schema=in_lake(PLACES))}
    value = pipeline(stream)
    snapshots = [
        Snapshot(table=s.name, snapshot_id=1, definition="", rows=0, added=0, repeated=0, files=())
        for s in value.sources
    ]
    return check(value, snapshots, lambda snapshot: frames[snapshot.table].lazy(), NOW, Silent())


def one(report: GateReport) -> CheckResult:
    (result,) = [r for r in report.results if r.table == "visits" and r.check != "schema"]
    return result


def column(name: str, *values: object) -> list[dict[str, object]]:
    return [{name: value} for value in values]


#: A check, the rows, how many it is about, and how many fail.
FAULTS: dict[str, tuple[Check, list[dict[str, object]], int, int]] = {
    "not_null": (checks.not_null("text"), column("text", "a", None, ""), 3, 1),
    "not_null of many": (
        checks.not_null("text", "real"),
        [{"text": "a", "real": 1.0}, {"text": None, "real": None}, {"text": "a", "real": NAN}, {"real": 1.0}],
        4,
        3,
    ),
    "between": (checks.between("whole", 1, 3), column("whole", 0, 1, 3, 4, None), 4, 2),
    "between of reals": (checks.between("real", 0, 1), column("real", 0.0, 1.0, 1.1, -math.inf, NAN, None), 5, 3),
    "no lower bound": (checks.between("real", None, 1), column("real", -math.inf, 1.0, math.inf, NAN), 4, 2),
    "no upper bound": (checks.between("real", 0, None), column("real", math.inf, -1.0, NAN), 3, 2),
    "one_of": (checks.one_of("text", "a", "b"), column("text", "a", "b", "c", None, ""), 4, 2),
    "one_of numbers": (checks.one_of("whole", "1", "2"), column("whole", 1, 2, 3, None), 3, 1),
    "matches": (checks.matches("text", "[A-Z]{2}"), column("text", "AB", "ABC", "xAB", "AB\n", "", None), 5, 4),
    "matches either": (checks.matches("text", "a|b"), column("text", "a", "b", "ab", "ca"), 4, 2),
    "unique": (checks.unique("text"), column("text", "a", "b", "a", "a", None, None), 6, 3),
    "unique pair": (
        checks.unique("text", "whole"),
        [{"text": "a", "whole": 1}, {"text": "a", "whole": 2}, {"text": "a", "whole": 1}],
        3,
        1,
    ),
    "refers": (checks.refers("place", to=PLACES), column("place", "Bern", "Oslo", None, "bern"), 3, 2),
    "holds": (
        checks.holds(pl.col("whole") > pl.col("real")),
        [{"whole": 2, "real": 1.0}, {"whole": 1, "real": 1.0}, {}],
        2,
        1,
    ),
    "holds of a truth": (checks.holds(pl.col("truth")), column("truth", True, False, None), 2, 1),
}
KNOWN_PLACES = pl.DataFrame({"place": ["Bern", "Rome", None], "number": [1, 2, 3]}, schema=in_lake(PLACES))


@pytest.mark.parametrize(("rule", "listed", "about", "failed"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_does_not_pass(rule: Check, listed: list[dict[str, object]], about: int, failed: int) -> None:
    stream = visits(rule)
    report = judge(rows(stream, *listed), stream, KNOWN_PLACES)
    result = one(report)
    assert (result.passed, result.rows, result.failed) == (False, about, failed)
    assert not report.passed
    assert (result.table, result.check, result.columns, result.where) == ("visits", rule.name, rule.columns, rule.where)
    assert result.detail == f"{failed} of {about} rows fail ({failed / about:.2%})"
    assert len(result.sample) == min(failed, 5)
    with pytest.raises(GateError, match=re.escape(f"  visits: {rule.name} failed: {result.detail} (test_gate.py:")):
        require(report)


@pytest.mark.parametrize(("rule", "listed", "about", "failed"), FAULTS.values(), ids=FAULTS)
def test_sound_rows_pass(rule: Check, listed: list[dict[str, object]], about: int, failed: int) -> None:
    """Alone, each row gets the verdict that it had among the others: what passed there makes a table that passes."""
    stream = visits(rule)
    sound = [row for row in listed if one(judge(rows(stream, row), stream, KNOWN_PLACES)).passed]
    report = judge(rows(stream, *sound), stream, KNOWN_PLACES)
    if rule.kind != "unique":
        assert len(listed) - len(sound) == failed
        assert one(report).passed
        require(report)


@pytest.mark.parametrize(("at_least", "passes"), [(1.0, False), (0.91, False), (0.9, True), (0.07, True), (0.0, True)])
def test_a_share_may_fail(at_least: float, passes: bool) -> None:
    stream = visits(checks.not_null("text", at_least=at_least))
    result = one(judge(rows(stream, *column("text", *"abcdefghi", None)), stream))
    assert (result.passed, result.failed) == (passes, 1)
    assert ("may" in result.detail) == (at_least < 1)


def test_a_share_is_counted_exactly() -> None:
    """0.07 * 100 is more than 7 in floating point."""
    stream = visits(checks.not_null("text", at_least=0.07))
    assert one(judge(rows(stream, *column("text", *"a" * 7, *[None] * 93)), stream)).passed
    assert not one(judge(rows(stream, *column("text", *"a" * 6, *[None] * 94)), stream)).passed


def test_a_sample_shows_what_tells_the_rows_apart() -> None:
    stream = visits(checks.between("real", 0, 1))
    listed = column("real", 0.5, *[float(i) for i in range(2, 12)])
    result = one(judge(rows(stream, *listed), stream))
    assert [json.loads(row) for row in result.sample] == [{"id": i, "real": i + 1.0} for i in range(1, 6)]


def test_no_time_hides_a_row() -> None:
    """Not one that is to come, and not a gap."""
    stream = visits(checks.not_null("text"), checks.rows(0))
    later = AS_OF + timedelta(microseconds=1)
    bad = [{"known_at": AS_OF}, {"known_at": later}, {"known_at": None, "event_time": None, "at": None}]
    report = judge(rows(stream, *bad), stream)
    assert [(r.rows, r.failed) for r in report.results if r.check.startswith("not_null")] == [(3, 3)]
    assert [r.rows for r in report.results if r.check.startswith("rows")] == [3]


@pytest.mark.parametrize(
    ("times", "passed", "detail"),
    [
        ([(-360, -360)], True, "newest event at 2024-01-01T18:00:00Z, 6.0 h before 2024-01-02T00:00:00Z"),
        ([(-361, -361)], False, "newest event at"),
        ([(-1440, -1440), (-60, -60), (60, 60)], True, "1.0 h before"),
        ([(60, 60)], False, "no row is known at 2024-01-02T00:00:00Z"),
        ([], False, "no row is known at"),
        ([(None, None)], False, "no row is known at"),
        ([(-420, -1), (-480, -480)], False, "7.0 h before"),
        ([(2880, -361)], False, "6.0 h before"),
        ([(2880, -60)], True, "1.0 h before"),
    ],
    ids=[
        *("just", "just not", "the newest counts", "the future is not known", "empty", "no time"),
        *("news of old events", "an old forecast", "a new forecast"),
    ],
)
def test_fresh(times: list[tuple[int | None, int | None]], passed: bool, detail: str) -> None:
    """When events happened and when they were known, in minutes from the run's moment."""
    stream = visits(checks.fresh(within=hours(6)))
    moments = [[None if at is None else AS_OF + timedelta(minutes=at) for at in pair] for pair in times]
    result = one(judge(rows(stream, *({"event_time": event, "known_at": known} for event, known in moments)), stream))
    assert (result.passed, result.failed) == (passed, int(not passed))
    assert detail in result.detail


@pytest.mark.parametrize(("count", "passed"), [(0, False), (1, False), (2, True), (3, True), (4, False)])
def test_rows(count: int, passed: bool) -> None:
    stream = visits(checks.rows(2, 3))
    result = one(judge(rows(stream, *[{}] * count), stream))
    assert (result.passed, result.rows) == (passed, count)
    assert result.detail == f"{count} rows; at least 2, at most 3"


EVERY_CHECK = (
    checks.not_null("text", "real", "whole", "truth"),
    checks.between("real", 0, 1),
    checks.between("whole", 0, 1),
    checks.one_of("text", "a"),
    checks.one_of("truth", "true"),
    checks.matches("text", "a+"),
    checks.matches("whole", "1"),
    checks.unique("text", "real"),
    checks.refers("place", to=PLACES),
    checks.holds(pl.col("whole") > pl.col("real")),
    checks.fresh(within=hours(6)),
    checks.rows(0),
)
odd_rows = st.fixed_dictionaries(
    {},
    optional={
        "text": st.none() | st.text(max_size=3),
        "real": st.none() | st.floats(),
        "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
        "truth": st.none() | st.booleans(),
        "place": st.none() | st.sampled_from(["Bern", "Oslo"]),
        "known_at": st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    },
)


def missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def inside(value: float | None) -> bool | None:
    return None if value is None else 0 <= value <= 1


ORACLE: list[tuple[Check, Callable[[dict[str, object]], bool | None]]] = [
    (EVERY_CHECK[0], lambda r: not any(missing(r[name]) for name in ("text", "real", "whole", "truth"))),
    (EVERY_CHECK[1], lambda r: inside(r["real"])),  # type: ignore[arg-type]
    (EVERY_CHECK[2], lambda r: inside(r["whole"])),  # type: ignore[arg-type]
    (EVERY_CHECK[3], lambda r: None if r["text"] is None else r["text"] == "a"),
    (EVERY_CHECK[4], lambda r: r["truth"]),  # type: ignore[return-value]
    (EVERY_CHECK[5], lambda r: None if r["text"] is None else bool(re.fullmatch("a+", str(r["text"])))),
    (EVERY_CHECK[8], lambda r: None if r["place"] is None else r["place"] == "Bern"),
]


@settings(max_examples=60)
@given(st.lists(odd_rows, max_size=8))
def test_odd_data_is_counted_as_plain_python_counts(listed: list[dict[str, object]]) -> None:
    stream = visits(*EVERY_CHECK)
    frame = rows(stream, *listed)
    report = judge(frame, stream, KNOWN_PLACES)
    results = {r.check: r for r in report.results}
    assert len(results) == len(EVERY_CHECK) + 1
    for rule, verdict in ORACLE:
        verdicts = [verdict(row) for row in frame.to_dicts()]
        expected = (sum(v is not None for v in verdicts), sum(v is False for v in verdicts))
        assert (results[rule.name].rows, results[rule.name].failed) == expected, rule.name
    assert json.loads(report.to_json())["pipeline"] == "visits"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_columns_of_nothing_are_judged(count: int) -> None:
    stream = visits(*EVERY_CHECK)
    report = judge(rows(stream, *[{"known_at": None}] * count), stream)
    by_check = {r.check: r for r in report.results}
    assert by_check["rows(0..)"].passed
    assert not by_check[EVERY_CHECK[10].name].passed
    assert by_check[EVERY_CHECK[1].name].detail == "no row to judge"
    assert by_check[EVERY_CHECK[0].name].failed == count


SHAPES: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], tuple[str, ...], str]] = {
    "missing": (lambda f: f.drop("text"), ("text",), "`text` is missing"),
    "renamed": (
        lambda f: f.rename({"text": "texts"}),
        ("text", "texts"),
        "`text` is missing. Did you mean `texts`?",
    ),
    "undeclared": (lambda f: f.with_columns(more=1), ("more",), "`more` is not declared"),
    "another type": (lambda f: f.cast({"whole": pl.Float64}), ("whole",), "`whole` is Float64, expected Int64"),
    "no zone": (
        lambda f: f.with_columns(pl.col("known_at").dt.replace_time_zone(None)),
        ("known_at",),
        "`known_at` is Datetime(time_unit='us', time_zone=None), expected Datetime(time_unit='us', time_zone='UTC')",
    ),
}


@pytest.mark.parametrize(("change", "columns", "words"), SHAPES.values(), ids=SHAPES)
def test_columns_are_judged_first(
    change: Callable[[pl.DataFrame], pl.DataFrame], columns: tuple[str, ...], words: str
) -> None:
    stream = visits(checks.not_null("text"))
    report = judge(change(rows(stream, {})), stream)
    result = next(r for r in report.results if r.table == "visits")
    assert (result.check, result.passed, set(result.columns), result.failed) == (
        "schema",
        False,
        set(columns),
        len(columns),
    )
    assert words in result.detail
    assert result.where == stream.where
    assert [r.table for r in report.results].count("visits") == 1, "its rows cannot be judged"
    with pytest.raises(GateError, match=re.escape(f"visits: schema failed: {result.detail}")):
        require(report)


def test_a_check_that_cannot_be_made_has_failed_and_the_others_are_judged() -> None:
    stream = visits(
        checks.matches("text", "(?=a)a"),  # the engine knows no look-ahead
        checks.refers("whole", to=PLACES),
        checks.not_null("text"),
        checks.rows(1),
    )
    report = judge(rows(stream, {"text": "a"}), stream, KNOWN_PLACES)
    verdicts = [(r.passed, r.detail.partition(":")[0]) for r in report.results if r.table == "visits"][1:]
    assert verdicts == [
        (False, "cannot be made"),
        (False, "cannot be made"),
        (True, "0 of 1 rows fail (0.00%)"),
        (True, "1 rows; at least 1"),
    ]


def test_a_table_that_is_not_as_declared_cannot_be_referred_to() -> None:
    stream = visits(checks.refers("place", to=PLACES))
    report = judge(rows(stream, {"place": "Bern"}), stream, KNOWN_PLACES.drop("place"))
    assert one(report).detail == "cannot be made: table places is not as declared"


def test_every_source_needs_a_snapshot() -> None:
    with pytest.raises(GateError, match=r"visits: no snapshot of visits to check\. Ingest it first"):
        check(pipeline(visits()), [], lambda _: pl.LazyFrame(), NOW, Silent())


def test_the_error_tells_every_failed_check() -> None:
    stream = visits(checks.not_null("text"), checks.between("real", 0, 1), checks.rows(1))
    with pytest.raises(GateError) as caught:
        require(judge(rows(stream, {"real": 2.0}), stream))
    first, *rest = str(caught.value).splitlines()
    assert first == "gate of visits: 2 of 4 checks failed as of 2024-01-02T00:00:00Z; nothing was moved on"
    assert [re.sub(r":\d+\)", ":N)", line) for line in rest] == [
        "  visits: not_null(text) failed: 1 of 1 rows fail (100.00%) (test_gate.py:N)",
        '    {"id":0,"text":null}',
        "  visits: between(real, 0..1) failed: 1 of 1 rows fail (100.00%) (test_gate.py:N)",
        '    {"id":0,"real":2.0}',
        "  Correct the data, set bad rows aside with `.quarantine()`, or go on with `--bypass-gate REASON`.",
    ]
