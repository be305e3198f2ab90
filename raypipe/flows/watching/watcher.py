"""What the actor does, without the actor: what replicas counted becomes ticks, alarms and questions to a policy."""

import logging
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import polars as pl
from filelock import Timeout
from msgspec import structs

from raypipe.contracts import counts
from raypipe.contracts.arms import CHAMPION
from raypipe.contracts.counts import Counted
from raypipe.contracts.decisions import Decision, Situation
from raypipe.contracts.segment import left, segments
from raypipe.contracts.watching import PerformanceReport
from raypipe.errors import ServiceError, WorkspaceError
from raypipe.failpoints import failpoint
from raypipe.flows.collect import log_folder
from raypipe.flows.platform import Platform
from raypipe.flows.watching import state as kept
from raypipe.flows.watching.alarms import decided, drift_alarm, silence
from raypipe.flows.watching.facts import failing, situation, slower
from raypipe.flows.watching.known import Known
from raypipe.flows.watching.labels import Told, outcome
from raypipe.flows.watching.state import Alarm, Part, Tick
from raypipe.flows.watching.versions import Versions
from raypipe.flows.watching.why import why
from raypipe.monitoring import Monitor
from raypipe.monitoring.sums import Memory
from raypipe.retraining.decide import looked_after
from raypipe.stats.seasonal import hour_of_week

logger = logging.getLogger(__name__)

#: Questions that nobody answers are kept up to so many, the newest.
_QUESTIONS = 100
#: What was read without closing a tick is covered by a new state after so long (microseconds), so that it can go.
_SAVE = 300_000_000


class Watcher:
    """Watches one pipeline. One at a time: whoever else tries is refused.

    Args:
        platform: where it is.
        name: of the pipeline.

    Raises:
        ServiceError: somebody watches it already.
    """

    def __init__(self, platform: Platform, name: str) -> None:
        self._platform, self._name, self._plan = platform, name, platform.watching.plan
        self.folder = log_folder(platform.workspace) / counts.NAME / name
        self._path = kept.file_of(platform.workspace, name)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = kept.lock_of(self._path)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            cure = f"`raypipe watch {name}` shows what it sees"
            raise ServiceError("is watched already", where=name, cure=cure) from None
        self._resume()

    def _resume(self) -> None:
        """Go on from what is on the disk, as whoever comes after a death does."""
        self.state = kept.read(self._path)
        if not self.state.asked:
            self.state.looked = self.state.asked = self._platform.clock.now()
        self._versions = Versions(self._platform, self._name, self.state.monitors)
        self._told: Told | None = None
        self._saved = self._platform.clock.now()

    def close(self) -> None:
        """Let somebody else watch."""
        self._lock.release()

    def look(self) -> list[Tick]:
        """Count what is new, and close the ticks that are full.

        When it comes back, their alarms and questions are in the state, and the state is on the disk. When it raises
        anything, nothing has been looked at: what was read is read again by the next look.

        Raises:
            OSError: the state cannot be written.
            LedgerError: who is champion cannot be read.
        """
        try:
            return self._look()
        except BaseException:
            self._resume()
            raise

    def _look(self) -> list[Tick]:
        ticks: list[Tick] = []
        if self._told is not None:
            self._told.new_look = True
        done: list[Path] = []
        for counted in self._news(done):
            ticks += self._count(counted)
        now = self._platform.clock.now()
        for version, monitor in list(self._versions.monitors.items()):
            if self._ready(version, monitor, now):
                ticks.append(self._close(version, monitor, now))
        asked = self._ask_in_a_pause(now)
        late = now - self._saved >= _SAVE
        if late:
            self._keep_up()
        if ticks or asked or late:
            self._save(now)
            self._remove(done)
        return ticks

    def finish(self, alarms: Collection[Alarm], questions: Collection[Situation]) -> None:
        """Strike off what was done, for good."""
        if alarms or questions:
            self.state.alarms = [one for one in self.state.alarms if one not in alarms]
            self.state.questions = [one for one in self.state.questions if one[0] not in questions]
            self._save(self._platform.clock.now())

    def open_tick(self) -> tuple[int, int] | None:
        """When the champion's tick that is not over began, and how much it was asked in it; None: nothing yet."""
        version = self._champion()
        monitor = self._versions.monitors.get(version)
        if monitor is None:
            return None
        return monitor.opened, monitor.rows + sum(part.failed for part in self._parts(version).values())

    def known(self, version: int) -> Known | None:
        """A version; None when it is not there any more, or not to be read."""
        return self._versions.known(version)

    def _news(self, done: list[Path]) -> Iterator[Counted]:
        """What replicas have counted since the last look, in order of time; files that are read to their end."""
        found: list[tuple[int, str, int, Counted]] = []
        for path in segments(self.folder):
            start = self.state.positions.get(path.name, 0)
            try:
                # Asked before it is read: afterwards its writer may have added a last frame.
                ended = left(path)
                if path.stat().st_size > start:
                    found += [(one.at, path.name, end, one) for one, end in counts.read(path, start)]
            except FileNotFoundError:
                continue  # its writer made room
            if ended:
                done.append(path)
        for _, file, end, counted in sorted(found, key=lambda one: one[:3]):
            self.state.positions[file] = end
            yield counted

    def _count(self, counted: Counted) -> Iterator[Tick]:
        version = counted.version or self._champion()
        part = self.state.parts.setdefault(f"{version} {counted.arm}", Part())
        part.add(counted.rows, counted.failed, counted.cpu, counted.latency)
        self._answered(version, counted.at)
        monitor = self._versions.monitor(version, counted.at)
        if monitor is None:
            return
        try:
            if counted.rows:
                cells = counts.unpack(counted.cells, len(monitor.watched.names))
                monitor.add(cells, hours={hour_of_week(counted.at): counted.rows})
        except (ValueError, zlib.error):
            logger.exception("counts of version %s are not those of its columns", version)
        if self._ready(version, monitor, counted.at):
            yield self._close(version, monitor, counted.at)

    def _ready(self, version: int, monitor: Monitor, at: int) -> bool:
        """A model that answers nothing closes ticks as well: that is when a policy has to look."""
        return monitor.ready(at, sum(part.failed for part in self._parts(version).values()))

    def _parts(self, version: int) -> dict[str, Part]:
        prefix = f"{version} "
        return {key.removeprefix(prefix): part for key, part in self.state.parts.items() if key.startswith(prefix)}

    def _answered(self, version: int, at: int) -> None:
        last, pause = self.state.answered.get(version, (at, 0))
        self.state.answered[version] = (max(last, at), max(pause, at - last))

    def _close(self, version: int, monitor: Monitor, at: int) -> Tick:
        tick = self._tick(version, monitor, at)
        self.state.last[version] = tick
        return tick

    def _tick(self, version: int, monitor: Monitor, at: int) -> Tick:
        report, before = monitor.close(at), self.state.last.get(version)
        arms = self._parts(version)
        for arm in arms:
            del self.state.parts[f"{version} {arm}"]
        known = self.known(version)
        if known is None or version != self._champion():
            return Tick(report, arms, None, None)
        memory = self.state.memories.get(version) or Memory()
        alarmed = memory.alarm
        found, self.state.memories[version] = self._outcome(known, memory, at)
        risen = found if found is not None and found.alarm and not alarmed else None
        text = ""
        if report.alarms or report.breaks or risen:
            behind = why(self._platform, known, report, risen)
            # Values in another unit are no more to be learned from than gaps.
            report, text = structs.replace(report, breaks=behind.breaks), behind.text
        broken = () if before is None else before.report.breaks
        alarm = drift_alarm(report, text, broken, errors=risen is not None)
        if alarm is not None:
            self.state.alarms.append(alarm)
        champion = arms.get(CHAMPION, Part())
        facts = situation(*known.learned, at, found, self.state.looked, report)
        self._ask(structs.replace(facts, failed=failing(champion), slower=self._slower(version, champion)), text)
        return Tick(report, arms, found, alarm)

    def _ask(self, facts: Situation, text: str) -> None:
        self.state.questions = [*self.state.questions, (facts, text)][-_QUESTIONS:]
        self.state.asked = facts.at

    def _slower(self, version: int, part: Part) -> float | None:
        """The champion beside the version before, and what it took is remembered for the next one."""
        earlier = self._platform.registry.earlier(self._name)
        usual = None if earlier is None or earlier == version else self.state.usual.get(earlier)
        mine = {cell: count // 2 for cell, count in self.state.usual.get(version, {}).items() if count > 1}
        for cell, count in part.latency.items():
            mine[cell] = mine.get(cell, 0) + count
        self.state.usual[version] = mine
        return None if usual is None else slower(part.latency, usual)

    def _ask_in_a_pause(self, now: int) -> bool:
        """While nobody asks the model anything its policy is asked on: schedules come due, labels come in, it ages."""
        known = self.known(self._champion()) if now - self.state.asked >= 2 * self._plan.span else None
        if known is None:
            return False
        version = known.version.version
        last = self.state.last.get(version)
        # What it comes to is kept with the next tick, which tells people as well.
        found, _ = self._outcome(known, self.state.memories.get(version) or Memory(), now)
        alarm = None
        if last is not None:
            alarm = silence(last.report, *self.state.answered.get(version, (now, 0)), now, self._plan.span)
        if alarm is not None:
            self.state.alarms.append(alarm)
        self._ask(situation(*known.learned, now, found, self.state.looked, None if last is None else last.report), "")
        return True

    def news(self, decision: Decision, deeper: str = "") -> None:
        """Let people hear what a policy decided that they should know; what a deeper look has found is told with it."""
        self.state.looked = looked_after(decision)
        alarm, self.state.said = decided(decision, self.state.said, deeper)
        if alarm is not None:
            self.state.alarms.append(alarm)

    def _outcome(self, known: Known, memory: Memory, at: int) -> tuple[PerformanceReport | None, Memory]:
        version = known.version.version
        try:
            if self._told is None or self._told.version != version:
                self._told = Told(self._platform, known, self._plan, at)
            return outcome(self._told, known, memory, self._plan, at)
        except (WorkspaceError, pl.exceptions.PolarsError, ValueError):
            # The tick is closed already: what it says of the columns must not be lost.
            logger.exception("the labels of version %d were not read", version)
            return None, memory

    def _keep_up(self) -> None:
        """The logs are followed however long ticks take: the lake forgets within an hour what was added when."""
        try:
            if self._told is not None:
                self._told.follow()
        except (WorkspaceError, pl.exceptions.PolarsError):
            logger.exception("the logs were not read")

    def _champion(self) -> int:
        champion = self._platform.registry.champion(self._name)
        return 0 if champion is None else champion.version

    def _save(self, now: int) -> None:
        present = {path.name for path in segments(self.folder)}
        self.state.positions = {name: end for name, end in self.state.positions.items() if name in present}
        self.state.monitors = self._versions.snapshots()
        self.state.memories = {v: m for v, m in self.state.memories.items() if v in self._versions.monitors}
        self.state.last = {v: tick for v, tick in self.state.last.items() if v in self._versions.monitors}
        self.state.parts = {key: part for key, part in self.state.parts.items() if self._is_watched(key)}
        self.state.usual = {v: cells for v, cells in self.state.usual.items() if v in self._versions.monitors}
        self.state.answered = {v: times for v, times in self.state.answered.items() if v in self._versions.monitors}
        kept.write(self._path, self.state)
        self._saved = now

    def _is_watched(self, part: str) -> bool:
        version = int(part.partition(" ")[0])
        return version in self._versions.monitors or version == self._champion()

    def _remove(self, done: list[Path]) -> None:
        for path in done:
            path.unlink(missing_ok=True)
            failpoint("watch.after_removal")
