"""Bad rows aside, good rows on: what was read is there once, in the table or in the quarantine, whatever happens."""

import json
import os
import signal
from pathlib import Path

import pytest

from raypipe.errors import GateError, SourceError
from raypipe.lake import aside
from raypipe.spec import checks, minutes
from tests.flows.gated import LATE, House
from tests.lake.sources import line, lines
from tests.processes import processes_with

CHEAP = checks.between("fare", 0, 100).quarantine()
PROCESSES = processes_with("tests.flows.test_quarantine")
WINDOWS = ["quarantine.after_rows", "quarantine.before_commit", "quarantine.after_commit", "publish.between_tables"]


def spoilt(folder: Path, *gate: checks.Check) -> House:
    """Six trips in two files; 2 and 5 have fares that nobody pays, 6 no town."""
    house = House(folder, gate or (CHEAP,))
    house.ship("a", line(1), line(2, fare=900.0), line(3))
    house.ship("b", line(4), line(5, fare=-1.0), line(6, town=""))
    return house


def test_bad_rows_are_set_aside_and_good_ones_go_on(tmp_path: Path) -> None:
    house = spoilt(tmp_path)
    report = house.run()
    assert report.passed
    assert report.quarantined == 2
    assert house.main() == [1, 3, 4, 6]
    assert [s.rows for s in report.snapshots] == [4]
    assert house.lake.frame(report.snapshots[0]).collect()["id"].to_list() == [1, 3, 4, 6]
    bad = house.aside()
    assert bad["reason"].to_list() == ["fare = 900.0", "fare = -1.0"]
    assert set(bad["check"]) == {"between(fare, 0..100)"}
    assert [json.loads(row)["id"] for row in bad["row"]] == [2, 5]
    assert json.loads(bad["row"][0]).keys() == set(house.lake.frame(report.snapshots[0]).collect_schema())
    assert bad["as_of"].dt.epoch("us").to_list() == [LATE, LATE]
    (entry,) = house.ledger.entries("data.quarantined", "trips")
    assert json.loads(entry.body)["checks"] == {"between(fare, 0..100)": 2}


def test_running_again_sets_nothing_aside_twice(tmp_path: Path) -> None:
    house = spoilt(tmp_path)
    first = house.run()
    again = house.run()
    assert (again.snapshots[0].snapshot_id, again.quarantined) == (first.snapshots[0].snapshot_id, 0)
    assert (house.aside().height, len(house.main()), len(house.ledger.entries())) == (2, 4, 1)
    house.ship("c", *[line(i) for i in (7, 2)], line(8, fare=101.0))
    assert house.run().quarantined == 1
    assert house.main() == [1, 3, 4, 6, 7, 2], "a repaired row comes in"
    assert [json.loads(row)["id"] for row in house.aside().sort("snapshot")["row"]].count(8) == 1
    assert house.aside().height == 3


def test_a_row_goes_once_for_the_first_check_that_it_fails(tmp_path: Path) -> None:
    """And the repeat of a row that goes for another reason is the good one."""
    house = House(tmp_path, (CHEAP, checks.unique("town").quarantine(), checks.not_null("town").quarantine()))
    house.ship("a", line(1, "Bern", fare=900.0), line(2, "Bern"), line(3, "Bern"), line(4, "", fare=900.0), line(5, ""))
    house.run()
    assert house.main() == [2]
    reasons = {json.loads(row)["id"]: check for row, check in house.aside().select("row", "check").iter_rows()}
    assert reasons == {1: CHEAP.name, 3: "unique(town)", 4: CHEAP.name, 5: "not_null(town)"}


def test_other_checks_see_only_what_is_left(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"rows\(5\.\.\) failed: 4 rows"):
        spoilt(tmp_path, CHEAP, checks.rows(5)).run()
    assert House(tmp_path).aside().is_empty(), "nothing is set aside when the run stops"


@pytest.mark.parametrize(("share", "stops"), [(0.7, True), (0.6, False)])
def test_too_many_bad_rows_stop(tmp_path: Path, share: float, stops: bool) -> None:
    house = spoilt(tmp_path, checks.between("fare", 0, 100, at_least=share).quarantine())
    if not stops:
        assert house.run().quarantined == 2
        return
    with pytest.raises(GateError, match=r"2 of 6 rows fail \(33.33%\), at most 30.00% may"):
        house.run()
    assert house.main() == []
    assert house.aside().is_empty()
    assert [entry.kind for entry in house.ledger.entries()] == ["gate.stopped"]


def test_a_check_that_cannot_be_made_sets_nothing_aside(tmp_path: Path) -> None:
    house = spoilt(tmp_path, CHEAP, checks.matches("town", "(?=a)a").quarantine())
    with pytest.raises(GateError, match="cannot be made"):
        house.run()
    assert house.main() == []


def test_a_warning_stops_nothing(tmp_path: Path) -> None:
    house = spoilt(tmp_path, checks.between("fare", 0, 100).warn(), checks.rows(100).warn())
    report = house.run()
    assert [r.passed for r in report.results] == [True, False, False]
    assert (len(house.main()), report.passed, report.quarantined) == (6, True, 0)


def test_every_row_of_a_file_may_go(tmp_path: Path) -> None:
    house = House(tmp_path, (CHEAP,))
    house.ship("a", line(1, fare=900.0), line(2, fare=900.0))
    house.run()
    assert (house.main(), house.aside().height) == ([], 2)
    house.ship("b", line(3))
    house.run()
    assert (house.main(), house.aside().height) == ([3], 2)


def test_a_row_that_is_not_known_yet_is_set_aside_all_the_same(tmp_path: Path) -> None:
    house = spoilt(tmp_path)
    early = house.lake.frame(house.ingest()).collect()["known_at"].dt.epoch("us").to_list()[2]
    house.run(as_of=early)
    assert (house.main(), house.aside().height) == ([1, 3, 4, 6], 2)


def test_a_published_row_that_becomes_known_later_is_set_aside_then(tmp_path: Path) -> None:
    """It came before there was a check: a run at an earlier moment does not look at it."""
    house = spoilt(tmp_path, checks.rows(1))
    early = house.lake.frame(house.ingest()).collect()["known_at"].dt.epoch("us").to_list()[2]
    house.run()
    house = House(tmp_path, (CHEAP,))
    house.run(as_of=early)
    assert (house.main(), house.aside().height) == ([1, 3, 4, 5, 6], 1)
    house.run()
    assert (house.main(), house.aside().height) == ([1, 3, 4, 6], 2)


def test_files_that_are_read_anew_are_judged_anew(tmp_path: Path) -> None:
    """Their rows were set aside under the old definition; those count no more."""
    spoilt(tmp_path).run()
    slower = House(tmp_path, (CHEAP,), delay=minutes(6))
    assert slower.run().quarantined == 2
    assert (slower.main(), slower.aside().height) == ([1, 3, 4, 6], 2)


def killed(folder: Path, window: str) -> int | None:
    process = PROCESSES.Process(target=run_with, args=(folder, window))
    process.start()
    process.join(60)
    return process.exitcode


def run_with(folder: Path, window: str) -> None:
    os.environ["RAYPIPE_FAILPOINT"] = f"{window}=kill@1"
    House(folder, (CHEAP,)).run()


@pytest.mark.parametrize("window", WINDOWS)
def test_a_killed_run_goes_on(tmp_path: Path, window: str) -> None:
    house = spoilt(tmp_path)
    assert killed(tmp_path, window) == -signal.SIGKILL
    house.run()
    assert (house.main(), house.aside().height) == ([1, 3, 4, 6], 2)
    assert [json.loads(row)["id"] for row in house.aside()["row"]] == [2, 5]
    house.run()
    assert (house.aside().height, len(house.ledger.entries("data.quarantined"))) == (2, 1)


def test_every_window_is_killed_at() -> None:
    source = "".join(path.read_text() for path in Path(aside.__file__).parent.glob("*.py"))
    named = {part.partition('"')[0] for part in source.split('failpoint("quarantine')[1:]}
    assert {f"quarantine{name}" for name in named} <= set(WINDOWS)


def test_whoever_comes_late_starts_again(tmp_path: Path) -> None:
    """Two runs checked the same rows, as of different moments: the second to move the table is refused."""
    from raypipe.contracts.faulty import Faulty
    from raypipe.contracts.progress import Silent
    from raypipe.validation import examine
    from tests.flows.gated import pipeline

    house = spoilt(tmp_path)
    snapshot = house.ingest()
    found = examine(pipeline(house.stream), [snapshot], house.lake.frame, LATE, Silent()).faulty[0]
    house.run()
    assert house.lake.set_aside(found, LATE).rows == 4, "the same rows: done already"
    with pytest.raises(SourceError, match="changed since these rows were checked"):
        house.lake.set_aside(Faulty(snapshot, found.rows.head(1)), LATE)
    assert house.aside().height == 2


def test_lines_and_odd_texts_survive(tmp_path: Path) -> None:
    house = House(tmp_path, (CHEAP,))
    house.ship("a", lines(1), line(2, '"a\u2028b\nc"', fare=900.0), line(3, "d", fare=900.0))
    house.run()
    assert [json.loads(row)["town"] for row in house.aside()["row"]] == ["a\u2028b\nc", "d"]
