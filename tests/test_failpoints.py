"""A named crash window acts when the environment says so, and never otherwise."""

import os
import signal
import subprocess
import sys
import time

import pytest

from raypipe import failpoints
from raypipe.failpoints import FailpointError, failpoint

LOOP = """
from raypipe.failpoints import failpoint
for n in range(5):
    print(n, flush=True)
    failpoint("stage.window")
"""


@pytest.fixture(autouse=True)
def no_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "_visits", {})


def run(setting: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "RAYPIPE_FAILPOINT": setting}
    command = [sys.executable, "-c", LOOP]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("setting", "passed"), [("stage.window=kill", 1), ("stage.window=kill@3", 3)])
def test_it_kills(setting: str, passed: int) -> None:
    done = run(setting)
    assert done.returncode == -signal.SIGKILL
    assert len(done.stdout.split()) == passed


@pytest.mark.parametrize("setting", ["stage.other=kill", "stage.window=kill@9", "stage=kill"])
def test_it_lets_others_pass(setting: str) -> None:
    done = run(setting)
    assert done.returncode == 0
    assert len(done.stdout.split()) == 5


def test_it_stops_until_it_is_told_to_go_on() -> None:
    environment = {"PATH": "/usr/bin:/bin", "RAYPIPE_FAILPOINT": "stage.window=stop@2"}
    with subprocess.Popen([sys.executable, "-c", LOOP], env=environment, stdout=subprocess.PIPE, text=True) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=60)[0].split() == list("01234")
    assert process.returncode == 0


def test_it_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPIPE_FAILPOINT", "stage.window=raise@2")
    failpoint("stage.window")
    with pytest.raises(FailpointError, match=r"stage\.window"):
        failpoint("stage.window")
    failpoint("stage.window")


def test_it_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPIPE_FAILPOINT", "stage.window=sleep:0.05")
    before = time.monotonic()
    failpoint("stage.window")
    assert time.monotonic() - before >= 0.05


@pytest.mark.parametrize("setting", ["stage.window", "stage.window=", "stage.window=explode", "stage.window=kill@soon"])
def test_a_setting_that_says_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    """A test whose failpoint is misspelled would pass without having tested anything."""
    monkeypatch.setenv("RAYPIPE_FAILPOINT", setting)
    with pytest.raises(ValueError):  # noqa: PT011  # of Python's own or ours
        failpoint("stage.window")


def test_it_costs_next_to_nothing() -> None:
    before = time.process_time()
    for _ in range(100_000):
        failpoint("stage.window")
    assert time.process_time() - before < 1
