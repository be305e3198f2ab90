"""A gate without a cluster: a lake, a ledger, and trips whose fares a test chooses."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import polars as pl

from raypipe.clock import ManualClock
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import GateReport, Snapshot
from raypipe.flows import Platform
from raypipe.flows.gate import gate
from raypipe.lake import Lake
from raypipe.lake.catalog import load_table, open_catalog
from raypipe.lake.state import MAIN, head, rows_of
from raypipe.ledger import Ledger
from raypipe.spec import Pipeline, Search, Stream, days, lint, models, periods, request
from raypipe.spec.checks import Check
from tests.lake.sources import HEADER, trips

LATE = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


def pipeline(stream: Stream) -> Pipeline:
    value = Pipeline(
        "trips",
        ask=stream.before("started"),
        inputs=[request("id", "started").with_features(hour=pl.col("started").dt.hour())],
        label=stream.label(pl.col("fare") > 5, settled_after=days(1)),
        split=periods(train="2024-01", tune="2024-02", holdout="2024-03"),
        search=Search([models.Linear()]),
    )
    lint(value)
    return value


@dataclass(frozen=True)
class House:
    """The parts of a platform that a gate touches, and a stream in a folder."""

    folder: Path
    gate: tuple[Check, ...] = ()
    delay: timedelta = timedelta(minutes=5)
    derive: bool = False
    clock: ManualClock = field(default_factory=lambda: ManualClock(1))
    tracking_uri: str = ""

    @property
    def workspace(self) -> Path:
        return self.folder

    @property
    def lake(self) -> Lake:
        return Lake(self.folder / "lake")

    @property
    def ledger(self) -> Ledger:
        return Ledger.in_folder(self.folder, self.clock)

    @property
    def stream(self) -> Stream:
        ended = pl.col("started") + pl.duration(seconds=(pl.col("minutes") * 60).round())
        more = {"cheap": pl.col("fare") < 5} if self.derive else {}
        return trips(self.folder / "trips", gate=list(self.gate), delay=self.delay, derive={"ended_at": ended} | more)

    def ship(self, name: str, *lines: str) -> None:
        """Put a file of trips there."""
        (self.folder / "trips").mkdir(exist_ok=True)
        (self.folder / "trips" / f"{name}.csv").write_text(HEADER + "".join(lines))

    def ingest(self) -> Snapshot:
        return self.lake.ingest(self.stream, Silent())

    def run(self, as_of: int = LATE, bypass: str = "") -> GateReport:
        """Ingest and gate."""
        snapshots = (self.ingest(),)
        more = {"bypass": bypass} if bypass else {}
        platform = cast(Platform, self)
        return gate(platform, Silent(), pipeline=pipeline(self.stream), snapshots=snapshots, as_of=as_of, **more)

    def run_only_sound(self, name: str) -> GateReport:
        """The same without a file that was shipped."""
        (self.folder / "trips" / f"{name}.csv").unlink()
        return self.run()

    def main(self, column: str = "id") -> list[object]:
        """What readers see."""
        table = load_table(open_catalog(self.folder / "lake"), "trips")
        assert table is not None
        snapshot = head(table, MAIN)
        assert snapshot is not None
        return rows_of(table, snapshot).collect()[column].to_list() if snapshot.summary else []

    def aside(self) -> pl.DataFrame:
        """What was set aside."""
        return self.lake.quarantined(self.stream).collect()
