"""The worked example of docs/ingestion.md: the flights as monthly files and a topic, by the command and by the job.

The broker is librdkafka's mock cluster. No Ray: what would be a task of the cluster runs here.
"""

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from examples.flights import months
from raypipe.cli import opened
from raypipe.cli.main import main
from raypipe.contracts.progress import Progress
from raypipe.flows import remote
from raypipe.lake import Lake
from raypipe.spec import Stream, load
from tests.flows.gated import House
from tests.flows.test_follow import Sending
from tests.lake.logs import Broker

ROOT = Path(__file__).parents[2]
FOLLOW = ["--follow", "--every", "3", "--stop-after", "0"]
FLIGHT = ["carrier", "flight", "origin", "dest", "year", "month", "day", "sched_dep_time"]


@dataclass(frozen=True)
class Airline(House):
    """A house that is reached by the commands, with the pipeline that the docs tell to write."""

    broker: Broker = field(default_factory=Broker)
    coming: list[bytes] = field(default_factory=list)
    services: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(host="127.0.0.1"))

    @property
    def lake(self) -> Lake:
        return Lake(self.folder / "lake", connections={"kafka": self.broker.connection})

    @property
    def file(self) -> Path:
        return self.folder / "live.py"

    @property
    def stream(self) -> Stream:
        return next(stream for stream in load(self.file).streams if stream.name == "flights")

    def write(self) -> None:
        page = (ROOT / "docs/ingestion.md").read_text()
        shown = page.partition("<!-- flights from months and a topic -->")[2]
        lines = shown.partition('    "flights",\n')[2].partition("    id=[")[0]
        text = (ROOT / "examples/flights/pipeline.py").read_text()
        before, after = text.split('    csv(f"{DATA}/flights.csv.zip"),\n')
        text = before.replace("    hours,\n", "    hours,\n    kafka,\n", 1) + lines + after
        self.file.write_text(text.replace("/tmp/flights", str(self.folder / "flights")))

    def published(self) -> pl.DataFrame:
        snapshot = self.lake.published(self.stream)
        assert snapshot is not None
        return self.lake.frame(snapshot, list(self.stream.columns)).collect()


@pytest.fixture
def airline(tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Airline:
    airline = Airline(tmp_path)

    @contextmanager
    def open_it(progress: Progress, name: str) -> Iterator[Airline]:
        yield airline

    def here(name: str, work: remote.Work[object], platform: Airline, progress: Progress) -> object:
        return work(platform, Sending(lambda: platform.broker.send(months.TOPIC, *platform.coming)))  # type: ignore[arg-type]

    monkeypatch.setattr(opened, "opened", open_it)
    monkeypatch.setattr(remote, "on_cluster", here)
    airline.write()
    return airline


def same(taken: pl.DataFrame, sent: pl.DataFrame) -> bool:
    """The same flights, each once, with the same delays."""
    columns = [*FLIGHT, "dep_delay", "arr_delay", "tailnum"]
    numbers = pl.col("dep_delay", "arr_delay").cast(pl.Float64)
    one, other = (frame.select(columns).with_columns(numbers).sort(FLIGHT) for frame in (taken, sent))
    return one.equals(other)


def test_months_and_a_topic(
    airline: Airline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    day, place = pl.col("month") * 100 + pl.col("day"), pl.int_range(pl.len())
    flights = months.flights().filter((place % 71 == 0) | day.is_between(702, 703))
    files = months.write_months(flights, airline.folder / "flights")
    assert [file.name for file in files] == [f"2013-{month:02}.csv" for month in range(1, 8)]
    sent = list(months.messages(flights))
    second = flights.filter(day == 702).height
    assert 0 < second < len(sent)

    airline.broker.send(months.TOPIC, sent[0])  # what was there before is taken in first
    airline.coming[:] = sent[1:second]
    assert main(["ingest", str(airline.file), *FOLLOW]) == 0
    told = f"{second - 1:,} messages in 1 batches, 0 new rows"
    assert told in capsys.readouterr().out, "2 July was in its month's file"
    assert same(airline.published(), flights.filter(day <= 702))

    airline.coming[:] = sent[second:]
    monkeypatch.setattr(sys, "argv", ["jobs/ingest.py", str(airline.file), *FOLLOW])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "jobs/ingest.py"), run_name="__main__")
    assert ended.value.code == 0
    assert f"{len(sent) - second:,} messages in 1 batches, {len(sent) - second:,} new rows" in capsys.readouterr().out
    assert same(airline.published(), flights.filter(day <= 703))
