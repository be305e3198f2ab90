"""A lake, all that is sent to it, and processes that die at a crash window each while they take it in."""

import json
import multiprocessing
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from threading import Event
from time import monotonic

import polars as pl
from confluent_kafka import Producer

import raypipe.lake
from raypipe.contracts.faulty import Faulty
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot
from raypipe.lake import Lake, catalog
from raypipe.spec import Stream, Table, csv, kafka

PREFIXES = ("ingest.", "live.", "publish.", "quarantine.", "upkeep.")
#: Windows just before a commit: whoever stands still there loses the race.
BEFORE_COMMIT = ("live.before_commit", "ingest.after_files_before_commit", "quarantine.before_commit")
#: The window that is there but once in the life of a lake.
NEW_LAKE = "ingest.table_made"
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
DEAR = 100.0
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["benchmarks.ingest_kills.campaign"])


def windows() -> list[str]:
    """Every crash window that taking in goes through."""
    texts = [path.read_text() for path in Path(raypipe.lake.__file__).parent.glob("*.py")]
    found = {name for text in texts for name in re.findall(r'failpoint\("([^"]+)"\)', text)}
    return sorted(name for name in found if name.startswith(PREFIXES))


@dataclass
class World:
    """One lake, and all that was ever sent to it."""

    folder: Path
    topic: str
    connection: dict[str, str]
    producer: Producer
    retry: bool = False
    good: Counter[int] = field(default_factory=Counter)
    dear: Counter[int] = field(default_factory=Counter)
    poison: int = 0
    numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        (self.folder / "trips").mkdir(parents=True)
        (self.folder / "towns.csv").write_text("town,zone\nBern,CET\n")

    def send(self) -> None:
        """A file with a row twice and a line that is none, messages with poison; one row comes both ways."""
        first = [next(self.numbers) for _ in range(4)]
        second = [next(self.numbers) for _ in range(4)]
        lines = [_line(number) for number in (*first, first[0])]
        (self.folder / "trips" / f"{first[0]:06}.csv").write_text(
            "id,town,started,fare\n" + "".join(lines) + "no trip\n"
        )
        messages = [_message(number) for number in (*second, first[1])]
        for value in (*messages, b"{"):
            self.producer.produce(self.topic, value, partition=first[0] % 2)
        if self.producer.flush(30):
            raise RuntimeError("the mock cluster did not take the messages")
        for number in (*first, *second):
            (self.dear if _fare(number) > DEAR else self.good)[number] += 1
        self.poison += 2

    def start(self, failpoint: str = "") -> ForkServerProcess:
        """One process that takes in what is there."""
        tidy = failpoint.startswith("upkeep.")
        process = PROCESSES.Process(
            target=take_in, args=(self.folder, self.topic, self.connection, failpoint, self.retry, tidy)
        )
        process.start()
        return process

    def settle(self) -> None:
        """Take in all that is left, with nobody killed."""
        for _ in range(3):
            process = self.start()
            process.join(120)
            if process.exitcode == 0:
                return
        raise RuntimeError("what is left cannot be taken in")

    def lost_and_doubled(self) -> tuple[int, int]:
        """Of all that was sent: what is nowhere, and what is there more than once."""
        lake = opened(self.folder, self.connection)
        stream = sources(self.folder, self.topic)[1]
        there = catalog.load_table(catalog.open_catalog(self.folder / "lake"), stream.name)
        assert there is not None
        rows = Counter(there.scan().to_arrow()["id"].to_pylist())
        aside = lake.quarantined(stream).collect()
        dear = Counter(json.loads(row)["id"] for row in aside.filter(check="cheap")["row"])
        bad = Counter(aside.filter(check="readable").select("origin", "offset").rows())
        lost = (self.good - rows) + (self.dear - dear)
        doubled = (rows - self.good) + (dear - self.dear)
        more = bad.total() - len(bad)
        return lost.total() + self.poison - len(bad), doubled.total() + more


def sources(folder: Path, topic: str) -> tuple[Table, Stream]:
    """A table, and a stream with a past and a present that looks things up in it."""
    towns = Table("towns", csv(str(folder / "towns.csv")), key="town", columns={str: "town zone"})
    return towns, Stream(
        "trips",
        csv(str(folder / "trips"), at_most_bad=1.0),
        live=kafka(topic, at_most_bad=1.0),
        id=["id"],
        time="started",
        columns={int: "id", str: "town", datetime: "started", float: "fare"},
        derive={"zone": towns.lookup("zone", by="town")},
    )


def opened(folder: Path, connection: dict[str, str]) -> Lake:
    """The lake of a world."""
    return Lake(folder / "lake", connections={"kafka": connection})


def take_in(folder: Path, topic: str, connection: dict[str, str], failpoint: str, retry: bool, tidy: bool) -> None:
    """Take in, set aside, publish, tidy: what one process does, as far as it comes."""
    if failpoint:
        os.environ["RAYPIPE_FAILPOINT"] = failpoint
    if retry:
        catalog.PROPERTIES["commit.retry.num-retries"] = "4"
    # Whoever is overtaken ends with an error, as users would see it: that is no loss.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    lake, (towns, trips) = opened(folder, connection), sources(folder, topic)
    snapshots = [lake.ingest(towns, Silent()), lake.ingest(trips, Silent())]
    snapshots[1] = _without_dear(lake, snapshots[1])
    lake.publish(snapshots)
    for source in (towns, trips) if tidy else ():
        lake.tidy(source, 2**62, 0)


def _without_dear(lake: Lake, snapshot: Snapshot) -> Snapshot:
    rows = lake.frame(snapshot).with_row_index("row").filter(pl.col("fare") > DEAR)
    bad = rows.select("row", check=pl.lit("cheap"), reason=pl.lit("dear")).collect()
    return lake.set_aside(Faulty(snapshot, bad), 0) if bad.height else snapshot


def _line(number: int) -> str:
    return f"{number},Bern,{(BEGAN + timedelta(minutes=number)).isoformat()},{_fare(number)}\n"


def _message(number: int) -> bytes:
    started = (BEGAN + timedelta(minutes=number)).isoformat()
    return json.dumps({"id": number, "town": "Bern", "started": started, "fare": _fare(number)}).encode()


def _fare(number: int) -> float:
    return 900.0 if number % 8 in (2, 6) else 7.5


def campaign(folder: Path, kills: int, a_lake: int, *, retry: bool = False) -> Counter[str]:
    """Kill so many times; says how often at which window, how many races were lost, and what is lost and doubled.

    Args:
        folder: for the lakes.
        kills: how many, at the windows in turn.
        a_lake: so many of them happen to one lake, which is then looked at.
        retry: turn on pyiceberg's own retry of lost commits.
    """
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 2})
    brokers = producer.list_topics(timeout=10).brokers.values()
    connection = {"bootstrap.servers": ",".join(f"{one.host}:{one.port}" for one in brokers), "log_level": "2"}
    found: Counter[str] = Counter({"kills": 0, "races": 0, "lost": 0, "doubled": 0})
    points = cycle(name for name in windows() if name != NEW_LAKE)
    races = cycle(BEFORE_COMMIT)
    rounds = 0
    for number in count():
        world = World(folder / f"{number}", f"trips-{number}", connection, producer, retry)
        until, point = min(kills, found["kills"] + a_lake), NEW_LAKE
        while found["kills"] < until:
            if (rounds := rounds + 1) > 10 * kills + 10:
                raise RuntimeError(f"only {found['kills']} of {rounds} processes died at their window")
            world.send()
            _round(world, point, next(races) if world.poison % 16 == 8 else "", found)
            point = next(points)
        world.settle()
        lost, doubled = world.lost_and_doubled()
        found.update(lost=lost, doubled=doubled)
        if found["kills"] >= kills:
            return found
    raise AssertionError("unreachable")


def _round(world: World, point: str, race: str, found: Counter[str]) -> None:
    standing = world.start(f"{race}=stop@1") if race else None
    stood = standing is not None and _until_stopped(standing)
    if stood:
        world.settle()  # so that whoever stands at its commit surely loses it
        world.send()
    process = world.start(f"{point}=kill")
    process.join(120)
    if process.exitcode == -signal.SIGKILL:
        found.update({"kills": 1, f"at {point}": 1})
    if standing is not None:
        found["races"] += stood
        with suppress(ProcessLookupError):
            os.kill(standing.pid or 0, signal.SIGCONT)
        standing.join(120)


def _until_stopped(process: ForkServerProcess) -> bool:
    """True when it stands still; False when it ended without coming that far."""
    until = monotonic() + 60
    while process.is_alive() and monotonic() < until:
        if Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return True
        Event().wait(0.02)
    return False
