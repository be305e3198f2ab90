"""Whoever collects for ever takes in what was written, and lets MLflow catch up; trouble with one stops neither."""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import cast

import pytest

from raypipe.errors import RegistryError, WorkspaceError
from raypipe.flows import Platform
from raypipe.flows import collect as module
from raypipe.flows.collect import Collector, start_collector


def thrice(done: Event, trouble: Exception) -> Callable[..., int]:
    """Fails twice; then it is done."""
    turns = 0

    def work(*_: object) -> int:
        nonlocal turns
        turns += 1
        if turns < 3:
            raise trouble
        done.set()
        return 0

    work.__name__ = "work"
    return work


def test_every_turn_collects_and_catches_up(monkeypatch: pytest.MonkeyPatch) -> None:
    collected, caught_up = Event(), Event()
    monkeypatch.setattr(module, "COLLECT_SECONDS", 0.01)
    monkeypatch.setattr(module, "collect", thrice(collected, WorkspaceError("is full", where="lake")))
    registry = SimpleNamespace(catch_up=thrice(caught_up, RegistryError("MLflow lags behind", where="rides")))
    platform = SimpleNamespace(registry=registry, lake=None, workspace=None, clock=None)
    collector = Collector(lambda: cast(Platform, platform))
    assert collected.wait(30)
    assert caught_up.wait(30)
    collector._stop.set()


def test_each_workspace_of_a_cluster_has_a_collector_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(module, "detached", lambda name, *_: started.append(name))
    for folder in ("/srv/one", "/srv/two", "/srv/one"):
        start_collector(cast(Platform, SimpleNamespace(workspace=Path(folder), reopen=None)))
    assert started[0] == started[2] != started[1]
