"""Reports say the likely cause: each kind of mishap is planted, and named."""

from datetime import timedelta

import pytest

from raypipe.clock import iso
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import CheckResult, GateReport, Snapshot, SourceFile
from raypipe.errors import GateError
from raypipe.spec import checks, hours
from raypipe.spec.checks import Check
from raypipe.validation import examine, require
from tests.validation.test_gate import AS_OF, KNOWN_PLACES, NOW, PLACES, pipeline, rows, visits

USUAL = [
    {"id": i, "real": 5.0 + i % 7, "place": ["Bern", "Rome"][i % 2], "text": "AB", "whole": i % 3} for i in range(60)
]


def snapshot(table: str, number: int, *files: str) -> Snapshot:
    named = tuple(SourceFile(path=f"data/{name}", digest=name, rows=1) for name in files)
    return Snapshot(table=table, snapshot_id=number, definition="", rows=0, added=0, repeated=0, files=named)


def judged(rule: Check, came: list[dict[str, object]], *, before: bool = True) -> CheckResult:
    """The verdict on sixty usual visits that were published, and what came then in b.csv."""
    stream = visits(rule)
    listed = [*USUAL, *({"id": 100 + i} | row for i, row in enumerate(came))]
    frames = {("visits", 2): rows(stream, *listed), ("visits", 1): rows(stream, *USUAL), ("places", 2): KNOWN_PLACES}
    now = [snapshot("places", 2), snapshot("visits", 2, "a.csv", "b.csv")]
    earlier = [snapshot("visits", 1, "a.csv")] if before else []
    value = pipeline(stream)
    wanted = [one for one in now if one.table in {source.name for source in value.sources}]
    report = examine(
        value, wanted, lambda one: frames[one.table, one.snapshot_id].lazy(), NOW, Silent(), earlier
    ).report
    (result,) = [one for one in report.results if one.table == "visits" and one.check != "schema"]
    return result


NEW = "came since the last published state in b.csv"
MISHAPS: dict[str, tuple[Check, list[dict[str, object]], str]] = {
    "cents": (checks.between("real", 0, 50), [{"real": 790.0}, {"real": 800.0}, {"real": 810.0}], "such as cents"),
    "a sign": (checks.between("real", 0, 50), [{"real": -7.0}, {"real": -8.0}, {"real": -9.0}], "their sign is turned"),
    "a stand-in": (checks.between("real", 0, 50), [{"real": -999.0}], "all are -999, as written for a missing value"),
    "nan": (checks.between("real", 0, 50), [{"real": float("nan")}], "all are NaN"),
    "capitals": (checks.matches("text", "[a-z]+|AB"), [{"text": "CD"}] * 2, "written in capitals: `CD` for `cd`"),
    "white space": (checks.one_of("text", "AB"), [{"text": " AB "}], "with white space around: ` AB ` for `AB`"),
    "zeros": (checks.refers("place", to=PLACES), [{"place": "00Bern"}], "with zeros in front: `00Bern` for `Bern`"),
    "a gap in words": (checks.one_of("text", "AB"), [{"text": "N/A"}] * 2, "`N/A` is written for a missing value"),
    "one key": (checks.refers("place", to=PLACES), [{"place": "Oslo"}] * 3, "all are `Oslo`"),
    "a delivery": (checks.not_null("text"), [{"text": None}] * 2, f"all {NEW}"),
    "who": (
        checks.not_null("real"),
        [{"real": None, "place": "Oslo", "text": "AB"}] * 9,
        "100% have `place` = `Oslo` (13.0% of all rows)",
    ),
    "when": (
        checks.not_null("truth", at_least=0.99),
        [{"event_time": AS_OF - timedelta(days=90), "truth": True}],
        f"all are from {iso(NOW - 3_600_000_000)}",
    ),
    "a backlog": (
        checks.lag(within=hours(1)),
        [{"event_time": AS_OF - timedelta(days=i + 1), "known_at": AS_OF} for i in range(3)],
        "as a backlog does",
    ),
    "size": (checks.rows(1, 61), [{}] * 5, "5 more than before: b.csv came"),
    "many": (checks.rows_like_before(within=0.01), [{}] * 5, "5 more than before: b.csv came"),
    "moved": (checks.quantile("real", 0.5, 0, 10), [{"real": 800.0}] * 80, "it was 8 before, as with another unit"),
    "new values": (checks.cardinality("place", 1, 2), [{"place": "Oslo"}], "new: `Oslo`"),
    "drift": (checks.drift("real", 0.3), [{"real": 800.0}] * 9, "the median is 800, and was 8 before, as with another"),
    "drift of texts": (
        checks.drift("place", 0.3),
        [{"place": "Oslo"}] * 9,
        "`Oslo` is 100% of them, and was 0% before",
    ),
}


@pytest.mark.parametrize(("rule", "came", "words"), MISHAPS.values(), ids=MISHAPS)
def test_a_mishap_is_named(rule: Check, came: list[dict[str, object]], words: str) -> None:
    result = judged(rule, came)
    assert not result.passed
    assert words in result.cause


def test_it_is_told_with_the_failure_and_of_rows_that_are_set_aside() -> None:
    result = judged(checks.between("real", 0, 50).quarantine(), [{"real": -999.0}])
    assert (result.passed, result.failed) == (True, 1)
    assert "all are -999" in result.cause
    closed = judged(checks.between("real", 0, 50), [{"real": -999.0}])
    report = GateReport(pipeline="p", as_of=0, snapshots=(), results=(closed,))
    with pytest.raises(GateError, match="likely cause: all are -999"):
        require(report)


def test_nothing_is_guessed_where_nothing_is_known() -> None:
    assert judged(checks.between("real", 0, 50), [{"real": 60.5}, {"real": 71.0}], before=False).cause == ""
    assert judged(checks.rows(99), [], before=False).cause == ""
    assert judged(checks.not_null("text"), []).passed


def test_a_rule_that_old_rows_fail_is_new() -> None:
    assert "all were published before" in judged(checks.between("whole", 0, 1), []).cause
