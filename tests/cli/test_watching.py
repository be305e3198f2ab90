"""``raypipe watch``: who watches what does not answer, or cannot be heard, is told so."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from raypipe.cli.main import main
from raypipe.cli.watching import _first
from raypipe.flows.watching.start import FirstTick, Seen


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (None, "the first is 1 h after the first question, with 200 questions or more."),
        (9_000_000_000_000_000, "the first is at 2255-03-14T16:00:00Z or later, with 200 questions; 40 were asked."),
        (1_372_640_400_000_000, "the first is with 200 questions; 40 were asked."),
    ],
)
def test_how_far_the_first_tick_is(at: int | None, said: str) -> None:
    assert f"No tick is over yet: {said}" == _first(
        FirstTick(at=at, span=3_600_000_000, rows=40, least=200), 10**16 // 6
    )


@pytest.mark.parametrize("up", [True, False])
def test_what_is_not_in_service_is_told(
    up: bool, workspace: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = SimpleNamespace()
    monkeypatch.setattr("raypipe.registry.Registry.get", lambda *_: None)
    seen = Seen(pipeline="rides", watching=True, versions=(), untold=1, unreached=("env:SLACK: holds nothing",))
    monkeypatch.setattr("raypipe.cli.opened.opened", lambda *_: nullcontext(platform))
    monkeypatch.setattr("raypipe.flows.swap.served", lambda *_: up)
    monkeypatch.setattr("raypipe.flows.watching.start.start_watch", lambda *_: None)
    monkeypatch.setattr("raypipe.flows.watching.start.seen_by", lambda *_: seen)
    assert main(["watch", "rides"]) == 0
    out = capsys.readouterr().out
    assert "rides is watched." in out
    assert "1 alarms could not be told yet; they are tried again every minute.\n    env:SLACK: holds nothing\n" in out
    assert ("rides is not in service now: `raypipe up` brings back what was." in out) is not up


def test_a_model_that_is_not_there_is_told_before_a_cluster_is_started(
    workspace: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.cli.opened.opened", lambda *_: pytest.fail("a cluster was started"))
    assert main(["watch", "rides"]) == 1
    assert "rides: no version of this model is registered" in capsys.readouterr().err
