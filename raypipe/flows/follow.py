"""Ingestion that keeps going: live rows batch by batch, and the gate over them from time to time."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from time import monotonic

from raypipe.contracts.progress import Progress, Step
from raypipe.contracts.records import Followed, Snapshot, Taken
from raypipe.errors import DefinitionError, Fault, ServiceError, SourceError
from raypipe.flows.erase import retain
from raypipe.flows.gate import gate
from raypipe.flows.ingest import Stopped, require_none, take_in, write_once, write_stop
from raypipe.flows.meter import IngestMeter
from raypipe.flows.platform import Platform
from raypipe.lake.intake import Following
from raypipe.lake.live import Batch
from raypipe.spec import Pipeline, Stream

#: A gate reads whole tables: between two of them at least so many times the last one's duration goes by.
REST = 4


@dataclass(frozen=True)
class Pace:
    """How an ingestion keeps going.

    Attributes:
        every: seconds between two commits of a source.
        gate_every: seconds between two gates, at least.
        seconds: when to end; None: never.
        metrics_port: where Prometheus asks; None: nowhere.
        as_of: the moment that gates pretend to be at, microseconds UTC; None: now.
    """

    every: float = 10.0
    gate_every: float = 60.0
    seconds: float | None = None
    metrics_port: int | None = None
    as_of: int | None = None


@dataclass
class _Tally:
    batches: int = 0
    read: int = 0
    rows: int = 0
    bad: int = 0
    late: int = 0
    gates: int = 0
    stopped: list[str] = field(default_factory=list)


def follow(platform: Platform, progress: Progress, *, pipeline: Pipeline, pace: Pace, bypass: str = "") -> Followed:
    """Take in files and live rows, then live rows as they come, and publish what the gate passes.

    A source that cannot be used stops alone, with a row in the ledger, and the others go on: so it is
    in the beginning, too, if readers see something of it. A log that does not answer any more is asked again and again.

    With a reason to ``bypass`` it, a closed gate publishes all the same, as long as this goes on; the ledger keeps the
    reason with each report.

    Raises:
        DefinitionError: no source of the pipeline has a live side.
        SourceError: every live source stopped; the last one's reason.
        ServiceError: a log does not answer in the beginning.
        GateError: the gate closed. What was published before stays; what waits is judged again by the next run.
        WorkspaceError: another ingestion took over.
    """
    live = [stream for stream in pipeline.streams if stream.live is not None]
    if not live:
        cure = "Give a stream a `live=kafka(...)`"
        raise DefinitionError([Fault(pipeline.where, "no source has a live side to follow", cure)])
    meter, tally = IngestMeter(platform.clock), _Tally()
    if pace.metrics_port is not None:
        meter.serve(pace.metrics_port, platform.services.host)
    ingested, stopped = take_in(platform, progress, pipeline=pipeline, took=partial(_caught_up, meter))
    tally.stopped += stopped
    live = [stream for stream in live if stream.name not in stopped]
    snapshots = {one.table: one for one in (*ingested.snapshots, *_standing(platform, pipeline, stopped))}
    if not live or len(snapshots) < len(pipeline.sources):
        require_none(pipeline, stopped)
    with ExitStack() as stack, progress.step(f"follow {', '.join(one.name for one in live)}", None) as step:
        for name, error in stopped.items():
            step.advance(0, f"{name} stopped: {error}")
        takers = [stack.enter_context(platform.lake.follow(stream)) for stream in live]
        _Follower(platform, progress, pipeline, pace, meter, tally, snapshots, bypass).run(takers, step)
    return Followed(
        batches=tally.batches,
        read=tally.read,
        rows=tally.rows,
        bad=tally.bad,
        late=tally.late,
        gates=tally.gates,
        stopped=tuple(tally.stopped),
        snapshots=tuple(snapshots.values()),
    )


def follow_line(record: Followed) -> str:
    """What came of it, in one line."""
    line = f"{record.read:,} messages in {record.batches:,} batches, {record.rows:,} new rows, {record.gates:,} gates"
    line += f", {record.bad:,} set aside" if record.bad else ""
    line += f", {record.late:,} late" if record.late else ""
    return line + (f"; stopped: {', '.join(record.stopped)}" if record.stopped else "")


def _standing(platform: Platform, pipeline: Pipeline, stopped: Mapping[str, Stopped]) -> list[Snapshot]:
    """What readers see of sources that stopped before anything was followed.

    Raises:
        SourceError, ServiceError: why they stopped, where one of them does not answer: that is no fault of its rows.
    """
    if any(isinstance(error, ServiceError) for error in stopped.values()):
        require_none(pipeline, stopped)
    sources = [source for source in pipeline.sources if source.name in stopped]
    return [found for source in sources if (found := platform.lake.published(source)) is not None]


def _caught_up(meter: IngestMeter, following: Following, batch: Batch, seconds: float) -> None:
    """A batch of what was there already landed."""
    _count(meter, following.source, batch, seconds)
    meter.state(following.source, batch.held.taken, following.lag())


def _count(meter: IngestMeter, source: Stream, batch: Batch, seconds: float) -> None:
    counts = {"messages": batch.read, "rows": batch.added, "quarantined": batch.bad, "late": batch.late}
    meter.batch(source, counts, seconds)


@dataclass
class _Follower:
    platform: Platform
    progress: Progress
    pipeline: Pipeline
    pace: Pace
    meter: IngestMeter
    tally: _Tally
    snapshots: dict[str, Snapshot]
    bypass: str

    def run(self, takers: list[Following], step: Step) -> None:
        """Go round the sources until time is up, and judge what came."""
        began, judged, waiting = monotonic(), -1e9, True
        rest = 0.0
        while True:
            for following in list(takers):
                seconds = self.pace.every / len(takers)
                try:
                    waiting |= self._take(following, step, seconds)
                    self.meter.state(following.source, following.snapshot().taken or Taken(), following.lag())
                except ServiceError as error:  # a log that is restarted comes back: nothing is lost by waiting
                    waiting = True  # its last batch may have landed
                    self.meter.unreachable(following.source)
                    step.advance(0, f"{following.source.name} waits: {error}")
                    Event().wait(seconds)
                except SourceError as error:
                    self._stop(following.source, error)
                    takers.remove(following)
                    if not takers:
                        raise
            over = self.pace.seconds is not None and monotonic() - began >= self.pace.seconds
            if waiting and (over or monotonic() - judged >= max(self.pace.gate_every, rest)):
                started = monotonic()
                self._judge(takers)
                judged, waiting = monotonic(), False
                rest = REST * (judged - started)
            if over:
                return

    def _take(self, following: Following, step: Step, seconds: float) -> bool:
        began, source, tally = monotonic(), following.source, self.tally
        batch = following.take(seconds)
        if batch is None:
            return False
        self.snapshots[source.name] = following.snapshot()
        tally.batches, tally.read, tally.rows = tally.batches + 1, tally.read + batch.read, tally.rows + batch.added
        tally.bad, tally.late = tally.bad + batch.bad, tally.late + batch.late
        _count(self.meter, source, batch, monotonic() - began)
        step.advance(batch.read, f"{source.name}: {batch.added:,} rows")
        if batch.extra:
            self._write("source.columns", json.dumps({"table": source.name, "columns": batch.extra}))
        return True

    def _judge(self, takers: list[Following]) -> None:
        for following in takers:
            self.snapshots[following.source.name] = following.snapshot()
        as_of = self.platform.clock.now() if self.pace.as_of is None else self.pace.as_of
        wanted = tuple(self.snapshots[source.name] for source in self.pipeline.sources)
        report = gate(
            self.platform,
            self.progress,
            pipeline=self.pipeline,
            snapshots=wanted,
            as_of=as_of,
            bypass=self.bypass,
            quiet=True,
        )
        self._write("stage.gate", report.to_json())
        self.snapshots |= {snapshot.table: snapshot for snapshot in report.snapshots}
        self.tally.gates += 1
        retain(self.platform, pipeline=self.pipeline)

    def _stop(self, source: Stream, error: SourceError) -> None:
        write_stop(self.platform, self.pipeline, source, error)
        self.tally.stopped.append(source.name)

    def _write(self, kind: str, body: str) -> None:
        write_once(self.platform, self.pipeline, kind, body)
