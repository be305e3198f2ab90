"""Rows that nobody may use yet are judged before they are published, as all others are."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from raypipe.clock import ManualClock
from raypipe.errors import GateError
from raypipe.flows import gate
from raypipe.spec import checks, hours
from raypipe.spec.checks import ROW_KINDS, Check
from tests.flows.gated import LATE, House
from tests.flows.test_follow import LiveHouse
from tests.flows.test_kinds import PLANTS, SOUND
from tests.lake.logs import Broker, ride
from tests.lake.sources import START, line

CHEAP = checks.between("fare", 0, 100)
#: The moment at which the fortieth trip becomes known; none that comes after it is.
AT_40 = int((START + timedelta(hours=40, minutes=15)).timestamp()) * 1_000_000
ROW_PLANTS = {name: plant for name, plant in PLANTS.items() if plant[0].kind in ROW_KINDS}


def published(folder: Path, *gate: Check) -> House:
    """Forty sound trips that everybody reads."""
    house = House(folder, gate)
    house.ship("a", *SOUND)
    house.run(as_of=AT_40)
    return house


@pytest.mark.parametrize(("rule", "planted", "words"), PLANTS.values(), ids=PLANTS)
def test_not_a_row_of_a_planted_fault_passes(tmp_path: Path, rule: Check, planted: list[str], words: str) -> None:
    house = published(tmp_path, rule)
    house.ship("b", *planted)
    with pytest.raises(GateError) as stopped:
        house.run(as_of=AT_40)
    assert words in re.sub(r", \d+ of them not known yet", "", str(stopped.value))
    assert house.main() == list(range(1, 41))


@pytest.mark.parametrize(("rule", "planted", "words"), ROW_PLANTS.values(), ids=ROW_PLANTS)
def test_each_goes_aside(tmp_path: Path, rule: Check, planted: list[str], words: str) -> None:
    house = published(tmp_path, replace(rule, action="quarantine", at_least=0.0))
    house.ship("b", *planted, line(99, "Rome"))
    assert house.run(as_of=AT_40).quarantined == len(planted) == 1, words
    assert house.main() == [*range(1, 41), 99]
    assert house.aside().height == 1


@pytest.mark.parametrize("year", [2024, 2099])
def test_the_first_rows_are_judged(tmp_path: Path, year: int) -> None:
    house = House(tmp_path, (CHEAP,))
    house.ship("a", line(1), line(2, fare=900.0).replace("2024", str(year)))
    with pytest.raises(GateError, match="1 of 2 rows fail"):
        house.run(as_of=1)
    assert house.main() == []
    house = replace(house, gate=(CHEAP.quarantine(),))
    house.run(as_of=1)
    assert (house.main(), house.aside().height) == ([1], 1)


def test_a_value_is_taken_by_a_row_that_is_published_and_not_known_yet(tmp_path: Path) -> None:
    house = published(tmp_path, checks.unique("started"))
    house.ship("b", line(50))
    house.run(as_of=AT_40)
    house.ship("c", line(50).replace("50,", "51,", 1), line(52))
    with pytest.raises(GateError, match="1 of 42 rows fail"):
        house.run(as_of=AT_40)
    house = replace(house, gate=(checks.unique("started").quarantine(),))
    assert house.run(as_of=AT_40).quarantined == 1
    assert house.main() == [*range(1, 41), 50, 52]


@pytest.mark.parametrize(
    "rule",
    [CHEAP, checks.unique("started"), checks.quantile("fare", 1.0, None, 100), checks.cardinality("fare", 1, 10)],
)
def test_a_run_at_an_earlier_moment_is_not_stopped_by_what_was_published_and_came_later(
    tmp_path: Path, rule: Check
) -> None:
    """The check is younger than the rows. At its time they stop it."""
    house = published(tmp_path)
    house.ship("b", line(41, fare=900.0), line(41, fare=900.0).replace("41,", "42,", 1))
    house.run()
    house = replace(house, gate=(rule,))
    house.run(as_of=AT_40)
    house.ship("c", line(43, fare=1.0))
    house.run(as_of=AT_40)
    assert house.main() == list(range(1, 44)), "what came with the run is sound"
    with pytest.raises(GateError):
        house.run(as_of=LATE)


def test_what_is_not_known_yet_makes_nothing_fresh(tmp_path: Path) -> None:
    house = published(tmp_path, checks.fresh(within=hours(6)))
    house.ship("b", line(60))
    with pytest.raises(GateError, match=r"newest event at 2024-01-02T16:00:00Z, 12\.0 h before"):
        house.run(as_of=AT_40 + 42_300_000_000)


def test_rows_that_are_read_anew_are_compared_with_all_that_were_there(tmp_path: Path) -> None:
    """Another delay makes other rows of them; they are published now, whenever they are known."""
    rules = (checks.rows_like_before(within=0.1), checks.drift("fare", 0.3))
    published(tmp_path, *rules)
    slower = House(tmp_path, rules, delay=timedelta(minutes=6))
    report = slower.run(as_of=int((START + timedelta(hours=20)).timestamp()) * 1_000_000)
    assert report.results[1].detail.startswith("40 rows, 40 before")


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("rows", [10**9, 1], ids=["here", "there"])
def test_blocks_all_over_the_cluster_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Of what waits, is known, and is to be published."""
    monkeypatch.setattr(gate, "SPREAD_ROWS", rows)
    house = published(tmp_path)
    house.ship("b", line(41, fare=900.0))
    house.run()
    house = replace(house, gate=(CHEAP.warn(), checks.unique("town").warn(), checks.rows(1, 41).warn()))
    house.ship("c", line(42, fare=901.0), line(43, "Oslo"), line(44, "Bern"))
    results = house.run(as_of=AT_40).results[1:]
    assert [(r.rows, r.failed) for r in results] == [(43, 1), (43, 40), (43, 1)]
    assert results[2].detail == "43 rows, 3 of them not known yet; at least 1, at most 41"


def test_a_follower_judges_what_has_just_come(tmp_path: Path) -> None:
    """It is known from a few minutes after it came: then others may use it."""
    broker = Broker()
    house = LiveHouse(tmp_path, (CHEAP,), topic="just", connection=broker.connection, clock=ManualClock(AT_40))
    broker.send("just", ride(1))
    now = {"as_of": AT_40}
    house.follow(broker, **now)
    with pytest.raises(GateError, match="1 of 2 rows fail"):
        house.follow(broker, ride(41, fare=900.0), **now)
    assert house.main() == [1]
    patient = replace(house, gate=(CHEAP.quarantine(), checks.holds(pl.col("minutes") > 0).quarantine()))
    patient.follow(broker, ride(42), ride(43, minutes=-1.0), **now)
    assert (patient.main(), patient.aside().height) == ([1, 42], 2)
