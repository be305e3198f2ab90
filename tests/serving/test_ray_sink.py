"""Counts of a replica are added up, and told Ray once."""

from typing import ClassVar

import pytest

from raypipe.serving import ray_sink


class Counted:
    """Stands in for Ray's counter and gauge: keeps what it is told."""

    told: ClassVar[list[tuple[str, float, dict[str, str]]]] = []

    def __init__(self, name: str, _: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.tag_keys = name, tag_keys

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert tags.keys() == set(self.tag_keys)
        self.told.append((self.name, value, tags))

    set = inc


def test_micro_batches_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_sink, "Counter", Counted)
    monkeypatch.setattr(ray_sink, "Gauge", Counted)
    monkeypatch.setattr(ray_sink, "TELL_SECONDS", 3_600)
    monkeypatch.setattr(Counted, "told", [])
    sink = ray_sink.RaySink("flights")
    sink.champion(3)
    for _ in range(2):
        sink.computed(3, ["champion", "champion", "challenger"], features=0.5, model=0.25)
    sink.unseen("carrier", 0)
    sink.refused(422)
    assert [name for name, *_ in Counted.told] == ["raypipe_version"]
    sink.tell()
    sink.tell()
    mine = {"pipeline": "flights"}
    assert sorted(Counted.told[1:], key=str) == sorted(
        [
            # What is not said again, Ray forgets.
            ("raypipe_version", 3, mine),
            ("raypipe_version", 3, mine),
            ("raypipe_predictions", 4, mine | {"version": "3", "arm": "champion"}),
            ("raypipe_predictions", 2, mine | {"version": "3", "arm": "challenger"}),
            ("raypipe_batches", 2, mine),
            ("raypipe_compute_seconds", 1.0, mine | {"part": "features"}),
            ("raypipe_compute_seconds", 0.5, mine | {"part": "model"}),
            ("raypipe_refused", 1, mine | {"status": "422"}),
        ],
        key=str,
    )
