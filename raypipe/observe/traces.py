"""Spans of OpenTelemetry, from a run to its stages and from a request to its features and its model.

Without a receiver there is no provider, and a span costs a few microseconds of doing nothing.
"""

import atexit
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from queue import SimpleQueue
from threading import Event, Thread

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from raypipe.observe.logs import about, told_about

#: Nobody waits longer for a receiver, in seconds.
PATIENCE = 2.0
_PARENT = "traceparent"
_SERVICE = "raypipe"
_propagator = TraceContextTextMapPropagator()
_provider: list[TracerProvider] = []


def export_to(url: str, share: float) -> None:
    """Send spans to a receiver of OTLP over HTTP from now on; a process does so once.

    Args:
        url: of the receiver, such as ``http://127.0.0.1:4318``; headers such as an API key are read from
            ``OTEL_EXPORTER_OTLP_HEADERS``.
        share: of the traces that begin here; one that began elsewhere is kept when it is kept there.
    """
    if not _provider:
        _provider.append(_exporting(_exporter(url), share))
        _sender()  # while threads can be started: at the end of a process they cannot
        atexit.register(stop)


def _exporting(exporter: SpanExporter, share: float) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource

    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(share),
        resource=Resource.create({"service.name": _SERVICE}),
        shutdown_on_exit=False,  # it would wait as long as the receiver is away
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporter(url: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{url.rstrip('/')}/v1/traces")


def tracing() -> bool:
    """Whether there is a receiver; for who does something so often that a block of nothing is too much."""
    return bool(_provider)


@contextmanager
def span(name: str, caller: str | None = None, **attributes: str | int | float | bool) -> Iterator[Span]:
    """A span around a block; lines that are logged inside carry its trace's id.

    Args:
        name: of the span.
        caller: of a request the ``traceparent`` header, empty when there was none; None: it is no request, and belongs
            to the span around it.
        attributes: of the span.
    """
    if not _provider:
        yield trace.INVALID_SPAN
        return
    context = None if caller is None else _propagator.extract({_PARENT: caller})
    kind = SpanKind.INTERNAL if caller is None else SpanKind.SERVER
    with (
        _tracer().start_as_current_span(name, context=context, kind=kind, attributes=attributes) as made,
        about(trace_id=f"{made.get_span_context().trace_id:032x}"),
    ):
        yield made


def part(name: str, of: Span, began: int, ended: int, **attributes: str | int) -> None:
    """A span of work that is over, inside another one; times in nanoseconds since 1970."""
    if of.is_recording():
        inside = trace.set_span_in_context(of)
        _tracer().start_span(name, inside, start_time=began, attributes=attributes).end(ended)


def failed(made: Span, why: str) -> None:
    """What the span is of did not come to its end."""
    made.set_status(Status(StatusCode.ERROR, why))


def flush() -> None:
    """Send what waits; for a process that may be ended any moment."""
    for provider in _provider:
        _sender().send(provider.force_flush)


def stop() -> None:
    """Send what waits, and nothing more."""
    while _provider:
        _sender().send(_provider.pop().shutdown)
    _tracer.cache_clear()


class _Sender:
    """Sends in a thread of its own: OpenTelemetry takes a limit of time for it, and does not look at it."""

    def __init__(self) -> None:
        self._waiting = SimpleQueue[tuple[Callable[[], object], Event]]()
        self._last = Event()
        self._last.set()
        Thread(target=self._run, name="traces", daemon=True).start()

    def send(self, what: Callable[[], object]) -> None:
        """Wait until it is done, but no longer than `PATIENCE`; while what came before is late, not at all."""
        late, self._last = not self._last.is_set(), Event()
        self._waiting.put((what, self._last))
        self._last.wait(0 if late else PATIENCE)

    def _run(self) -> None:
        while True:
            what, done = self._waiting.get()
            with suppress(Exception):  # the exporter has told of it
                what()
            done.set()


@cache
def _sender() -> _Sender:
    return _Sender()


def carried() -> dict[str, str]:
    """What the work at hand is about, and its span, to be taken up in another process."""
    headers: dict[str, str] = dict(told_about())
    _propagator.inject(headers)
    return headers


@contextmanager
def taken_up(headers: Mapping[str, str]) -> Iterator[None]:
    """Go on with what was carried here: lines and spans belong to the work that they came from."""
    from opentelemetry import context

    fields = {name: value for name, value in headers.items() if name != _PARENT and name != "tracestate"}
    token = context.attach(_propagator.extract(headers))
    try:
        with about(**fields):
            yield
    finally:
        context.detach(token)


@cache
def _tracer() -> trace.Tracer:
    return _provider[0].get_tracer("raypipe")
