"""What is said while something waits for cores."""

import time
from contextlib import contextmanager
from threading import Event

import pytest
import ray
from ray.util import placement_group, remove_placement_group

from raypipe.training import waiting
from raypipe.training.waiting import waits_told


@ray.remote(num_cpus=0.1)
class Replica:
    """Somebody who answers all day."""

    def ready(self):
        return True


@ray.remote(num_cpus=1.5, max_retries=0)
def busy(begun, opened):
    """Holds its cores until ``opened`` is there: one that asks another by ``ray.get`` gives them back meanwhile."""
    begun.touch()
    while not opened.exists():
        time.sleep(0.05)


class Heard:
    """A step that keeps what it is told."""

    def __init__(self):
        self.notes, self.said = [], Event()

    def advance(self, amount=1.0, note=""):
        assert amount == 0, "waiting is no progress"
        self.notes.append(note)
        self.said.set()


@contextmanager
def told():
    """What was said first, within twenty seconds. The head hears of what was taken, or waits, once a second."""
    step = Heard()
    with waits_told(step, patience=1.5):
        yield step.notes
        assert step.said.wait(20)


@pytest.fixture
def elsewhere(monkeypatch):
    """The environment names a cluster that is not this one, as that of a machine with several does."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")


def test_who_waits_says_for_what_and_who_holds_it(ray_local, elsewhere):
    replica = Replica.options(name="answers all day").remote()
    held = placement_group([{"CPU": 1.5}], name="left behind")
    assert ray.get(replica.ready.remote())
    assert held.wait(20)
    asked = placement_group([{"CPU": 0.5}] * 2)
    try:
        with told() as heard:
            pass
    finally:
        for group in (held, asked):
            remove_placement_group(group)
        ray.kill(replica)
    assert heard[0].startswith("waits for 2 times 0.5 CPU at once; free: 0.4 CPU; held by ")
    assert "group left behind (1.5 CPU)" in heard[0]
    assert "answers all day (0.1 CPU)" in heard[0]
    assert "tasks" not in heard[0]


def test_a_task_that_waits_for_another_says_so(ray_local, tmp_path):
    begun, opened = tmp_path / "begun", tmp_path / "opened"
    first, second = (busy.remote(begun, opened) for _ in range(2))
    try:
        while not begun.exists():
            time.sleep(0.05)
        with told() as heard:
            pass
    finally:
        opened.touch()
        ray.get([first, second])
    assert heard[0].startswith("waits for 1.5 CPU; free: 0.5 CPU; held by tasks (1.5 CPU)")


def test_what_has_just_begun_to_wait_is_not_told_yet(monkeypatch):
    looks = iter([{"a": "1 CPU"}, {"a": "1 CPU", "b": "2 CPU"}, {"b": "2 CPU", "c": "3 CPU"}])
    monkeypatch.setattr(waiting, "_waiting", lambda: next(looks, {}))
    monkeypatch.setattr(waiting, "sentence", lambda asked: f"waits for {'; '.join(asked)}")
    step = Heard()
    with waits_told(step, patience=0.01):
        end = time.monotonic() + 20
        while waiting.OVER not in step.notes and time.monotonic() < end:
            time.sleep(0.01)
    assert step.notes == ["waits for 1 CPU", "waits for 2 CPU", waiting.OVER]


def test_a_note_goes_when_nothing_waits_any_more(ray_local):
    held = placement_group([{"CPU": 1.5}], name="in the way")
    assert held.wait(20)
    asked, step = placement_group([{"CPU": 1.5}]), Heard()
    try:
        with waits_told(step, patience=0.2):
            assert step.said.wait(20)
            remove_placement_group(held)
            assert asked.wait(20)
            end = time.monotonic() + 20
            while step.notes[-1] != waiting.OVER and time.monotonic() < end:
                time.sleep(0.05)
            assert step.notes[-1] == waiting.OVER
            many = len(step.notes)
            time.sleep(1.0)
            assert len(step.notes) == many, "it is told once"
    finally:
        remove_placement_group(held)
        remove_placement_group(asked)


def test_nothing_is_said_where_nothing_waits(ray_local):
    end = time.monotonic() + 20
    while waiting._waiting() and time.monotonic() < end:  # the head hears of the nodes' queues once a second
        time.sleep(0.1)
    step = Heard()
    with waits_told(step, patience=0.1):
        Event().wait(0.5)
    assert step.notes == []
