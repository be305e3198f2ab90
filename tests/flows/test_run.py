"""What follows the gate reads what the gate published, not what came in."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import GateReport, Record, Snapshot
from raypipe.flows import Platform, Run, StageResult
from raypipe.flows.stage import Stage
from raypipe.spec import checks
from tests.flows.gated import LATE, House, pipeline
from tests.lake.sources import line


class Here(Run):
    """A run whose first stages are worked on in this process; the next is only asked what it was given."""

    def _do(self, stage: Stage[Record], line: Callable[[Record], str]) -> tuple[Record, StageResult]:
        work = cast("partial[Record]", stage.work)
        if stage.name in ("ingest", "gate"):
            record = work(self.platform, self.progress)
        else:
            given = cast("tuple[Snapshot, ...]", work.keywords["snapshots"])
            record = GateReport(pipeline=stage.name, as_of=0, snapshots=given, results=())
        return record, StageResult(stage.name, "", record, 0.0, reused=False)


def test_features_and_service_see_no_row_that_was_set_aside(tmp_path: Path) -> None:
    house = House(tmp_path, (checks.between("fare", 0, 100).quarantine(),))
    house.ship("a", line(1), line(2, fare=900.0), line(3))
    platform = cast(Platform, house)
    for until, fit in (("features", True), ("deploy", False)):
        run = Here(pipeline(house.stream), tmp_path / "p.py", platform, Silent(), LATE, until, fit)
        last = list(run)[-1].record
        assert isinstance(last, GateReport)
        assert last.pipeline == until
        assert [house.lake.frame(s).collect()["id"].to_list() for s in last.snapshots] == [[1, 3]]
