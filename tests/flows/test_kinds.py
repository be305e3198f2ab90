"""Every kind of check with a planted fault in a real lake: not a row of it reaches `main`."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot
from raypipe.errors import GateError
from raypipe.flows import gate
from raypipe.lake import Lake
from raypipe.spec import Table, checks, csv, hours, minutes
from raypipe.spec.checks import Check
from tests.flows.gated import LATE, House, pipeline
from tests.lake.sources import line

SOUND = [line(i, ["Bern", "Rome"][i % 2], minutes=10.0 + i % 5, fare=float(i % 10)) for i in range(1, 41)]
JUST_AFTER = int(datetime(2024, 1, 4, 0, 0, tzinfo=UTC).timestamp()) * 1_000_000
#: A check that the first forty trips pass, the trips that come then, and what is said of them.
PLANTS: dict[str, tuple[Check, list[str], str]] = {
    "range": (checks.between("fare", 0, 100), [line(41, fare=101.0)], "1 of 41 rows fail"),
    "one of": (checks.one_of("town", "Bern", "Rome"), [line(41, "Oslo")], "1 of 41 rows fail"),
    "regex": (checks.matches("town", "[A-Z][a-z]+"), [line(41, "bern")], "1 of 41 rows fail"),
    "unique": (checks.unique("started"), [line(40).replace("40,", "41,", 1)], "1 of 41 rows fail"),
    "null share": (checks.not_null("fare", at_least=0.99), [line(41, fare=None)], "at most 1.00% may"),
    "rule": (checks.holds(pl.col("minutes") > 0), [line(41, minutes=-1.0)], "1 of 41 rows fail"),
    "lag": (checks.lag(within=hours(1)), [line(41, minutes=56.0)], "1 of 41 rows fail"),
    "quantile": (
        checks.quantile("fare", 0.95, 5, 20),
        [line(i, fare=21.0) for i in range(41, 45)],
        "21; at least 5, at most 20",
    ),
    "quantile too low": (
        checks.quantile("fare", 0.5, 4, None),
        [line(i, fare=0.0) for i in range(41, 91)],
        "0; at least",
    ),
    "cardinality": (checks.cardinality("town", 2, 3), [line(41, "X"), line(42, "Y")], "4 different values"),
    "rows": (checks.rows(1, 41), [line(41), line(42)], "42 rows; at least 1, at most 41"),
    "rows like before": (
        checks.rows_like_before(within=0.1),
        [line(i) for i in range(41, 46)],
        "45 rows, 40 before; at most 10% more or less",
    ),
    "drift of numbers": (
        checks.drift("fare", 0.3),
        [line(i, fare=8.0) for i in range(41, 61)],
        "Kolmogorov-Smirnov distance 0.800 of 20 values from 40 before; at most 0.3",
    ),
    "drift of texts": (
        checks.drift("town", 0.3),
        [line(i, "Oslo") for i in range(41, 61)],
        "total variation distance 1.000 of 20 values from 40 before",
    ),
    "drift into nothing": (checks.drift("fare", 0.9), [line(41, fare=None)], "no value is there, 40 were before"),
}


@pytest.mark.parametrize(("rule", "planted", "words"), PLANTS.values(), ids=PLANTS)
def test_not_a_row_of_a_planted_fault_passes(tmp_path: Path, rule: Check, planted: list[str], words: str) -> None:
    house = House(tmp_path, (rule,))
    house.ship("a", *SOUND)
    assert house.run().passed
    house.ship("b", *planted)
    with pytest.raises(GateError, match=re.escape(words)):
        house.run()
    assert house.main() == list(range(1, 41))
    assert house.run_only_sound("b").passed


def test_not_a_row_passes_whose_key_is_nowhere(tmp_path: Path) -> None:
    (tmp_path / "towns.csv").write_text("town\nBern\nRome\n")
    towns = Table("towns", csv(str(tmp_path / "towns.csv")), key="town", columns={str: "town"})
    house = House(tmp_path, (checks.refers("town", to=towns),))

    def run() -> None:
        snapshots = (house.lake.ingest(towns, Silent()), house.ingest())
        gate.gate(house, Silent(), pipeline=pipeline(house.stream), snapshots=snapshots, as_of=LATE)  # type: ignore[arg-type]

    house.ship("a", *SOUND)
    run()
    house.ship("b", line(41, "Oslo"))
    with pytest.raises(GateError, match=r"refers\(town, to towns\.town\) failed: 1 of 41 rows fail"):
        run()
    assert house.main() == list(range(1, 41))


def test_not_a_row_passes_of_other_columns(tmp_path: Path) -> None:
    """What came in by another definition than the one that is judged."""
    house, other = House(tmp_path), House(tmp_path, derive=True)
    house.ship("a", *SOUND)
    with pytest.raises(GateError, match=r"trips: schema failed: `cheap` is missing"):
        gate.gate(house, Silent(), pipeline=pipeline(other.stream), snapshots=(house.ingest(),), as_of=LATE)  # type: ignore[arg-type]
    assert house.main() == []


def test_old_rows_are_not_fresh(tmp_path: Path) -> None:
    house = House(tmp_path, (checks.fresh(within=hours(6)),))
    house.ship("a", *SOUND)
    with pytest.raises(GateError, match=r"newest event at 2024-01-02T16:00:00Z, 32\.0 h before"):
        house.run(as_of=JUST_AFTER)
    assert house.main() == []


@pytest.mark.parametrize("rule", [checks.quantile("fare", 0.5, 0, 1), checks.cardinality("fare", 1)])
def test_no_value_meets_no_bound(tmp_path: Path, rule: Check) -> None:
    house = House(tmp_path, (rule,))
    house.ship("a", line(1, fare=None))
    with pytest.raises(GateError):
        house.run()


def test_growth_as_declared_passes(tmp_path: Path) -> None:
    house = House(tmp_path, (checks.rows_like_before(within=0.1), checks.drift("fare", 0.3), checks.drift("town", 0.3)))
    house.ship("a", *SOUND)
    house.run()
    house.ship("b", *[line(i, ["Bern", "Rome"][i % 2], fare=float(i)) for i in range(41, 45)])
    with pytest.raises(GateError, match="Kolmogorov"):
        house.run()
    house.ship("b", *[line(i, ["Bern", "Rome"][i % 2], fare=3.0 * (i - 41)) for i in range(41, 45)])
    report = house.run()
    assert report.snapshots[0].rows == 44
    assert "of 4 values from 40 before" in report.results[2].detail


def test_a_column_that_was_not_there_has_not_drifted(tmp_path: Path) -> None:
    House(tmp_path).ship("a", *SOUND)
    House(tmp_path).run()
    house = House(tmp_path, (checks.drift("cheap", 0.1),), derive=True)
    assert "no `cheap` of this type was published before" in house.run().results[1].detail


def test_only_what_is_known_is_compared(tmp_path: Path) -> None:
    """Replayed to an earlier moment, the rows before are those known then too."""
    house = House(tmp_path, (checks.rows_like_before(within=0.1), checks.drift("fare", 0.5)), delay=minutes(5))
    house.ship("a", *SOUND)
    house.run()
    early = int(datetime(2024, 1, 2, tzinfo=UTC).timestamp()) * 1_000_000
    report = house.run(as_of=early)
    assert report.results[1].detail.startswith("23 rows, 23 before")


@pytest.mark.usefixtures("ray_local")
def test_blocks_all_over_the_cluster_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of check, with faults, judged in one scan here and in the blocks of a Ray dataset."""
    rules = [rule.warn() for rule, _, _ in PLANTS.values()]
    rules.append(checks.fresh(within=hours(6)).warn())
    asked: list[str] = []
    blocks = Lake.blocks

    def noted(lake: Lake, one: Snapshot, columns: Sequence[str], ask: Callable[[pl.DataFrame], bytes]) -> list[bytes]:
        asked.append(one.table)
        return blocks(lake, one, columns, ask)

    monkeypatch.setattr(Lake, "blocks", noted)
    found = []
    for name, rows in (("here", 10**9), ("there", 1)):
        monkeypatch.setattr(gate, "SPREAD_ROWS", rows)
        (tmp_path / name).mkdir()
        house = House(tmp_path / name, tuple(rules))
        house.ship("a", *SOUND)
        house.run()
        house.ship("b", *[line for _, planted, _ in PLANTS.values() for line in planted])
        found.append([(r.check, r.passed, r.rows, r.failed, r.detail, r.sample, r.cause) for r in house.run().results])
    assert found[0] == found[1]
    assert sum(not passed for _, passed, *_ in found[1]) > 5
    assert asked == ["trips"] * 2
