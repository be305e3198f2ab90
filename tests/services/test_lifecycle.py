"""What is said of a service that does not come up."""

import os
from pathlib import Path

import pytest

from raypipe.errors import ServiceError
from raypipe.services import ServicesConfig, lifecycle
from raypipe.services.record import Record


@pytest.mark.parametrize(
    ("load", "said"), [(40.0, " on a machine where 40 processes want 2 cores;"), (1.0, ";")], ids=["busy", "quiet"]
)
def test_a_busy_machine_is_named_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float, said: str
) -> None:
    monkeypatch.setattr(lifecycle, "START_SECONDS", 0.0)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(ServiceError) as caught:
        lifecycle._until(ServicesConfig(tmp_path), Record(), "Ray", lambda: False)
    assert f"Ray does not answer after 0 s{said}" in caught.value.what
    assert "same command again" in caught.value.cure
