"""What replicas wrote down goes into the lake: each row once, while the files still grow, whoever is killed when.

There every commit is a file, and a day has thousands of them: now and then they become few.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import TypeAlias

import polars as pl

from raypipe.clock import Clock
from raypipe.contracts.logs import FEEDBACK, PREDICTIONS, LogKind
from raypipe.contracts.segment import left, segments
from raypipe.errors import RaypipeError, WorkspaceError
from raypipe.flows.detached import behind, detached
from raypipe.flows.platform import Platform
from raypipe.lake import Lake
from raypipe.lake.log import LogTable
from raypipe.lake.log_upkeep import DAY
from raypipe.lake.upkeep import Kept
from raypipe.serving import feedback, log

#: How often what was written is taken into the lake.
COLLECT_SECONDS = 30.0
#: How often the tables are tidied.
TIDY_SECONDS = 900.0
#: Of how many bytes of files one commit is made, at most.
_A_COMMIT = 64 * 2**20
_TRIES = 10

logger = logging.getLogger(__name__)

Reading: TypeAlias = Callable[[Path, int], tuple[pl.DataFrame, int]]


@dataclass(frozen=True)
class LogFiles:
    """The files of one kind of log, and how they are read: the rows from a position on, and where they end.

    ``follow`` gives the same for somebody who reads some columns again and again.
    """

    kind: LogKind
    read: Reading
    follow: Callable[[Sequence[str]], Reading]


KINDS = (LogFiles(PREDICTIONS, log.read, log.Follower), LogFiles(FEEDBACK, feedback.read, feedback.follow))


def log_folder(workspace: Path) -> Path:
    """Where the logs of a workspace are written, as ``{kind}/{pipeline}/*.seg``, until they are in the lake."""
    return workspace / "log"


def collect(lake: Lake, workspace: Path, clock: Clock, pipeline: str | None = None) -> int:
    """Take what was written into the lake; doing it again, or twice at once, adds nothing.

    Args:
        lake: where to.
        workspace: whose logs.
        clock: tells which old snapshots may go.
        pipeline: only its logs; None: all.

    Returns:
        How many rows were added.

    Raises:
        WorkspaceError: a file cannot be read, or the lake cannot be used.
    """
    added = 0
    for files, folder in _logs(workspace, pipeline):
        table = lake.log(files.kind, folder.name)
        try:
            more = list(_commits(table, folder, files))
        except OSError as error:
            if isinstance(error, RaypipeError):
                raise
            what = f"cannot be read: {error.strerror}"
            raise WorkspaceError(what, where=str(error.filename or folder)) from None
        if more:
            table.forget_snapshots(clock.now())
        added += sum(more)
    return added


def tidy_logs(platform: Platform, pipeline: str | None = None) -> Kept:
    """Put what was collected into few files, and let go of what is older than `Platform.log_days`.

    Args:
        platform: whose logs.
        pipeline: only its logs; None: all.

    Raises:
        WorkspaceError: the lake cannot be used.
    """
    now, days = platform.clock.now(), platform.log_days
    since = now - int(days * DAY) if days else None
    done = Kept()
    for files, folder in _logs(platform.workspace, pipeline):
        kept = platform.lake.log(files.kind, folder.name).tidy(now, since)
        if kept.rows:
            logger.info("%d rows of %s.%s are gone: older than %g days", kept.rows, files.kind.name, folder.name, days)
        done = Kept(done.rows + kept.rows, done.files + kept.files, 0, done.removed + kept.removed)
    return done


def _logs(workspace: Path, pipeline: str | None) -> Iterator[tuple[LogFiles, Path]]:
    """The folders that replicas write into, of one pipeline or all."""
    for files in KINDS:
        home = log_folder(workspace) / files.kind.name
        folders = sorted(one for one in home.iterdir() if one.is_dir()) if home.is_dir() else []
        yield from ((files, one) for one in folders if pipeline in (None, one.name))


def logged(
    lake: Lake, workspace: Path, clock: Clock, kind: LogKind, pipeline: str, *, since: int | None, until: int | None
) -> pl.LazyFrame:
    """A log up to this moment, each row once; see `LogTable.rows`."""
    collect(lake, workspace, clock, pipeline)
    return lake.log(kind, pipeline).rows(since=since, until=until)


def _commits(table: LogTable, folder: Path, files: LogFiles) -> Iterator[int]:
    """Add what there is, commit by commit."""
    for _ in range(_TRIES):
        # Positions first: a file that is named there and gone by now was read to its end.
        before = table.positions()
        frames, positions, finished = _read(folder, before, files)
        if not frames:
            _remove(finished)
            return
        rows = pl.concat(frames)
        if table.append(rows, positions, before):
            _remove(finished)
            yield rows.height


def _read(
    folder: Path, before: Mapping[str, int], files: LogFiles
) -> tuple[list[pl.DataFrame], dict[str, int], list[Path]]:
    """New rows, how far each file is read with them, and the files that hold nothing more."""
    frames: list[pl.DataFrame] = []
    positions: dict[str, int] = {}
    finished: list[Path] = []
    size = 0
    for path in segments(folder):
        start = before.get(path.name, 0)
        try:
            # Asked before it is read: afterwards its writer may have added a last frame.
            ended, length = left(path), path.stat().st_size
            fits = size < _A_COMMIT
            rows, end = files.read(path, start) if length > start and fits else (None, start)
        except FileNotFoundError:
            continue  # another collector is done with it
        if end:
            positions[path.name] = end
        if rows is not None and rows.height:
            frames.append(rows)
            size += end - start
        if ended and fits:
            finished.append(path)
    return frames, positions, finished


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


class Collector:
    """Collects for ever, in an actor of its own, tidies, and lets MLflow catch up; a replica is never in its way.

    Args:
        reopen: opens the platform in this process.
    """

    def __init__(self, reopen: Callable[[], Platform]) -> None:
        self._platform = reopen()
        self._stop = Event()
        pl.thread_pool_size()  # makes the threads, which would else inherit the rank of who stands behind all others
        Thread(target=self._run, name="collect", daemon=True).start()

    def collect(self) -> int:
        """Collect now; how many rows were added."""
        return collect(self._platform.lake, self._platform.workspace, self._platform.clock)

    def tidy(self) -> Kept:
        """Tidy now."""
        return tidy_logs(self._platform)

    def _run(self) -> None:
        tidied, took = monotonic(), 0.0
        while not self._stop.wait(COLLECT_SECONDS):
            works: list[Callable[[], object]] = [self.collect, self._platform.registry.catch_up]
            if monotonic() >= tidied + TIDY_SECONDS:
                works, tidied = [*works, self.tidy], monotonic()
            began, turn = monotonic(), partial(self._turn, works)
            # Where all cores are busy all the time it would never be done: then it stands in line like everybody.
            if took < COLLECT_SECONDS:
                behind(turn)
            else:
                turn()
            took = monotonic() - began

    def _turn(self, works: Sequence[Callable[[], object]]) -> None:
        for work in works:
            try:
                work()
            except RaypipeError:
                # Nothing is lost: what it works on stays, for the next turn.
                logger.exception("`%s` did not succeed", work.__name__)


def start_collector(platform: Platform) -> None:
    """Let one actor of the cluster collect for this workspace, unless it does already. It comes back when it dies."""
    # Several workspaces may share a cluster: by one name, the first one would be the only one that is collected for.
    workspace = sha256(str(platform.workspace).encode()).hexdigest()[:10]
    detached(f"raypipe-collector-{workspace}", lambda: Collector, platform.reopen)
