"""The process that answers: one deployment of Ray Serve, one model in memory, swapped in place."""

import asyncio
import logging
from collections.abc import Mapping

import msgspec
from ray.util.metrics import Counter

from raypipe.contracts.reader import OpenReader
from raypipe.contracts.records import Record
from raypipe.errors import ServingError
from raypipe.serving.app import App, Limits
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served

logger = logging.getLogger("ray.serve")

_LOAD_SECONDS = 60.0


class Holding(Record, frozen=True, kw_only=True):
    """What one replica answers with, and the version that it was last told to take and refused, with the reason."""

    served: Served | None
    refused: Served | None
    reason: str


class Replica:
    """Holds the application of one pipeline.

    Args:
        name: of the pipeline.
        open_reader: opens its features in this process.
        limits: what one request may take.
    """

    def __init__(self, name: str, open_reader: OpenReader, limits: Limits) -> None:
        self._open_reader = open_reader
        self._meter = Meter(RaySink(name))
        # Serve adds the X-Request-Id header itself.
        self._app = App(name, self._meter, limits, echo_id=False)

    def __serve_build_asgi_app__(self) -> App:  # the name that Serve looks for
        """What Serve hands requests to."""
        return self._app

    async def reconfigure(self, config: Mapping[str, object]) -> None:
        """Load another version beside the one that answers, check it, and swap.

        A replica that has never answered raises, and Serve reports why it cannot start. One that answers goes on
        with what it has, and remembers the reason.

        Raises:
            RaypipeError: the first version that this replica is to answer with cannot be used.
        """
        served = msgspec.convert(dict(config), Served)
        held = self._app.engine
        if held is not None and held.model.served == served:
            self._app.accept()
            return
        try:
            self._app.hold(await self._load(served))
        except Exception as error:
            if held is None:
                raise
            # Raised from here, Serve would stop the replica that still answers well.
            logger.exception("version %s is refused", served.version)
            self._app.refuse(served, str(error))

    async def _load(self, served: Served) -> Engine:
        loading = asyncio.to_thread(Engine, served, self._open_reader, self._meter)
        try:
            return await asyncio.wait_for(loading, _LOAD_SECONDS)
        except TimeoutError:
            raise ServingError(
                f"did not load within {_LOAD_SECONDS:g} seconds", where=f"{self._app.name}/{served.version}"
            ) from None

    def holding(self) -> str:
        """A `Holding` as JSON; asked by whoever deploys."""
        engine = self._app.engine
        return Holding(
            served=engine.model.served if engine else None, refused=self._app.refused, reason=self._app.reason
        ).to_json()


class RaySink:
    """Counts in the metrics that Ray exports to Prometheus.

    ``ray_raypipe_unseen_total{pipeline, field}`` and ``ray_raypipe_refused_total{pipeline, status}``.
    """

    def __init__(self, pipeline: str) -> None:
        unseen = Counter("raypipe_unseen", "Values of a field that training never saw", ("pipeline", "field"))
        refused = Counter("raypipe_refused", "Requests answered with an error status", ("pipeline", "status"))
        for counter in (unseen, refused):
            counter.set_default_tags({"pipeline": pipeline})
        self._unseen, self._refused = unseen, refused

    def unseen(self, field: str, count: int) -> None:
        """``count`` more values of a field that training never saw."""
        self._unseen.inc(count, {"field": field})

    def refused(self, status: int) -> None:
        """One more request was answered with an error status."""
        self._refused.inc(1, {"status": str(status)})
