"""A closed gate may be passed for a reason, which stays in the ledger with the report."""

from dataclasses import replace
from pathlib import Path

import pytest

from raypipe.contracts.records import GateReport
from raypipe.errors import GateError
from raypipe.flows.gate import gate_line
from raypipe.spec import checks
from tests.flows.gated import House
from tests.lake.sources import line


def test_a_reason_goes_past_and_is_kept(tmp_path: Path) -> None:
    house = House(tmp_path, (checks.rows(5), checks.between("fare", 0, 100).quarantine(), checks.rows(9).warn()))
    house.ship("a", line(1), line(2, fare=900.0), line(3))
    with pytest.raises(GateError, match="rows"):
        house.run()
    assert house.main() == []
    report = house.run(bypass="a holiday")
    assert house.main() == [1, 3], "what a check sets aside stays aside"
    line_shown = "2 checks passed on 1 table, 1 warned, 1 failed and bypassed: a holiday, 1 rows set aside"
    assert gate_line(report) == line_shown
    (entry,) = house.ledger.entries("gate.bypassed", "trips")
    kept = GateReport.from_json(entry.body)
    assert kept.bypassed == "a holiday"
    assert [result.check for result in kept.stopping] == ["rows(5..)"]
    assert [e.kind for e in house.ledger.entries()] == ["gate.stopped", "gate.bypassed", "data.quarantined"]


def test_the_next_run_is_judged_again(tmp_path: Path) -> None:
    house = House(tmp_path, (checks.rows(5),))
    house.ship("a", line(1))
    house.run(bypass="a holiday")
    with pytest.raises(GateError, match="rows"):
        house.run()
    assert [entry.kind for entry in house.ledger.entries()] == ["gate.bypassed", "gate.stopped"]


def test_a_gate_that_is_open_is_not_bypassed(tmp_path: Path) -> None:
    house = House(tmp_path, (checks.rows(1),))
    house.ship("a", line(1))
    assert house.run(bypass="just in case").bypassed == ""
    assert house.ledger.entries() == []


def test_what_was_published_for_a_reason_can_be_set_aside_later(tmp_path: Path) -> None:
    house = House(tmp_path, (checks.between("fare", 0, 100),))
    house.ship("a", line(1), line(2, fare=900.0))
    house.run(bypass="a holiday")
    assert house.main() == [1, 2]
    with pytest.raises(GateError, match="the check is new, was bypassed, or"):
        house.run()
    replace(house, gate=(checks.between("fare", 0, 100).quarantine(),)).run()
    assert (house.main(), house.aside().height) == ([1], 1)
