"""What a replica counts: for Prometheus through Ray, and for anybody who asks the replica itself."""

from collections import Counter
from typing import Protocol


class Sink(Protocol):
    """Where counts go besides the replica's own memory."""

    def unseen(self, field: str, count: int) -> None:
        """``count`` more values of a field that training never saw."""
        ...

    def refused(self, status: int) -> None:
        """One more request was answered with an error status."""
        ...

    def unlogged(self, count: int) -> None:
        """``count`` more answered predictions could not be logged."""
        ...

    def computed(self, version: int, arms: list[str], features: float, model: float) -> None:
        """A micro-batch was computed: the arm of each row, seconds for features and for the model."""
        ...

    def champion(self, version: int) -> None:
        """Another version answers from now on."""
        ...

    def answered(self, method: str, status: int) -> None:
        """One more request over HTTP was answered, and nobody else counts it."""
        ...

    def cached(self, hits: int, rows: int) -> None:
        """Of some rows so many had been answered before."""
        ...


class Meter:
    """Counts since the process began.

    >>> meter = Meter()
    >>> meter.unseen("carrier", 2)
    >>> meter.counts()
    {'unseen': {'carrier': 2}, 'refused': {}, 'unlogged': 0, 'failed': {}, 'cache': {}}
    """

    def __init__(self, sink: Sink | None = None) -> None:
        self._sink = sink
        self._unseen: Counter[str] = Counter()
        self._refused: Counter[int] = Counter()
        self._failed: Counter[str] = Counter()
        self._unlogged = 0
        self._cached: Counter[str] = Counter()

    def unseen(self, field: str, count: int) -> None:
        """``count`` more values of a field that training never saw."""
        self._unseen[field] += count
        if self._sink is not None:
            self._sink.unseen(field, count)

    def refused(self, status: int) -> None:
        """One more request was answered with an error status."""
        self._refused[status] += 1
        if self._sink is not None:
            self._sink.refused(status)

    def unlogged(self, count: int) -> None:
        """``count`` more answered predictions could not be logged."""
        self._unlogged += count
        if self._sink is not None:
            self._sink.unlogged(count)

    def computed(self, version: int, arms: list[str], features: float, model: float) -> None:
        """A micro-batch was computed: the arm of each row, seconds for features and for the model."""
        if self._sink is not None:
            self._sink.computed(version, arms, features, model)

    def cached(self, hits: int, rows: int) -> None:
        """Of some rows so many had been answered before; the cache is on."""
        self._cached["hits"] += hits
        self._cached["misses"] += rows - hits
        if self._sink is not None:
            self._sink.cached(hits, rows)

    def champion(self, version: int) -> None:
        """Another version answers from now on."""
        if self._sink is not None:
            self._sink.champion(version)

    def answered(self, method: str, status: int) -> None:
        """One more request over HTTP was answered, and the front door leaves it to us to count it."""
        if self._sink is not None:
            self._sink.answered(method, status)

    def failed(self, arm: str) -> None:
        """A version beside the champion could not answer once more, and the champion did."""
        self._failed[arm] += 1

    def failures(self) -> dict[str, int]:
        """Answers that failed, by arm: those of the champion became an error status, others it answered itself."""
        server = sum(count for status, count in self._refused.items() if status >= 500)
        return {"champion": server, **self._failed}

    def counts(self) -> dict[str, dict[str, int] | int]:
        """All counts by name."""
        return {
            "unseen": dict(sorted(self._unseen.items())),
            "refused": {str(status): count for status, count in sorted(self._refused.items())},
            "unlogged": self._unlogged,
            "failed": dict(sorted(self._failed.items())),
            "cache": dict(sorted(self._cached.items())),
        }
