"""The versions of a pipeline that are watched, each with its monitor: a few, and those that were asked last."""

import logging
from collections.abc import Mapping

import msgspec

from raypipe.errors import RaypipeError
from raypipe.flows.platform import Platform
from raypipe.flows.watching.known import Known
from raypipe.monitoring import Monitor

logger = logging.getLogger(__name__)

#: Versions that are watched at a time: the champion, those beside it, and a few that were.
_MOST = 8


class Versions:
    """Made when they are asked for.

    Args:
        platform: where the pipeline is.
        name: of the pipeline.
        snapshots: of the monitors that there were.
    """

    def __init__(self, platform: Platform, name: str, snapshots: Mapping[int, bytes]) -> None:
        self._platform, self._name = platform, name
        self._known: dict[int, Known | None] = {}
        self.monitors: dict[int, Monitor] = {}
        for version, snapshot in snapshots.items():
            if (monitor := self.monitor(version, 0)) is None:
                continue
            try:
                monitor.restore(snapshot)
            except (msgspec.MsgspecError, ValueError):
                logger.warning("what was seen of version %d was written by another release: it begins anew", version)
                del self.monitors[version]

    def snapshots(self) -> dict[int, bytes]:
        """What they have seen."""
        return {version: monitor.snapshot() for version, monitor in self.monitors.items()}

    def known(self, version: int) -> Known | None:
        """A version; None when it is not there any more, or not to be read."""
        if version not in self._known:
            try:
                self._known[version] = Known.of(self._platform.registry.get(self._name, version))
            except RaypipeError:
                logger.exception("version %s is not watched", version)
                self._known[version] = None
        return self._known[version]

    def monitor(self, version: int, at: int) -> Monitor | None:
        """Its monitor, which begins at a moment (microseconds UTC) if it is new; None where nothing is compared."""
        if (monitor := self.monitors.pop(version, None)) is None:
            known = self.known(version)
            if known is None or (watched := known.watched) is None:
                return None
            plan = self._platform.watching.plan
            try:
                usual = known.season(watched, plan)
            except RaypipeError:
                logger.exception("version %s is watched as if all hours were alike", version)
                usual = None
            monitor = Monitor(self._name, version, watched, plan, importance=known.importance, seasonal=usual, at=at)
        # The one that was used last stands last.
        self.monitors[version] = monitor
        while len(self.monitors) > _MOST:
            self.monitors.pop(next(iter(self.monitors)))
        return monitor
