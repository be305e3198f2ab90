"""The process that answers: one deployment of Ray Serve, one model in memory, swapped in place."""

import asyncio
import gc
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from polars.exceptions import PanicException

from raypipe.contracts.reader import OpenReader
from raypipe.contracts.records import Record
from raypipe.errors import RaypipeError, ServingError
from raypipe.observe import Observing, start
from raypipe.serving import door, grpc_door, grpc_http
from raypipe.serving.access import Guard
from raypipe.serving.app import App, Limits
from raypipe.serving.counter import Counts
from raypipe.serving.engine import Engine
from raypipe.serving.feedback import FeedbackFace, FeedbackLog
from raypipe.serving.log import PredictionLog, Recorder
from raypipe.serving.meter import Meter
from raypipe.serving.model import Model, Served
from raypipe.serving.oip_grpc import GrpcService
from raypipe.serving.pointer import Pointer
from raypipe.serving.ray_sink import RaySink
from raypipe.serving.routing import Router
from raypipe.serving.scaling import UNDER_WAY
from raypipe.serving.tuning import Tuned, Tuning

logger = logging.getLogger("ray.serve")

_LOAD_SECONDS = 60.0
#: Seconds that threads beside the event loop (counts, metrics, the log's disk) may keep it waiting; 5 ms by default.
_SWITCH_SECONDS = 0.0005


class Holding(Record, frozen=True, kw_only=True):
    """What one replica answers with, and the version that it was last told to take and refused, with the reason."""

    served: Served | None
    refused: Served | None
    reason: str


class Logs(NamedTuple):
    """What a replica writes: its answers, what it is told about them, and what it counts of them."""

    predictions: PredictionLog
    feedback: FeedbackLog
    counts: Counts


class Replica(GrpcService):
    """Holds the application of one pipeline.

    Args:
        name: of the pipeline.
        open_reader: opens its features in this process.
        pointer: says which version is in service.
        limits: what one request may take.
        open_logs: opens the logs of what it answers and of what it is told; None: nothing is kept.
        guard: asks for keys; None: nobody does.
        observing: what this process tells of its work; None: nothing.

    Raises:
        RaypipeError: the version in service cannot be used, or there is none; Serve reports it as the reason why the
            replica cannot start.
    """

    def __init__(
        self,
        name: str,
        open_reader: OpenReader,
        pointer: Pointer,
        limits: Limits,
        open_logs: Callable[[Meter], Logs] | None = None,
        guard: Guard | None = None,
        observing: Observing | None = None,
    ) -> None:
        if observing is not None:
            start(observing, requests=True)
        self._open_reader, self._pointer = open_reader, pointer
        self._tuned, self._tuning = Tuned(pointer.path.parent, name), Tuning()
        self._taking = asyncio.Lock()
        self._return: asyncio.Task[str] | None = None
        self._meter = Meter(RaySink(name))
        logs = None if open_logs is None else open_logs(self._meter)
        self._log = None if logs is None else logs.predictions
        self._counts = None if logs is None else logs.counts
        # Serve adds the X-Request-Id header itself.
        hash_ = None if self._log is None else self._log.hash
        self._app = App(name, self._meter, limits, echo_id=False, guard=guard, hash_=hash_)
        #: The models in memory, by what they are of.
        self._engines: dict[Served, Engine] = {}
        self._serving: Served | None = None
        if logs is not None:
            self._app.add(FeedbackFace(logs.feedback, limits.body_bytes, limits.body_seconds))
        self._tune()
        self._begin(self._in_service())
        # What is here now stays: to look through it again and again for garbage takes up to 0.1 s each time.
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(_SWITCH_SECONDS)

    def __serve_build_asgi_app__(self) -> App:  # the name that Serve looks for
        """What Serve hands requests to that did not come straight to it; asked on the event loop that it lives on."""
        door.open_to(self._app, {grpc_http.PATH: grpc_http.Infer(self, self._app.limits.body_seconds)})
        grpc_door.open_to(self, self._app.name)
        return self._app

    async def take(self, text: str) -> str:
        """Answer with another version from now on, if it can be used; else go on with what is held.

        Args:
            text: a `Served` as JSON.

        Returns:
            A `Holding` as JSON.
        """
        served = Served.from_json(text)
        # One at a time: a version that takes long to load must not come after a later one.
        async with self._taking:
            if self._held() == served:
                self._app.accept()
            else:
                await self._swap(served)
        return self.holding()

    def __del__(self) -> None:
        """Called by Serve when the replica is to end: what was answered last is counted."""
        counts: Counts | None = getattr(self, "_counts", None)  # absent when it could not start
        if counts is not None:
            with suppress(OSError):
                counts.write()

    async def check_health(self) -> None:
        """Called by Serve every few seconds: come back to the version in service, should another one be held.

        Nothing that is wrong with the pointer or with that version makes the replica unhealthy: it answers.
        """
        try:
            self._tune()
            served = self._pointer.read()
        except ServingError:
            logger.exception("the version in service is unknown")
            return
        if served and served not in (self._held(), self._app.refused) and not self._taking.locked():
            # Not waited for: to load may take longer than a health check.
            self._return = asyncio.create_task(self.take(served.to_json()))

    def record_autoscaling_stats(self) -> dict[str, float]:  # the name that Serve looks for
        """What `scaling.wanted` is told of this replica."""
        return {UNDER_WAY: float(self._app.under_way)}

    def holding(self) -> str:
        """A `Holding` as JSON; asked by whoever deploys."""
        return Holding(served=self._held(), refused=self._app.refused, reason=self._app.reason).to_json()

    def _held(self) -> Served | None:
        return self._serving

    def _tune(self) -> None:
        """Serve as is wanted now; looked at every few seconds."""
        tuning = self._tuned.read() or Tuning()
        if tuning != self._tuning:
            self._tuning, self._app.most = tuning, tuning.queue
            for engine in self._engines.values():
                engine.tune(tuning)

    def _begin(self, served: Served) -> None:
        """Start with what is in service; a version beside the champion that cannot be loaded keeps nobody waiting."""
        try:
            self._hold(served, self._load(served))
        except RaypipeError as error:
            if not served.arms:
                raise
            logger.exception("the versions beside the champion are left out")
            self._hold(served.alone, self._load(served.alone))
            self._app.refuse(served, str(error))

    async def _swap(self, served: Served) -> None:
        loading = asyncio.to_thread(self._load, served)
        try:
            self._hold(served, await asyncio.wait_for(loading, _LOAD_SECONDS))
        except TimeoutError:
            self._app.refuse(served, f"it did not load within {_LOAD_SECONDS:g} seconds")
        except (Exception, PanicException) as error:
            # Whatever is wrong with the other version, the one that answers well goes on.
            logger.exception("version %s is refused", served.version)
            self._app.refuse(served, str(error))

    def _load(self, served: Served) -> tuple[dict[Served, Engine], Router]:
        """Every model that is needed: those in memory stay there."""
        engines = {one: self._engines.get(one) or self._engine(one) for one in served.all}
        beside = [(arm, engines[one]) for arm, one in zip(served.arms, served.all[1:], strict=True)]
        hash_ = None if self._log is None else self._log.hash
        return engines, Router(engines[served.alone], beside, salt=served.salt, hash_=hash_, meter=self._meter)

    def _hold(self, served: Served, loaded: tuple[dict[Served, Engine], Router]) -> None:
        engines, router = loaded
        self._app.hold(router.champion, router)
        self._engines, self._serving = engines, served

    def _engine(self, served: Served) -> Engine:
        recorder = None if self._log is None else self._recorder
        suggested = self._pointer.suggested()
        engine = Engine(
            served,
            self._open_reader,
            self._meter,
            open_recorder=recorder,
            open_counter=None if self._counts is None else self._counts.counter,
            suggested=suggested,
        )
        if engine.model.pipeline.name != self._app.name:
            raise ServingError(
                f"is a model of `{engine.model.pipeline.name}`", where=f"{self._app.name}/{served.version}"
            )
        engine.tune(self._tuning)
        return engine

    def _recorder(self, model: Model, fields: tuple[str, ...]) -> Recorder:
        assert self._log is not None  # noqa: S101  # asked for where there is one
        served, pipeline = model.served, model.pipeline
        return self._log.recorder(
            pipeline.log, version=served.version, digest=served.digest, fields=fields, features=pipeline.feature_names
        )

    def _in_service(self) -> Served:
        served = self._pointer.read()
        if served is None:
            raise ServingError("no version is in service", where=self._app.name, cure="Run `raypipe deploy` first")
        return served
