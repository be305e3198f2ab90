"""``raypipe retrain``: the exit code says whether the training came to something."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from raypipe.cli import retrain
from raypipe.cli.main import main
from raypipe.contracts.decisions import Outcome
from raypipe.retraining.standing import Standing


@pytest.mark.parametrize(("outcome", "code"), [("failed", 1), ("won", 0), ("lost", 0)])
def test_a_training_that_failed_is_no_success(
    outcome: Outcome, code: int, workspace: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Standing(
        pipeline="rides", number=2, state="ended", outcome=outcome, attempt=1, job="", note=f"{outcome}: so it is",
        under_way=False,
    )  # fmt: skip
    monkeypatch.setattr("raypipe.cli.opened.opened", lambda *_: nullcontext(SimpleNamespace()))
    monkeypatch.setattr(retrain, "_definition", lambda *_: None)
    monkeypatch.setattr(retrain, "_follow", lambda *_: ended)
    assert main(["retrain", "rides"]) == code
    assert f"rides: training 2 {outcome}: so it is" in capsys.readouterr().out
