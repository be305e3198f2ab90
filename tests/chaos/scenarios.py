"""What goes wrong, one function each: it lets clients work, and breaks something under them.

A scenario takes an open cluster and an empty workspace. Users recover in one way: they give the same command again.
"""

import os
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import sleep

from tests.chaos import broken, trips
from tests.chaos.history import Verdict
from tests.chaos.nodes import pause, until
from tests.chaos.place import FILE, Place, full
from tests.chaos.proxy import Proxy

Scenario = Callable[[Place], None]
HOUR = 3_600.0
#: Of a disk that is to be full: more than a run needs.
DISK = "256m"
#: What is said of a build that is broken on purpose, and was noticed.
CAUGHT = "caught"


def nothing(place: Place) -> None:
    """Nothing goes wrong."""
    place.run()
    with place.asking():
        sleep(2)


def _node_lost(work: str) -> Scenario:
    def scenario(place: Place) -> None:
        process = place.start("run", FILE)
        place.lose(place.stage(process, work))
        place.until_done(process, "run", FILE)

    scenario.__doc__ = f"The node that works on `{work}` is lost, with all its processes."
    return scenario


def lost_in_training(place: Place) -> None:
    """A node is lost on which one of the two workers of a training works."""
    place.environment["CHAOS_MODEL"] = "network"
    process = place.start("run", FILE)
    place.lose(place.seen(process, "RayTrainWorker"))
    place.until_done(process, "run", FILE)


def lost_in_batch(place: Place) -> None:
    """A node is lost while a batch is scored."""
    place.run()
    questions = place.workspace / "questions.csv"
    rows = [trips.line(number).split(",")[:3] for number in range(100_000)]
    questions.write_text("id,town,started\n" + "".join(f"{','.join(row)}\n" for row in rows))
    for row in rows:
        place.history.ask("answer", row[0])
    command = ("predict", place.name, "--batch", str(questions))
    process = place.start(*command)
    place.lose(place.seen(process, "Scorer"))
    place.until_done(process, *command)
    for row in rows:
        place.history.tell("answer", row[0])


def lost_while_serving(place: Place) -> None:
    """The node of one of two replicas is lost while clients ask."""
    place.settings["replicas"] = "2"
    place.run()
    with place.asking():
        sleep(2)
        place.lose(place.nodes.working(f"{place.name}:"))
        sleep(10)


def cut_off(place: Place) -> None:
    """The network between clients and the service is cut three times for a second."""
    place.run()
    proxy = Proxy(("127.0.0.1", place.nodes.config.serve_port))
    with proxy, place.asking(f"http://127.0.0.1:{proxy.port}"):
        for _ in range(3):
            sleep(2)
            proxy.cut()
            sleep(1)
            proxy.heal()
        sleep(2)


def head_lost(place: Place) -> None:
    """The head is lost with all that Ray knew; another one gets the service back from the ledger."""
    place.run()
    with place.asking():
        sleep(2)
        place.nodes.lose_head()
        place.until_done(None, "deploy", FILE)
        sleep(3)


def control_store_killed(place: Place) -> None:
    """Ray's control store (GCS) is killed in the middle of a run; without Redis behind it the cluster goes with it."""
    process = place.start("run", FILE)
    place.stage(process, "train")
    for one in place.nodes.cluster.head_node.all_processes["gcs_server"]:
        one.process.kill()
    place.notes.append(place.over(process))
    place.nodes.lose_head()
    place.run()


def slow_node(place: Place) -> None:
    """A node does not answer for a second and a half, then goes on."""
    process = place.start("run", FILE)
    place.stage(process, "ingest")
    node = next(iter(place.nodes.cluster.worker_nodes))
    pause(node.all_processes["raylet"][0].process.pid, 1.5)
    place.until_done(process, "run", FILE)


def _server_lost(lose: Callable[[Place], None], *stages: str) -> Scenario:
    """A server is gone for some seconds in the middle of some stages, and once more while clients ask."""

    def scenario(place: Place) -> None:
        place.settings.update(place.stores.settings(place.name))
        process = place.start("run", FILE)
        for stage in stages:
            if process.poll() is not None:
                place.notes.append(f"before {stage}: {place.over(process)}")
                process = place.start("run", FILE)
            place.stage(process, stage)
            lose(place)
        place.until_done(process, "run", FILE)
        with place.asking():
            sleep(2)
            lose(place)
            sleep(4)

    return scenario


def _mlflow_lost(place: Place) -> None:
    place.nodes.stop_mlflow()
    sleep(3)
    place.nodes.start_mlflow()


def disk_full(place: Place) -> None:
    """The workspace's disk is full while rows come in, while models are searched, and while clients ask."""
    place.closing.enter_context(_disk(place))
    place.environment["CHAOS_LOG"] = "strict"
    process = place.start("run", FILE)
    for stage in ("ingest", "train"):
        place.stage(process, stage)
        filler = full(place.workspace)
        said = place.over(process)
        place.notes.append(f"{stage}: {said if process.returncode else 'came through'}")
        filler.unlink()
        process = place.start("run", FILE)
    place.until_done(process, "run", FILE)
    with place.asking():
        sleep(2)
        filler = full(place.workspace)
        sleep(3)
        filler.unlink()
        sleep(3)


def _disk(place: Place) -> AbstractContextManager[object]:
    """A small disk of its own under the workspace, in memory."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place.workspace)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        raise RuntimeError("not played: a disk to fill needs the right to mount one")
    return _Mounted(place)


class _Mounted(AbstractContextManager["_Mounted"]):
    def __init__(self, place: Place) -> None:
        self._place = place

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self._place.workspace)], check=True)


def clock_steps(place: Place) -> None:
    """The clock jumps an hour on while rows come in, two back in the search, and both ways while clients ask."""
    process = place.start("run", FILE)
    place.closing.callback(place.nodes.step, 0.0)
    place.stage(process, "ingest")
    place.nodes.step(HOUR)
    place.stage(process, "train")
    place.nodes.step(-HOUR)
    place.until_done(process, "run", FILE)
    with place.asking():
        for off in (HOUR, -HOUR, 0.0):
            sleep(2)
            place.nodes.step(off)
        sleep(2)


SCENARIOS: dict[str, Scenario] = {
    "nothing": nothing,
    "node lost: ingest": _node_lost("ingest"),
    "node lost: search": _node_lost("train"),
    "node lost: training": lost_in_training,
    "node lost: batch": lost_in_batch,
    "node lost: serving": lost_while_serving,
    "network cut: serving": cut_off,
    "slow node": slow_node,
    "PostgreSQL killed and back": _server_lost(lambda place: place.stores.lose_postgres(), "ingest", "train"),
    "S3 stopped and back": _server_lost(lambda place: place.stores.lose_s3(), "ingest", "features"),
    "Redis killed and back": _server_lost(lambda place: place.stores.lose_redis(), "deploy"),
    "MLflow killed and back": _server_lost(_mlflow_lost, "train", "register"),
    "disk full": disk_full,
    "clock steps": clock_steps,
    "head lost, back from the ledger": head_lost,
    "GCS killed": control_store_killed,
}


@dataclass(frozen=True)
class Broken:
    """A build that is broken on purpose, and what the checker must say of it after what raypipe comes through.

    Attributes:
        build: see `broken.BUILDS`.
        play: what goes wrong.
        found: what of a verdict must not be empty.
    """

    build: str
    play: Scenario
    found: str

    def judged(self, verdict: Verdict) -> str:
        """Whether the checker has noticed, in words."""
        return CAUGHT if getattr(verdict, self.found) else "NOT CAUGHT"


def lost_between_commits(place: Place) -> None:
    """The node that takes rows in is lost when they are counted as taken in, and not all of them are there."""
    process = place.start("run", FILE)
    until(broken.reached(place.nodes.build).exists)
    place.lose(place.stage(process, "ingest"))
    place.until_done(process, "run", FILE)


BROKEN: dict[str, Broken] = {
    "broken: rows counted before they are there; node lost: ingest": Broken("apart", lost_between_commits, "lost"),
    "broken: answers before it logs; node lost: serving": Broken("late", lost_while_serving, "lost"),
    "broken: how far logs are read, in memory alone; head lost": Broken("forgetful", head_lost, "doubled"),
}
