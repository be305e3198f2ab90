"""The shared fixtures keep their promises."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from raypipe.clock import ManualClock
from raypipe.settings import load_settings

MINUTE = 60_000_000


def test_the_clock_moves_only_when_told(clock: ManualClock) -> None:
    before = clock.now()
    clock.advance(MINUTE)
    assert clock.now() - before == MINUTE


def test_the_settings_name_the_workspace(workspace: Path) -> None:
    assert load_settings().home == workspace
    assert list(workspace.iterdir()) == []


def test_ports_are_free_and_differ(free_port: Callable[[], int]) -> None:
    ports = [free_port() for _ in range(5)]
    assert len(set(ports)) == 5
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[0]))


def where_it_runs() -> tuple[int, str | None, str | None]:
    return os.getpid(), os.environ.get("ORT_DISABLE_TELEMETRY"), os.environ.get("OMP_NUM_THREADS")


@pytest.mark.slow
def test_ray_runs_functions_of_test_modules_in_its_own_quiet_processes(ray_local: None) -> None:
    import ray

    pid, telemetry_off, threads = ray.get(ray.remote(where_it_runs).remote())
    assert pid != os.getpid()
    assert (telemetry_off, threads) == ("1", "1")
    assert ray.cluster_resources()["CPU"] == 2
