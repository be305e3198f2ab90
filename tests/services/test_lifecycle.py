"""What is said of a service that does not come up, and what becomes of what a dead one has left."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raypipe.errors import ServiceError
from raypipe.services import ServicesConfig, lifecycle
from raypipe.services.processes import MARK
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


def test_what_a_dead_head_has_left_is_ended_at_once(tmp_path: Path) -> None:
    """Somebody waits for the new one: who would not hear of a polite end is not waited for."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    environment = os.environ | {MARK: str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", deaf], env=environment, stdout=subprocess.PIPE) as left:
        assert left.stdout is not None
        left.stdout.readline()
        began = time.monotonic()
        lifecycle._without_the_dead(ServicesConfig(tmp_path), Record())
        assert time.monotonic() - began < lifecycle.END_SECONDS
        left.wait(5)
