"""Whoever collects for ever takes in what was written, and lets MLflow catch up; trouble with one stops neither."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import cast

import pytest

from raypipe.clock import ManualClock
from raypipe.contracts.logs import LogKind
from raypipe.contracts.records import Tidied
from raypipe.errors import RegistryError, WorkspaceError
from raypipe.flows import Platform
from raypipe.flows import collect as module
from raypipe.flows.collect import Collector, start_collector, tidy_logs
from raypipe.flows.erase import tidy
from raypipe.lake.log_upkeep import DAY
from raypipe.lake.upkeep import Kept
from raypipe.spec import Pipeline


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


def test_every_turn_collects_and_catches_up_and_now_and_then_tidies(monkeypatch: pytest.MonkeyPatch) -> None:
    collected, caught_up, tidied = Event(), Event(), Event()
    monkeypatch.setattr(module, "COLLECT_SECONDS", 0.01)
    monkeypatch.setattr(module, "TIDY_SECONDS", 0.02)
    monkeypatch.setattr(module, "tidy_logs", thrice(tidied, WorkspaceError("is full", where="lake")))
    monkeypatch.setattr(module, "collect", thrice(collected, WorkspaceError("is full", where="lake")))
    registry = SimpleNamespace(catch_up=thrice(caught_up, RegistryError("MLflow lags behind", where="rides")))
    platform = SimpleNamespace(registry=registry, lake=None, workspace=None, clock=None)
    collector = Collector(lambda: cast(Platform, platform))
    assert collected.wait(30)
    assert caught_up.wait(30)
    assert tidied.wait(30)
    collector._stop.set()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is work like any other")
def test_who_collects_stands_behind_those_who_answer_but_for_who_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst of it would crowd those who answer on the other cores; and it must come to its end on a busy machine."""
    ranks: list[int] = []
    now, done = 0.0, Event()

    def collect(*_: object) -> int:
        nonlocal now
        ranks.append(os.sched_getscheduler(0))
        now += 0.3 if len(ranks) == 2 else 0.0
        if len(ranks) == 4:
            done.set()
        return 0

    monkeypatch.setattr(module, "COLLECT_SECONDS", 0.2)
    monkeypatch.setattr(module, "monotonic", lambda: now)
    monkeypatch.setattr(module, "collect", collect)
    platform = SimpleNamespace(registry=SimpleNamespace(catch_up=lambda: None), lake=None, workspace=None, clock=None)
    own = os.sched_getscheduler(0)
    collector = Collector(lambda: cast(Platform, platform))
    assert done.wait(30)
    collector._stop.set()
    assert ranks[:4] == [os.SCHED_IDLE, os.SCHED_IDLE, own, os.SCHED_IDLE]
    assert os.sched_getscheduler(0) == own


def test_logs_of_every_pipeline_and_kind_are_tidied_and_old_rows_go(tmp_path: Path) -> None:
    for kind, name in (("predictions", "rides"), ("feedback", "rides"), ("predictions", "fares")):
        (tmp_path / "log" / kind / name).mkdir(parents=True)
    asked: list[tuple[str, str, int | None]] = []

    class Table:
        def __init__(self, kind: LogKind, name: str) -> None:
            self.of = kind.name, name

        def tidy(self, now: int, since: int | None) -> Kept:
            assert now == 100 * DAY
            asked.append((*self.of, since))
            return Kept(rows=1, files=2, removed=3)

    lake, clock = SimpleNamespace(log=Table), ManualClock(100 * DAY)
    platform = cast(Platform, SimpleNamespace(lake=lake, workspace=tmp_path, clock=clock, log_days=0.0))
    assert tidy_logs(platform) == Kept(rows=3, files=6, removed=9)
    assert asked == [("predictions", "fares", None), ("predictions", "rides", None), ("feedback", "rides", None)]
    platform = cast(Platform, SimpleNamespace(lake=lake, workspace=tmp_path, clock=clock, log_days=30.5))
    tidy_logs(platform, "fares")
    assert asked[3:] == [("predictions", "fares", int(69.5 * DAY))]


def test_each_workspace_of_a_cluster_has_a_collector_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(module, "detached", lambda name, *_: started.append(name))
    for folder in ("/srv/one", "/srv/two", "/srv/one"):
        start_collector(cast(Platform, SimpleNamespace(workspace=Path(folder), reopen=None)))
    assert started[0] == started[2] != started[1]


def test_who_tidies_a_pipeline_tidies_its_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    of: list[str] = []
    monkeypatch.setattr(module, "tidy_logs", lambda _, name: of.append(name) or Kept(rows=1, files=2, removed=3))
    clock = ManualClock(0)
    platform = cast(Platform, SimpleNamespace(clock=clock))
    pipeline = cast(Pipeline, SimpleNamespace(name="rides", groups=(), sources=()))
    assert tidy(platform, pipeline=pipeline, keep_days=1.0) == Tidied(pipeline="rides", snapshots=0, files=3)
    assert of == ["rides"]
