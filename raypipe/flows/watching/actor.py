"""The actor that watches a pipeline: it comes back when it dies, and goes on where its state was written."""

import logging
from collections.abc import Callable
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import cast

import ray
from ray.actor import ActorHandle

from raypipe.contracts.decisions import Situation
from raypipe.contracts.records import Record
from raypipe.contracts.watching import DriftReport
from raypipe.errors import RaypipeError, ServiceError
from raypipe.flows.platform import Platform
from raypipe.flows.watching.gauges import Gauges, RayGauges, show
from raypipe.flows.watching.state import Alarm, Tick
from raypipe.flows.watching.telling import tell
from raypipe.flows.watching.watcher import Watcher

logger = logging.getLogger(__name__)

#: Seconds between two looks; and after which an alarm that reached nobody is told again.
LOOK_SECONDS, AGAIN_SECONDS = 1.0, 60.0
#: How long the watcher before may take to let go.
_HANDOVER_SECONDS = 30.0
_NAMESPACE = "raypipe"


class Seen(Record, frozen=True, kw_only=True):
    """What is watched now.

    Attributes:
        pipeline: its name.
        watching: whether an actor does.
        versions: the last tick of each version, the one that was watched last at the end.
        untold: alarms that could not be told yet.
    """

    pipeline: str
    watching: bool
    versions: tuple[DriftReport, ...]
    untold: int


class Round:
    """One look after the other, each with all that follows from it.

    Args:
        platform: where the pipeline is.
        name: of the pipeline.
        gauges: where figures go; None: nowhere.

    Raises:
        ServiceError: somebody watches it already.
    """

    def __init__(self, platform: Platform, name: str, gauges: Gauges | None = None) -> None:
        self._platform, self._name, self._gauges = platform, name, gauges
        self._watcher = Watcher(platform, name)
        self._again = 0.0
        for tick in self._watcher.state.last.values():
            self._show(tick)

    def go(self) -> int:
        """Look once, tell what is to be told, ask what is to be asked; how many ticks were closed."""
        ticks = self._watcher.look()
        for tick in ticks:
            self._show(tick)
        state = self._watcher.state
        told = self._tell(state.alarms) if ticks or monotonic() >= self._again else []
        self._watcher.finish(told, [situation for situation, text in state.questions if self._decide(situation, text)])
        if self._gauges is not None:
            self._gauges.set("raypipe_watch_untold", len(self._watcher.state.alarms), {})
        return len(ticks)

    def seen(self, *, watching: bool) -> Seen:
        """What is known now."""
        state = self._watcher.state
        versions = tuple(tick.report for tick in state.last.values())
        return Seen(pipeline=self._name, watching=watching, versions=versions, untold=len(state.alarms))

    def close(self) -> None:
        """Let somebody else watch."""
        self._watcher.close()

    def _show(self, tick: Tick) -> None:
        if self._gauges is not None:
            show(self._gauges, tick, self._platform.watching.cpu_price)

    def _tell(self, alarms: list[Alarm]) -> list[Alarm]:
        told = []
        for alarm in alarms:
            try:
                if tell(self._platform, self._name, alarm):
                    told.append(alarm)
            except RaypipeError:
                logger.exception("an alarm was not told")
        self._again = monotonic() + AGAIN_SECONDS
        return told

    def _decide(self, situation: Situation, diagnosis: str) -> bool:
        return True


class Watch:
    """Looks for ever, in an actor of its own.

    Args:
        reopen: opens the platform in this process.
        name: of the pipeline.
    """

    def __init__(self, reopen: Callable[[], Platform], name: str) -> None:
        self._round = _begin(reopen(), name)
        self._lock, self._stop = Lock(), Event()
        Thread(target=self._run, name="watch", daemon=True).start()

    def look(self) -> int:
        """Look now; how many ticks were closed."""
        with self._lock:
            return self._round.go()

    def seen(self) -> str:
        """A `Seen` as JSON."""
        with self._lock:
            return self._round.seen(watching=True).to_json()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:  # whatever it was, the next look reads what the state does not cover
                logger.exception("a look failed")


def _begin(platform: Platform, name: str) -> Round:
    """Once the one before has let go: the system takes a lock from a process that is gone."""
    ends = monotonic() + _HANDOVER_SECONDS
    while True:
        try:
            return Round(platform, name, RayGauges(name))
        except ServiceError:
            if monotonic() > ends:
                raise
            sleep(0.2)


def start_watch(platform: Platform, name: str) -> "ActorHandle[Watch]":
    """Let one actor of the cluster watch a pipeline, unless it does already. It comes back when it dies."""
    options = {"name": actor_name(name), "namespace": _NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    actor = ray.remote(Watch).options(**options, num_cpus=0, max_restarts=-1)
    return cast("ActorHandle[Watch]", actor.remote(platform.reopen, name))


def stop_watch(name: str) -> bool:
    """Stop watching; what it knows stays for the next one. False when nobody was watching."""
    try:
        ray.kill(ray.get_actor(actor_name(name), namespace=_NAMESPACE), no_restart=True)
    except ValueError:
        return False
    return True


def actor_name(name: str) -> str:
    """By which the actor of a pipeline is found, in the namespace ``raypipe``."""
    return f"raypipe-watch-{name}"
