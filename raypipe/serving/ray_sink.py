"""What a replica counts, as metrics that Ray exports to Prometheus: `docs/cluster.md` lists their names."""

from collections import Counter as Counts
from threading import Event, Lock, Thread
from typing import TypeAlias

from ray.util.metrics import Counter, Gauge

_Key: TypeAlias = tuple[Counter, tuple[tuple[str, str], ...]]

#: Ray takes some twenty microseconds for a count, a tenth of a request: so they are added up, and told once in so long.
TELL_SECONDS = 1.0
#: The name of the one deployment in each application.
DEPLOYMENT = "Model"
#: What Serve tells of every request over HTTP.
_LABELS = ("route", "method", "application")


class RaySink:
    """Counts of one replica.

    Args:
        pipeline: the first label of each.
    """

    def __init__(self, pipeline: str) -> None:
        self._unseen = Counter("raypipe_unseen", "Values of a field that training never saw", ("pipeline", "field"))
        self._refused = Counter("raypipe_refused", "Requests answered with an error status", ("pipeline", "status"))
        self._unlogged = Counter("raypipe_unlogged", "Answered predictions that could not be logged", ("pipeline",))
        self._predictions = Counter("raypipe_predictions", "Rows that a version scored", ("pipeline", "version", "arm"))
        self._batches = Counter("raypipe_batches", "Micro-batches that were computed", ("pipeline",))
        self._seconds = Counter("raypipe_compute_seconds", "Seconds of computing, by part", ("pipeline", "part"))
        self._cache = Counter("raypipe_cache", "Rows looked for in the cache, by hit and miss", ("pipeline", "found"))
        self._version = Gauge("raypipe_version", "Version of the model that answers as champion", ("pipeline",))
        # Serve's own metrics, of which each process that counts requests has a part; names and labels must be Serve's.
        self._requests = Counter("serve_num_http_requests", "Requests over HTTP", (*_LABELS, "status_code"))
        self._errors = Counter("serve_num_http_error_requests", "Errors over HTTP", (*_LABELS, "error_code"))
        self._own_errors = Counter(
            "serve_num_deployment_http_error_requests", "Errors over HTTP", (*_LABELS, "error_code", "deployment")
        )
        self._pipeline, self._lock = pipeline, Lock()
        self._champion: int | None = None
        self._counts: Counts[_Key] = Counts()
        Thread(target=self._tell_for_ever, name="metrics", daemon=True).start()

    def unseen(self, field: str, count: int) -> None:
        """``count`` more values of a field that training never saw."""
        self._add(self._unseen, count, ("field", field))

    def refused(self, status: int) -> None:
        """One more request was answered with an error status."""
        self._add(self._refused, 1, ("status", str(status)))

    def unlogged(self, count: int) -> None:
        """``count`` more answered predictions could not be logged."""
        self._add(self._unlogged, count)

    def computed(self, version: int, arms: list[str], features: float, model: float) -> None:
        """A micro-batch was computed: the arm of each row, seconds for features and for the model."""
        for arm, rows in Counts(arms).items():
            self._add(self._predictions, rows, ("version", str(version)), ("arm", arm))
        self._add(self._batches, 1)
        self._add(self._seconds, features, ("part", "features"))
        self._add(self._seconds, model, ("part", "model"))

    def cached(self, hits: int, rows: int) -> None:
        """Of some rows so many had been answered before; the cache is on."""
        self._add(self._cache, hits, ("found", "hit"))
        self._add(self._cache, rows - hits, ("found", "miss"))

    def champion(self, version: int) -> None:
        """Another version answers from now on."""
        self._champion = version
        self._version.set(version, {"pipeline": self._pipeline})

    def answered(self, method: str, status: int) -> None:
        """One more request over HTTP was answered, and nobody else counts it."""
        tags = (("route", f"/{self._pipeline}"), ("method", method), ("application", self._pipeline))
        error = (*tags, ("error_code", str(status)))
        with self._lock:
            self._counts[self._requests, (*tags, ("status_code", str(status)))] += 1
            if status >= 400:
                self._counts[self._errors, error] += 1
                self._counts[self._own_errors, (*error, ("deployment", DEPLOYMENT))] += 1

    def tell(self) -> None:
        """Hand on what was counted since the last time, and once more which version answers."""
        if self._champion is not None:  # Ray forgets a gauge that is not set for some seconds
            self._version.set(self._champion, {"pipeline": self._pipeline})
        with self._lock:
            counts, self._counts = self._counts, Counts()
        for (counter, tags), count in counts.items():
            if count:  # of nothing, Ray makes an error
                counter.inc(count, dict(tags))

    def _add(self, counter: Counter, count: float, *tags: tuple[str, str]) -> None:
        with self._lock:
            self._counts[counter, (("pipeline", self._pipeline), *tags)] += count  # type: ignore[assignment]  # seconds

    def _tell_for_ever(self) -> None:
        stop = Event()
        while not stop.wait(TELL_SECONDS):
            self.tell()
