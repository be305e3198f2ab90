"""What an ingestion that keeps going tells Prometheus: how far behind it is, how fast it is, how far time has come."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from raypipe.clock import Clock
from raypipe.contracts.records import Taken
from raypipe.errors import ServiceError
from raypipe.spec import Stream, micros

#: A partition that has brought nothing for so long (microseconds) no longer holds the watermark back.
IDLE = 60_000_000


class IngestMeter:
    """Counts of one process, by source.

    Args:
        clock: says when something came.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self.registry = clock, CollectorRegistry()
        self._lag = Gauge(
            "raypipe_ingest_lag", "Messages not taken in yet", ["source", "partition"], registry=self.registry
        )
        self._rate = Gauge(
            "raypipe_ingest_rows_per_second", "New rows a second, of the last batch", ["source"], registry=self.registry
        )
        self._watermark = Gauge(
            "raypipe_ingest_watermark_seconds",
            "Event time up to which rows are in, Unix",
            ["source"],
            registry=self.registry,
        )
        self._up = Gauge("raypipe_ingest_up", "1 while the log answers", ["source"], registry=self.registry)
        self._counts = {
            what: Counter(f"raypipe_ingest_{what}", help_text, ["source"], registry=self.registry)
            for what, help_text in (
                ("messages", "Messages read"),
                ("rows", "New rows"),
                ("quarantined", "Messages that are no rows"),
                ("late", "Rows that came late"),
            )
        }
        self._moved: dict[tuple[str, str], tuple[int, int]] = {}

    def serve(self, port: int, host: str) -> None:
        """Answer ``GET /metrics`` from now on.

        Raises:
            ServiceError: the port is taken.
        """
        try:
            start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            cure = "Give another --metrics-port"
            raise ServiceError(f"cannot be listened on: {error.strerror}", where=f"port {port}", cure=cure) from None

    def batch(self, source: Stream, counts: Mapping[str, int], seconds: float) -> None:
        """A batch was taken in."""
        for what, count in counts.items():
            self._counts[what].labels(source.name).inc(count)
        self._rate.labels(source.name).set(counts["rows"] / max(seconds, 1e-6))

    def unreachable(self, source: Stream) -> None:
        """Its log does not answer."""
        self._up.labels(source.name).set(0)

    def state(self, source: Stream, taken: Taken, lag: Mapping[str, int]) -> None:
        """How a source stands now."""
        self._up.labels(source.name).set(1)
        for partition, waiting in lag.items():
            self._lag.labels(source.name, partition).set(waiting)
        if (mark := self.watermark(source, taken, lag)) is not None:
            self._watermark.labels(source.name).set(mark / 1_000_000)

    def watermark(self, source: Stream, taken: Taken, lag: Mapping[str, int]) -> int | None:
        """The event time up to which rows are in but for late ones, microseconds UTC; None when nothing came yet.

        It is that of the partition farthest behind; one that has been silent for a minute is not waited for.
        """
        now = self._clock.now()
        for partition, newest in taken.newest.items():
            if self._moved.get((source.name, partition), (None, 0))[0] != newest:
                self._moved[source.name, partition] = (newest, now)
        awake = [
            newest
            for partition, newest in taken.newest.items()
            if lag.get(partition) or now - self._moved[source.name, partition][1] <= IDLE
        ]
        late_by = 0 if source.late_by is None else micros(source.late_by)
        found = awake or list(taken.newest.values())
        return (min(awake) if awake else max(found)) - late_by if found else None
