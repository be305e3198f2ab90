"""How a process tells of its work, as values that cross processes."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from raypipe.errors import SettingsError


@dataclass(frozen=True)
class Observing:
    """What is told, and where to.

    Attributes:
        traces_url: a receiver of OTLP over HTTP; empty: no traces.
        trace_share: of the requests that nobody before decided on, 0 to 1.
        log_format: ``json``: one object a line; ``text``: as Python logs.
    """

    traces_url: str = ""
    trace_share: float = 0.01
    log_format: Literal["text", "json"] = "text"


def start(observing: Observing, *, requests: bool = False) -> None:
    """Tell of this process's work from now on; nothing happens the second time.

    Args:
        observing: what, and where to.
        requests: the process answers requests, of which a share is traced; else all of its work is.

    Raises:
        SettingsError: traces are wanted, and what sends them is not installed.
    """
    if observing.log_format == "json":
        from raypipe.observe.logs import log_json

        log_json()
    if observing.traces_url:
        if find_spec("opentelemetry.exporter") is None or find_spec("opentelemetry.exporter.otlp") is None:
            cure = "Install it with `pip install 'raypipe[traces]'`"
            raise SettingsError("needs an exporter that is not installed", where="traces_url", cure=cure)
        from raypipe.observe.traces import export_to

        export_to(observing.traces_url, observing.trace_share if requests else 1.0)
