"""On Ray itself, with all of production's times: how long after a SIGKILL do the watcher, and a training, go on?

Run by `benchmarks.kills` in a process of its own. A cluster is brought up as `raypipe up` does it; the watcher's
actor watches a champion whose inputs drift. Killed are the actor, which monitors and submits; the driver of the Ray
job that it has started; and Ray's memory (GCS), which takes the head with it: then `raypipe up` is given again.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import ray

from benchmarks.kills.round import free_port
from raypipe import services
from raypipe.clock import SystemClock
from raypipe.contracts.progress import Silent
from raypipe.errors import RaypipeError
from raypipe.flows.watching.start import seen_by, start_watch
from raypipe.ledger import Entry
from raypipe.services.processes import tree
from raypipe.settings import Settings, load_settings
from raypipe.spec.retrain import Drift, Retrain
from raypipe.wiring import connect, services_config
from tests.flows.watched import Written, asked, make_champion

#: Who is killed, as the table says.
WATCHER, SUBMITTER = "the watcher's actor: a decision", "the watcher's actor: a job, decided on before"
TRAINER = "a job's driver"
MEMORY = "Ray's GCS, `raypipe up` given at once"
NAME, ROWS, SECONDS = "rides", 200, 120.0
CLOCK = SystemClock()
T = TypeVar("T")


class Watched:
    """A workspace on its cluster, the watcher's actor, and a replica that counts."""

    def __init__(self) -> None:
        settings = load_settings()
        self.platform = connect(settings, CLOCK)
        services.connect(services.up(self.platform.services, Silent()), "kills")
        self.actor = start_watch(self.platform, NAME)
        champion = self.platform.registry.get(NAME, "champion")
        self._replica, self._rng = Written(settings.home, champion, CLOCK.now()), np.random.default_rng(0)

    def count(self, by: float = 0.0) -> None:
        """Rows of one tick, whose inputs are off by so much."""
        self._replica.count(asked(self._rng, ROWS, by), CLOCK.now(), failed=0)

    def after(self, at: int, kind: str) -> Entry | None:
        """The first row of a kind after a moment."""
        rows = self.platform.ledger.entries(subject=NAME)
        return next((row for row in rows if row.at > at and row.kind.startswith(kind)), None)

    def decides(self, killed: int) -> float:
        """Seconds from a death until who comes back decides on what is counted then."""
        _until(lambda: seen_by(self.actor, 20))
        # A head that is dying lets its actors go on for a moment: what they still decide is not counted.
        back = CLOCK.now()
        self.count()
        return (_until(lambda: self.after(back, "decision.")).at - killed) / 1e6

    def watcher(self) -> dict[str, float]:
        """Kill the actor, three times: the longest."""
        times = []
        for _ in range(3):
            _until(lambda: seen_by(self.actor, 20))
            times.append(self.decides(_end(self._pid())))
        return {WATCHER: max(times)}

    def submitter(self) -> dict[str, float]:
        """Kill the actor once more, when it has decided: until the job is submitted."""
        begun, pid = CLOCK.now(), self._pid()
        while self.after(begun, "decision.train") is None:
            self.count(3.0)
            time.sleep(0.2)
        killed = _end(pid)
        return {SUBMITTER: (_until(partial(self.after, begun, "retrain.submitted")).at - killed) / 1e6}

    def trainer(self) -> dict[str, float]:
        """Kill a job's driver, twice: the longer time until the next attempt has its lease, and its process."""
        leases, processes = [], []
        for attempt in (1, 2):
            killed = _end(_until(partial(_driver, f"1/{attempt}")))
            leases.append((_until(partial(self.after, killed, "retrain.leased")).at - killed) / 1e6)
            _until(partial(_driver, f"1/{attempt + 1}"))
            processes.append((CLOCK.now() - killed) / 1e6)
        return {TRAINER + ": next lease": max(leases), TRAINER + ": next process": max(processes)}

    def _pid(self) -> int:
        actor: Any = self.actor  # Ray's types know no methods of actors
        return int(ray.get(actor.__ray_call__.remote(lambda _: os.getpid())))


def measure() -> dict[str, float]:
    """Seconds from a SIGKILL until things go on, by who was killed."""
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        ports = {f"RAYPIPE_{name}_PORT": str(free_port()) for name in ("SERVE", "DASHBOARD", "MLFLOW")}
        os.environ |= ports | {"RAYPIPE_WORKSPACE": f"{folder}/home", "RAYPIPE_TICK_SECONDS": "1"}
        os.environ["RAYPIPE_TICK_ROWS"] = str(ROWS)
        settings = load_settings()
        _champion(settings, Path(folder))
        try:
            found = _apart("first")
            there = tree((), str(settings.home))
            killed = _end(next(one.pid for one in there if one.name() == "gcs_server"))
            return found | _apart("again", str(killed))
        finally:
            services.down(services_config(settings), Silent())


def _champion(settings: Settings, folder: Path) -> None:
    make_champion(settings, folder / "made", CLOCK, policy=Retrain((Drift(0.3),), new_rows=0))


def _apart(*stage: str) -> dict[str, float]:
    """One stage in a process of its own: a driver does not outlive its cluster."""
    command = [sys.executable, "-m", "benchmarks.kills.real", *stage]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=10 * SECONDS, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _driver(attempt: str) -> int | None:
    """The process of a training's attempt."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[-1:] == [attempt] and "--attempt" in words:
            return int(process.pid)
    return None


def _end(pid: int) -> int:
    """SIGKILL; when."""
    os.kill(pid, signal.SIGKILL)
    return CLOCK.now()


def _until(find: Callable[[], T | None]) -> T:
    """What is found, as soon as it is."""
    late = time.monotonic() + SECONDS
    while time.monotonic() < late:
        try:
            if (found := find()) is not None:
                return found
        except RaypipeError:  # not yet
            pass
        time.sleep(0.05)
    raise TimeoutError(f"not within {SECONDS:g} s")


def main(stage: str = "", killed: str = "") -> None:
    if stage == "first":
        watched = Watched()
        found = watched.watcher() | watched.submitter() | watched.trainer()
    elif stage == "again":
        found = {MEMORY: Watched().decides(int(killed))}
    else:
        found = measure()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
