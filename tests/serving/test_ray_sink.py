"""Counts of a replica are added up, and told Ray once."""

from typing import ClassVar

import pytest
from ray.serve._private import request_ingress_metrics
from ray.serve._private.common import RequestProtocol

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


def counted(monkeypatch: pytest.MonkeyPatch) -> ray_sink.RaySink:
    monkeypatch.setattr(ray_sink, "Counter", Counted)
    monkeypatch.setattr(ray_sink, "Gauge", Counted)
    monkeypatch.setattr(ray_sink, "TELL_SECONDS", 3_600)
    monkeypatch.setattr(Counted, "told", [])
    return ray_sink.RaySink("flights")


def test_micro_batches_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = counted(monkeypatch)
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


def test_requests_are_counted_as_serve_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Ray's own names and labels, held against the metrics that Ray defines."""
    defined: dict[str, set[str]] = {}

    class Define:
        def __init__(self, name: str, tag_keys: tuple[str, ...], **_: object) -> None:
            defined[name] = set(tag_keys)

        def set_default_tags(self, _: object) -> None:
            """Nobody looks at them."""

    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(request_ingress_metrics.metrics, kind, Define)
    request_ingress_metrics.RequestIngressMetrics(RequestProtocol.HTTP, source="", node_id="", node_ip_address="")
    sink = counted(monkeypatch)
    for status in (200, 200, 503):
        sink.answered("POST", status)
    sink.tell()
    told = [one for one in Counted.told if one[0] != "raypipe_version"]
    assert {name: set(tags) for name, _, tags in told}.items() <= defined.items()
    mine = {"application": "flights", "route": "/flights", "method": "POST"}
    assert [count for _, count, tags in told if tags == mine | {"status_code": "200"}] == [2]
    assert [count for _, count, tags in told if tags == mine | {"error_code": "503", "deployment": "Model"}] == [1]
    assert len(told) == 4
