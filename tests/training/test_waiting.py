"""What is said while something waits for cores."""

from threading import Event
from types import SimpleNamespace

from ray.util import placement_group, remove_placement_group

from raypipe.training import waiting
from raypipe.training.waiting import waits_told


def test_who_waits_says_for_what_and_who_holds_it(ray_local, monkeypatch):
    # The dashboard, which knows the actors, is not up in tests.
    replica = SimpleNamespace(
        name="answers all day", class_name="Replica", required_resources={"CPU": 0.1}, placement_group_id=None
    )
    monkeypatch.setattr(waiting, "list_actors", lambda *of, **asked: [replica])
    held = placement_group([{"CPU": 1.5}], name="left behind")
    assert held.wait(20)
    asked = placement_group([{"CPU": 0.5}] * 2)
    said, told = Event(), []
    try:
        with waits_told(lambda what: (told.append(what), said.set()), patience=0.2):
            assert said.wait(20)
    finally:
        for group in (held, asked):
            remove_placement_group(group)
    assert told[0].startswith("waits for 2 times 0.5 CPU at once; free: 0.5 CPU; held by ")
    assert "group left behind (1.5 CPU)" in told[0]
    assert "answers all day (0.1 CPU)" in told[0]


def test_where_nobody_can_say_who_is_there_the_groups_are_told(ray_local):
    held = placement_group([{"CPU": 1.5}], name="left behind")
    try:
        assert held.wait(20)
        assert waiting.holders() == ["group left behind (1.5 CPU)"]
    finally:
        remove_placement_group(held)


def test_nothing_is_said_where_nothing_waits(ray_local):
    told = []
    with waits_told(told.append, patience=0.1):
        Event().wait(0.5)
    assert told == []
