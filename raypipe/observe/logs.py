"""Log lines as JSON, each with what the work at hand is about: run, pipeline, stage, request, trace."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

_NOTHING: Mapping[str, str] = MappingProxyType({})
_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("raypipe_about", default=_NOTHING)
_LOGGERS = ("raypipe", "ray.serve")


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Every line that is logged inside carries these fields, besides those of the blocks around it.

    >>> with about(run_id="a1"), about(stage="train"):
    ...     dict(told_about())
    {'run_id': 'a1', 'stage': 'train'}
    """
    token = _ABOUT.set({**_ABOUT.get(), **fields})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def told_about() -> Mapping[str, str]:
    """What the work at hand is about."""
    return _ABOUT.get()


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, process, what it is about, and the trace of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": os.getpid(),
            **_ABOUT.get(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """Writes to what is stderr now: Ray and tests put another one in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(JsonLines())

    @property
    def stream(self) -> object:
        return sys.stderr

    @stream.setter
    def stream(self, _: object) -> None: ...


def log_json() -> None:
    """Let raypipe and Ray Serve log JSON lines to stderr in this process, from level info on."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _Stderr) for handler in logger.handlers):
            logger.handlers = [_Stderr()]
        logger.setLevel(logging.INFO)
        logger.propagate = False
