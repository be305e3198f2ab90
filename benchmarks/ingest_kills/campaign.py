"""A lake, all that is sent to it, and processes that die at a crash window each while they take it in."""

import json
import logging
import multiprocessing
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
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
from sqlalchemy import create_engine, text

import raypipe.lake
from raypipe.contracts.faulty import Faulty
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Snapshot
from raypipe.lake import Lake, catalog
from raypipe.lake.ingest import ingest
from raypipe.lake.live import SPREAD_MESSAGES
from raypipe.spec import Stream, Table, csv, days, kafka, sql

PREFIXES = ("ingest.", "live.", "publish.", "quarantine.", "upkeep.")
#: Windows just before a commit: whoever stands still there loses the race.
BEFORE_COMMIT = ("live.before_commit", "ingest.after_files_before_commit", "quarantine.before_commit")
#: The window that is there but once in the life of a lake.
NEW_LAKE = "ingest.table_made"
#: What of a world may be wrong.
WRONG = ("lost", "doubled", "marked otherwise")
BEGAN = datetime(2024, 1, 1, tzinfo=UTC)
DEAR = 100.0
LATE = timedelta(days=30)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["benchmarks.ingest_kills.campaign"])


def windows() -> list[str]:
    """Every crash window that taking in goes through, as they follow each other in its files.

    Whoever dies early in a piece of work leaves it to be done, so that the next one comes as far as the next window.
    """
    texts = [path.read_text() for path in sorted(Path(raypipe.lake.__file__).parent.glob("*.py"))]
    found = dict.fromkeys(name for text in texts for name in re.findall(r'failpoint\("([^"]+)"\)', text))
    return [name for name in found if name.startswith(PREFIXES)]


@dataclass(frozen=True)
class Way:
    """How rows come into a lake.

    Attributes:
        follow: as one who follows the log, whom the next one takes over from; else as one who takes in what is there.
        database: live rows are those of a table in SQLite; else messages of Kafka.
        bucket: the lake's files lie in this bucket of S3, which ``env`` says how to reach; empty: in its folder.
        ray: the address of the cluster that reads the log; empty: each process does.
        env: what else its processes are told.
    """

    follow: bool = False
    database: bool = False
    bucket: str = ""
    ray: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def points(self) -> list[str]:
        """The windows to be killed at, the log's first; where the cluster reads, which takes long, only those."""
        live = [name for name in windows() if name.startswith("live.")]
        return live if self.ray else live + [name for name in windows() if name not in (NEW_LAKE, *live)]


@dataclass
class World:
    """One lake, and all that was ever sent to it."""

    folder: Path
    topic: str
    connection: dict[str, str]
    producer: Producer
    retry: bool = False
    way: Way = field(default_factory=Way)
    good: Counter[int] = field(default_factory=Counter)
    dear: Counter[int] = field(default_factory=Counter)
    late: set[int] = field(default_factory=set)
    poison: int = 0
    numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        (self.folder / "trips").mkdir(parents=True)
        (self.folder / "towns.csv").write_text("town,zone\nBern,CET\n")
        if self.way.database:
            self._execute("CREATE TABLE trips (seq INTEGER PRIMARY KEY, id INTEGER, town TEXT, started TEXT, fare)")

    def send(self) -> None:
        """A file with a row twice and a line that is none; live rows, one of them late, and poison; a row both ways."""
        first = [next(self.numbers) for _ in range(4)]
        second = [next(self.numbers) for _ in range(4)]
        late = next(self.numbers)
        lines = [_line(number) for number in (*first, first[0])]
        (self.folder / "trips" / f"{first[0]:06}.csv").write_text(
            "id,town,started,fare\n" + "".join(lines) + "no trip\n"
        )
        self.late.add(late)
        self._send_live([_row(number) for number in (*second, first[1])] + [_row(late, LATE)], second[-1] % 2)
        for number in (*first, *second, late):
            (self.dear if _fare(number) > DEAR else self.good)[number] += 1
        self.poison += 2

    def _send_live(self, rows: list[dict[str, object]], partition: int) -> None:
        """Rows and one that is none: the last ones into one partition, where the late one is behind others."""
        if self.way.database:
            for row in [*rows, rows[0] | {"fare": "much"}]:
                values = "(id, town, started, fare) VALUES (:id, :town, :started, :fare)"
                self._execute(f"INSERT INTO trips {values}", row)  # its own words
            return
        for place, row in enumerate(rows):
            at = place % 2 if place < 2 else partition
            self.producer.produce(self.topic, json.dumps(row).encode(), partition=at)
        self.producer.produce(self.topic, b"{", partition=partition)
        if self.producer.flush(30):
            raise RuntimeError("the mock cluster did not take the messages")

    def _execute(self, statement: str, values: Mapping[str, object] | None = None) -> None:
        with create_engine(f"sqlite:///{self.folder / 'shop.db'}").begin() as database:
            database.execute(text(statement), values or {})

    def start(self, failpoint: str = "") -> ForkServerProcess:
        """One process that takes in what is there."""
        tidy = failpoint.startswith("upkeep.")
        given = (self.folder, self.topic, self.connection, failpoint, self.retry, tidy, self.way)
        process = PROCESSES.Process(target=take_in, args=given)
        process.start()
        return process

    def stops(self) -> bool:
        """Whether a file that lacks a column stops whoever takes in; it is taken away again."""
        bad = self.folder / "trips" / "narrow.csv"
        bad.write_text("id,town,started\n1,Bern,2024-01-01T00:00:00+00:00\n")
        process = self.start()
        process.join(120)
        bad.unlink()
        return process.exitcode == 1

    def settle(self) -> None:
        """Take in all that is left, with nobody killed."""
        for _ in range(3):
            process = self.start()
            process.join(120)
            if process.exitcode == 0:
                return
        raise RuntimeError("what is left cannot be taken in")

    def wrong(self) -> dict[str, int]:
        """Of all that was sent: what is nowhere, what is there more than once, and what is not marked as it came."""
        lake = opened(self.folder, self.connection, self.way)
        stream = sources(self.folder, self.topic, self.way)[1]
        there = catalog.load_table(lake._catalog, stream.name)
        assert there is not None
        found = there.scan().to_arrow()
        rows = Counter(found["id"].to_pylist())
        late = {id for id, late in zip(found["id"].to_pylist(), found["late"].to_pylist(), strict=True) if late}
        aside = lake.quarantined(stream).collect()
        dear = Counter(json.loads(row)["id"] for row in aside.filter(check="cheap")["row"])
        bad = Counter(aside.filter(check="readable").select("origin", "offset").rows())
        lost = (self.good - rows) + (self.dear - dear)
        doubled = (rows - self.good) + (dear - self.dear)
        more = bad.total() - len(bad)
        return {
            "lost": lost.total() + self.poison - len(bad),
            "doubled": doubled.total() + more,
            "marked otherwise": len(late ^ (self.late & rows.keys())),
        }


def sources(folder: Path, topic: str, way: Way) -> tuple[Table, Stream]:
    """A table, and a stream with a past and a present that looks things up in it."""
    towns = Table("towns", csv(str(folder / "towns.csv")), key="town", columns={str: "town zone"})
    live = sql("shop", "trips", by="seq", at_most_bad=1.0) if way.database else kafka(topic, at_most_bad=1.0)
    return towns, Stream(
        "trips",
        csv(str(folder / "trips"), at_most_bad=1.0),
        live=live,
        id=["id"],
        time="started",
        columns={int: "id", str: "town", datetime: "started", float: "fare"},
        derive={"zone": towns.lookup("zone", by="town")},
        late_by=days(2),
    )


def opened(folder: Path, connection: dict[str, str], way: Way) -> Lake:
    """The lake of a world."""
    os.environ.update(way.env)
    connections = {"kafka": connection, "sql": {"shop": f"sqlite:///{folder / 'shop.db'}"}}
    warehouse = f"s3://{way.bucket}/{folder.name}" if way.bucket else ""
    spread = 1 if way.ray else SPREAD_MESSAGES
    return Lake(folder / "lake", connections=connections, warehouse=warehouse, spread_messages=spread)


def take_in(
    folder: Path, topic: str, connection: dict[str, str], failpoint: str, retry: bool, tidy: bool, way: Way
) -> None:
    """Take in, set aside, publish, tidy: what one process does, as far as it comes."""
    if failpoint:
        os.environ["RAYPIPE_FAILPOINT"] = failpoint
    if retry:
        catalog.PROPERTIES["commit.retry.num-retries"] = "4"
    # Whoever is overtaken ends with an error, as users would see it: that is no loss.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    os.environ.update(way.env)
    if way.ray:
        import ray

        ray.init(address=way.ray, log_to_driver=False, logging_level=logging.ERROR)
    lake, (towns, trips) = opened(folder, connection, way), sources(folder, topic, way)
    snapshots = [lake.ingest(towns, Silent()), _followed(lake, trips) if way.follow else lake.ingest(trips, Silent())]
    snapshots[1] = _without_dear(lake, snapshots[1])
    lake.publish(snapshots)
    for source in (towns, trips) if tidy else ():
        lake.tidy(source, 2**62, 0)


def _followed(lake: Lake, trips: Stream) -> Snapshot:
    """The files, then the log as one who follows it takes it in, a few rows at a time."""
    ingest(lake._catalog, trips, Silent(), 2**40)
    with lake.follow(trips) as following:
        while sum(following.lag().values()):
            following.take(1.0, limit=4)
        return following.snapshot()


def _without_dear(lake: Lake, snapshot: Snapshot) -> Snapshot:
    rows = lake.frame(snapshot).with_row_index("row").filter(pl.col("fare") > DEAR)
    bad = rows.select("row", check=pl.lit("cheap"), reason=pl.lit("dear")).collect()
    return lake.set_aside(Faulty(snapshot, bad), 0) if bad.height else snapshot


def _line(number: int) -> str:
    return f"{number},Bern,{(BEGAN + timedelta(minutes=number)).isoformat()},{_fare(number)}\n"


def _row(number: int, behind: timedelta = timedelta()) -> dict[str, object]:
    started = (BEGAN + timedelta(minutes=number) - behind).isoformat()
    return {"id": number, "town": "Bern", "started": started, "fare": _fare(number)}


def _fare(number: int) -> float:
    return 900.0 if number % 8 in (2, 6) else 7.5


def campaign(
    folder: Path,
    kills: int,
    a_lake: int,
    *,
    retry: bool = False,
    way: Way = Way(),  # it is frozen
) -> Counter[str]:
    """Kill so many times; says how often at which window, how many races were lost, and what is wrong.

    Args:
        folder: for the lakes.
        kills: how many, at the windows in turn.
        a_lake: so many of them happen to one lake, which is then looked at.
        retry: turn on pyiceberg's own retry of lost commits.
        way: how rows come in.
    """
    producer = Producer({"test.mock.num.brokers": 1, "log_level": 2})
    brokers = producer.list_topics(timeout=10).brokers.values()
    connection = {"bootstrap.servers": ",".join(f"{one.host}:{one.port}" for one in brokers), "log_level": "2"}
    found: Counter[str] = Counter(dict.fromkeys(("kills", "races", "stops", *WRONG), 0))
    points, races = cycle(way.points), cycle(BEFORE_COMMIT)
    rounds = 0
    for number in count():
        world = World(folder / f"{number}", f"trips-{number}", connection, producer, retry, way)
        until, point = min(kills, found["kills"] + a_lake), next(points) if way.ray else NEW_LAKE
        while found["kills"] < until:
            if (rounds := rounds + 1) > 10 * kills + 10:
                raise RuntimeError(f"only {found['kills']} of {rounds} processes died at their window")
            world.send()
            _round(world, point, next(races) if world.poison % 16 == 8 else "", found)
            point = next(points)
        found["stops"] += world.stops()
        world.settle()
        found.update(world.wrong())
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
