"""The actor that watches a pipeline: it comes back when it dies, and goes on where its state was written."""

import logging
from collections.abc import Callable
from threading import Event, Lock, Thread
from time import monotonic, sleep

import polars as pl
from msgspec import structs

from raypipe.contracts.decisions import Situation
from raypipe.errors import RaypipeError, ServiceError, WorkspaceError
from raypipe.flows.decide import decide_now
from raypipe.flows.platform import Platform
from raypipe.flows.retrain import drive
from raypipe.flows.watching.gauges import Gauges, RayGauges, cost, show, show_outcomes
from raypipe.flows.watching.known import Known
from raypipe.flows.watching.labels import TICKS
from raypipe.flows.watching.newest import Newest
from raypipe.flows.watching.start import FirstTick, Seen
from raypipe.flows.watching.state import Alarm, Tick
from raypipe.flows.watching.tallies import Part
from raypipe.flows.watching.telling import tell
from raypipe.flows.watching.watcher import Watcher
from raypipe.flows.watching.why import why

logger = logging.getLogger(__name__)

#: Seconds between two looks; and after which an alarm that reached nobody is told again.
LOOK_SECONDS, AGAIN_SECONDS = 1.0, 60.0
#: Seconds after which what gauges say is said again: Ray forgets it after two of its reports, a second apart at least.
SAY_SECONDS = 1.0
#: Seconds between two looks at the logs, however long ticks take: the lake forgets within an hour what was added when.
FOLLOW_SECONDS = 300.0
#: Seconds between two looks at a training that is under way.
DRIVE_SECONDS = 5.0
#: How long the watcher before may take to let go.
_HANDOVER_SECONDS = 30.0


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
        self._watcher, self._newest = Watcher(platform, name), Newest(platform, name)
        self._again = self._said = 0.0
        self._followed = monotonic()
        self._unreached: tuple[str, ...] = ()
        for tick in self._watcher.state.last.values():
            self._show(tick)

    def go(self) -> int:
        """Look once, tell what is to be told, ask what is to be asked; how many ticks were closed."""
        ticks = self._watcher.look()
        for tick in ticks:
            self._show(tick)
        if ticks and self._gauges is not None:
            self._gauges.keep(self._alive(), self._show_outcomes(self._gauges, ticks))
        state = self._watcher.state
        asked = [situation for situation, text in state.questions if self._decide(situation, text)]
        told = self._tell(state.alarms) if ticks or asked or monotonic() >= self._again else []
        self._watcher.finish(told, asked)
        if self._gauges is not None:
            self._gauges.set("raypipe_watch_untold", len(self._watcher.state.alarms), {})
            self._repeat_gauges(self._gauges)
            self._keep_up()
        return len(ticks)

    def seen(self, *, watching: bool, trouble: str = "") -> Seen:
        """What is known now."""
        state = self._watcher.state
        versions = tuple(tick.report for tick in state.last.values())
        return Seen(
            pipeline=self._name,
            watching=watching,
            versions=versions,
            untold=len(state.alarms),
            trouble=trouble,
            unreached=self._unreached if state.alarms else (),
            first=None if versions else self._first(),
        )

    def _first(self) -> FirstTick:
        plan, began = self._platform.watching.plan, self._watcher.open_tick()
        opened, rows = began or (None, 0)
        at = None if opened is None else opened + plan.span
        return FirstTick(at=at, span=plan.span, rows=rows, least=plan.least)

    def close(self) -> None:
        """Let somebody else watch."""
        self._watcher.close()

    def _repeat_gauges(self, gauges: Gauges) -> None:
        if monotonic() >= self._said + SAY_SECONDS:
            gauges.again()
            self._said = monotonic()

    def _keep_up(self) -> None:
        """Between ticks as well: see `Watcher`."""
        if monotonic() < self._followed + FOLLOW_SECONDS:
            return
        self._followed, platform = monotonic(), self._platform
        try:
            self._newest.follow(platform.clock.now() - TICKS * platform.watching.plan.span)
        except (WorkspaceError, pl.exceptions.PolarsError):
            logger.exception("the logs were not read")

    def _show(self, tick: Tick) -> None:
        if self._gauges is not None:
            show(self._gauges, tick, self._platform.watching.cpu_price)

    def _alive(self) -> set[str]:
        """Versions that have answered in the newest span."""
        reports = [tick.report for tick in self._watcher.state.last.values()]
        oldest = max(report.at for report in reports) - TICKS * self._platform.watching.plan.span
        return {str(report.version) for report in reports if report.at >= oldest}

    def _show_outcomes(self, gauges: Gauges, ticks: list[Tick]) -> set[Part] | None:
        """Of the newest span of all versions, by the request fields that the pipeline is judged by.

        Returns:
            Which parts have answered in it; None: the logs do not tell.
        """
        platform, last = self._platform, ticks[-1].report
        # The champion's is the tick that labels were read for.
        judged = [tick.report for tick in ticks if tick.outcome is not None]
        known = self._watcher.known((judged or [last])[-1].version)
        if known is None:
            return None
        fields = [field for field in known.pipeline.finish.by if field in known.pipeline.request.fields]
        since = last.at - TICKS * platform.watching.plan.span
        costs = {
            (str(tick.report.version), arm): cost(part.cpu, part.rows, platform.watching.cpu_price)
            for tick in ticks
            for arm, part in tick.parts.items()
        }
        try:
            found = self._newest.tallies(since, known, fields)
        except (WorkspaceError, pl.exceptions.PolarsError):
            logger.exception("outcomes were not told")
            return None
        show_outcomes(gauges, found, costs)
        # An arm all of whose answers fail has no outcome.
        arms = {(str(version), arm, "") for version, tick in self._watcher.state.last.items() for arm in tick.parts}
        return arms | set(found)

    def _tell(self, alarms: list[Alarm]) -> list[Alarm]:
        told: list[Alarm] = []
        troubles: dict[str, None] = {}
        for alarm in alarms:
            try:
                unheard = tell(self._platform, self._name, alarm)
            except RaypipeError as error:
                unheard = [str(error)]
            told += [] if unheard else [alarm]
            troubles |= dict.fromkeys(unheard)
        for trouble in troubles:
            logger.warning("an alarm was not told: %s", trouble)
        self._unreached = tuple(troubles)
        self._again = monotonic() + AGAIN_SECONDS
        return told

    def _decide(self, situation: Situation, diagnosis: str) -> bool:
        known = self._watcher.known(situation.version)
        if known is None or known.pipeline.retrain is None:
            self._watcher.state.looked = situation.at  # a policy that comes later has missed no schedule
            return True
        try:
            # What was decided since it was asked counts: a schedule comes due once, and stays so while it is held back.
            facts = structs.replace(situation, looked=self._watcher.state.looked)
            decision = decide_now(self._platform, known.pipeline, facts, diagnosis)
        except RaypipeError:
            logger.exception("a policy was not asked")
            return False
        last = self._watcher.state.last.get(situation.version)
        look = decision.action == "analyse" and not diagnosis and last is not None
        deeper = why(self._platform, known, last.report, last.outcome).text if look and last else ""
        self._watcher.news(decision, deeper)
        return True


class Watch:
    """Looks for ever, in an actor of its own.

    Args:
        reopen: opens the platform in this process.
        name: of the pipeline.
    """

    def __init__(self, reopen: Callable[[], Platform], name: str) -> None:
        self._platform, self._name = reopen(), name
        self._round = _begin(self._platform, name)
        self._lock, self._stop = Lock(), Event()
        self._troubles: dict[str, str] = {}
        # What a decision brings about may take long, and a look may not.
        for work, seconds in ((self.look, LOOK_SECONDS), (self.drive, DRIVE_SECONDS)):
            Thread(target=self._repeat, args=(work, seconds), name=work.__name__, daemon=True).start()

    def look(self) -> int:
        """Look now; how many ticks were closed."""
        with self._lock:
            return self._round.go()

    def drive(self) -> None:
        """Do what is next for the last decision."""
        champion = self._platform.registry.champion(self._name)
        known = None if champion is None else Known.of(champion)
        if known is not None and known.pipeline.retrain is not None:
            drive(self._platform, known.pipeline)

    def seen(self) -> str:
        """A `Seen` as JSON."""
        with self._lock:
            trouble = "; ".join(filter(None, self._troubles.values()))
            return self._round.seen(watching=True, trouble=trouble).to_json()

    def _repeat(self, work: Callable[[], object], seconds: float) -> None:
        # At once: whoever comes back after a death has been away long enough.
        over = False
        while not over:
            try:
                work()
                self._troubles[work.__name__] = ""
            except Exception as error:  # whatever it was, the next time goes on from what is written down
                logger.exception("watching failed, and goes on")
                self._troubles[work.__name__] = str(error).strip().partition("\n")[0] or type(error).__name__
            over = self._stop.wait(seconds)


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
