"""What a process tells of its work: logs and traces, tied together by the ids of runs and requests. Off by default."""

from raypipe.observe.logs import about, told_about
from raypipe.observe.start import Observing, start
from raypipe.observe.traces import carried, failed, flush, part, span, stop, taken_up, tracing

__all__ = [
    "Observing",
    "about",
    "carried",
    "failed",
    "flush",
    "part",
    "span",
    "start",
    "stop",
    "taken_up",
    "told_about",
    "tracing",
]
