"""``raypipe watch``: who watches what does not answer, or cannot be heard, is told so."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from raypipe.cli.main import main
from raypipe.flows.watching.start import Seen


@pytest.mark.parametrize("up", [True, False])
def test_what_is_not_in_service_is_told(
    up: bool, workspace: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = SimpleNamespace(registry=SimpleNamespace(get=lambda *_: None))
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
