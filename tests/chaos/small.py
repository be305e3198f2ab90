"""A worker node is lost while rows come in, and another while a batch is scored: ``python -m tests.chaos.small``.

In a process of its own, for Ray knows one cluster a process. What the checker says of each is printed as JSON. Nobody
waits for the right moment: on a node that is to be lost a failpoint stops whoever works there, in the middle of it.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from raypipe.services.ray_head import QUIET

os.environ.update(QUIET)  # Ray reads it when it is imported: all of it stays on 127.0.0.1

import polars as pl
import psutil
import ray
from ray.cluster_utils import Cluster

from benchmarks.scale import rides
from benchmarks.scale.past import Past
from raypipe.contracts.progress import Silent
from raypipe.flows import predict
from raypipe.flows.materialize import materialize
from raypipe.lake import Lake
from raypipe.settings import load_settings
from raypipe.spec import load
from raypipe.wiring import connect
from tests.chaos import live, trips
from tests.chaos.history import History, Verdict, judge
from tests.chaos.nodes import kill, until

READING, SCORING = "ingest.while_reading", "predict.before_part"
NAME, QUESTIONS, PART_ROWS = "rides", 2_000, 250
#: A node that is gone is noticed after a few seconds, not after fifteen.
NOTICED = {"RAY_health_check_initial_delay_ms": "500", "RAY_health_check_period_ms": "500"}

T = TypeVar("T")
Losing = Callable[[Callable[[], object]], None]


class Small:
    """A cluster of a head that works on nothing, and of workers with one CPU each."""

    def __init__(self, folder: Path) -> None:
        head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": str(folder)}
        self._cluster = _started(lambda: Cluster(initialize_head=True, head_node_args=head))
        ray.init(address=self._cluster.address, log_to_driver=False, logging_level="error")

    def add(self, stops_at: str = "") -> Losing:
        """One more worker, whose processes stop at this failpoint; what does some work, and loses the worker in it."""
        more = {"RAYPIPE_FAILPOINT": f"{stops_at}=stop"} if stops_at else {}
        node = _started(lambda: self._cluster.add_node(num_cpus=1, env_vars=more))
        return lambda work: self._lose(node, work)

    def _lose(self, node: Any, work: Callable[[], object]) -> None:
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            until(lambda: _stopped(node) or working.done())
            stopped = _stopped(node)
            kill([node])
            self._cluster.remove_node(node, allow_graceful=False)
            if not self._cluster.worker_nodes:
                self.add()
            working.result()
        if not stopped:
            raise RuntimeError("nobody was at work on the node when it was lost")

    def close(self) -> None:
        """End all of it."""
        ray.shutdown()
        self._cluster.shutdown()


def _started(start: Callable[[], T]) -> T:
    """Ray gives a node a fixed half a minute to start, which a busy machine can miss: it is tried once more."""
    with suppress(Exception):
        return start()
    return start()


def _stopped(node: Any) -> bool:
    """Whether a process of a node has come to its failpoint."""
    with suppress(psutil.NoSuchProcess):
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        return any(one.status() == psutil.STATUS_STOPPED for one in raylet.children(recursive=True))
    return False


def rows_come_in(folder: Path, lose: Losing) -> Verdict:
    """Files are read by the cluster, each by a task."""
    trips.ship(folder / "trips", rows=2_000, files=8)
    os.environ["CHAOS_DATA"] = str(folder / "trips")
    stream, lake = load(Path(trips.__file__)).streams[0], Lake(folder / "lake", spread_bytes=1)
    lose(lambda: lake.publish([lake.ingest(stream, Silent())]))
    with closing(live.catalog_of(folder)) as catalog:
        return judge(live.handed_in(folder / "trips", History()), live.rows(catalog))


def a_batch_is_scored(folder: Path, lose: Losing) -> Verdict:
    """Actors of the cluster score the parts of a batch."""
    predict.PART_ROWS = PART_ROWS
    past = Past(folder, folder / "made")
    past.promoted(NAME, 1)
    past.close()
    pipeline, platform = load(rides.definition(folder / "made", NAME)), connect(load_settings(workspace=folder, cpus=2))
    platform.lake.publish([platform.lake.ingest(pipeline.streams[0], Silent())])
    materialize(platform, Silent(), pipeline=pipeline, as_of=rides.AS_OF)
    asked = pl.DataFrame({"n": range(QUESTIONS)}).select(
        ride=pl.format("q{}", "n"), zone=pl.lit("a"), asked_at=pl.lit("2013-07-01T09:00:00Z")
    )
    asked.write_csv(folder / "asked.csv")
    version, history = platform.registry.get(NAME, 1), History()
    lose(lambda: predict._work(platform, Silent(), version=version, questions=str(folder / "asked.csv"), since=None))
    platform.ledger.verify()
    platform.ledger.close()
    for ride in asked["ride"]:
        history.tell("answer", ride)
    with closing(live.catalog_of(folder)) as catalog:
        return judge(history, live.answers(catalog, NAME, "ride"))


def main() -> None:
    """Play both."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    # Ray's class for tests writes the address there, too; elsewhere others would take the cluster for theirs.
    (folder / "ray").mkdir()
    os.environ.update(NOTICED, RAY_TMPDIR=str(folder))
    try:
        small = Small(folder / "ray")
        try:
            reader, scorer = small.add(READING), small.add(SCORING)
            said = {"ingest": rows_come_in(folder / "i", reader), "batch": a_batch_is_scored(folder / "b", scorer)}
        finally:
            small.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    json.dump({name: [verdict.told, verdict.kept, str(verdict)] for name, verdict in said.items()}, sys.stdout)


if __name__ == "__main__":
    main()
