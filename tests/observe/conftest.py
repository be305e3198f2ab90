"""Something that receives traces."""

from collections.abc import Iterator

import pytest

from raypipe import observe
from tests.observe.receiver import Receiver, receiver


@pytest.fixture
def otlp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver that this process sends every span to; `observe.flush` before looking."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=canary")
    with receiver() as found:
        observe.start(observe.Observing(found.url, 1.0))
        yield found
        observe.stop()
