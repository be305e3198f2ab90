"""A thousand kills: ingestion is killed (SIGKILL) at every crash window in turn; nothing is lost or doubled.

Files and messages arrive, each of them once or twice. A process takes them in, sets bad rows aside, publishes, tidies,
and dies at a window of its own; now and then another stands still at its commit meanwhile, and goes on when the lake
has moved. A row in nine is late, and a file that lacks a column stops whoever finds it, until it is gone. In the end
each row that was sent is in the table or in the quarantine, once, and marked as it came, as Iceberg itself tells.

Fewer kills each happen to those who follow a log, read a database, write to S3, or have the cluster read.

The same with pyiceberg's own retry of lost commits, which raypipe turns off, must fail, and does.
"""

import multiprocessing
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from benchmarks.ingest_kills.campaign import WRONG, Way, campaign, windows
from benchmarks.ingest_kills.ways import ways
from benchmarks.report import QUICK, Aim, Row, versions, write

KILLS = 36 if QUICK else 1_000
#: So many kills happen to one lake before it is looked at and a new one is begun.
A_LAKE = 18 if QUICK else 25
#: Kills of those who take in in another way, each.
OTHERWISE = 4 if QUICK else 24
#: Kills while pyiceberg's own retry is on.
RETRIED = 6
#: So many campaigns run at a time, each with a log and lakes of its own.
LANES = 2


def main() -> None:
    """The campaigns, and a short one in which pyiceberg tries again by itself: that one must fail."""
    began = monotonic()
    with TemporaryDirectory(prefix="raypipe-kills-") as folder:
        with ProcessPoolExecutor(LANES, mp_context=multiprocessing.get_context("spawn")) as pool:
            lanes = [pool.submit(campaign, Path(folder) / f"{i}", KILLS // LANES, A_LAKE) for i in range(LANES)]
            found = sum((lane.result() for lane in lanes), Counter[str]())
        seconds = monotonic() - began
        retried = campaign(Path(folder) / "retried", RETRIED, RETRIED, retry=True)
        with ways() as others:
            otherwise = {name: _otherwise(Path(folder) / name, way) for name, way in others.items()}
    rows = [Row("raypipe", name, {"times": many}) for name, many in sorted(found.items())]
    for way, seen in otherwise.items():
        rows += [Row(way, name, {"times": many}) for name, many in sorted(seen.items()) if not name.startswith("at ")]
    rows += [Row("with pyiceberg's retry", name, {"times": many}) for name, many in sorted(retried.items())]
    hit = {name.removeprefix("at ") for name in found if name.startswith("at ")}
    wrong = retried["lost"] + retried["doubled"]
    aims = [
        Aim("kills", found["kills"], f"at least {KILLS}", found["kills"] >= KILLS),
        Aim("windows that were never killed at", len(set(windows()) - hit), "0", set(windows()) == hit),
        Aim("rows and messages lost", found["lost"], "0", found["lost"] == 0),
        Aim("rows and messages doubled", found["doubled"], "0", found["doubled"] == 0),
        Aim("late rows marked otherwise", found["marked otherwise"], "0", found["marked otherwise"] == 0),
        *(Aim(f"wrong where rows come by {way}", *_aim(seen)) for way, seen in otherwise.items()),
        Aim("lost or doubled with pyiceberg's own retry", wrong, "more than 0: the test would see it", wrong > 0),
    ]
    notes = f"{found['kills']} kills took {seconds:,.0f} s, {found['races']} commits among them were lost to another."
    write("ingest_kills", rows, aims, versions("pyiceberg", "confluent-kafka"), notes)
    sys.exit(not all(aim.met for aim in aims))


def _otherwise(folder: Path, way: Way) -> Counter[str]:
    return campaign(folder, OTHERWISE, OTHERWISE, way=way)


def _aim(seen: Counter[str]) -> tuple[int, str, bool]:
    wrong = sum(seen[name] for name in WRONG)
    return wrong, f"0 after {OTHERWISE} kills", wrong == 0 and seen["kills"] >= OTHERWISE and seen["stops"] > 0


if __name__ == "__main__":
    main()
