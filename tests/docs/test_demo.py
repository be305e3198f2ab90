"""`make demo` goes on where an earlier one ended, and shows what it shows at its end."""

from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace, TracebackType
from typing import Self

import pytest

from examples.flights import demo


class Service:
    """Holds a champion whose holdout ends on ``until``; answers all questions alike."""

    def __init__(self, until: str) -> None:
        self.until = until

    def __call__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is to be closed."""

    def models(self, _: str) -> list[SimpleNamespace]:
        earlier = SimpleNamespace(aliases=(), lineage={"holdout": {"to": "2013-01-01T00:00:00Z"}})
        champion = SimpleNamespace(aliases=("champion",), lineage={"holdout": {"to": f"{self.until}T00:00:00Z"}})
        return [earlier, champion]

    def predict(self, _: str, **asked: object) -> SimpleNamespace:
        return SimpleNamespace(version=2, probability=0.25)


@pytest.mark.parametrize(
    ("until", "july"),
    [("2013-07-03", "replay"), ("2013-07-10", "history")],
    ids=["the champion knows nothing of July", "a killed demo's challenger has taken over"],
)
def test_july_is_lived_or_told_and_the_questions_are_asked_again(
    until: str, july: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[list[str | Path]] = []

    def run(command: list[str | Path], check: bool) -> CompletedProcess[bytes]:
        given.append(command)
        return CompletedProcess(command, 0)

    monkeypatch.setattr(demo, "Client", Service(until))
    monkeypatch.setattr(demo.subprocess, "run", run)
    assert demo.main() == 0
    assert [command[1] for command in given] == ["run", july, "status"]
    told = capsys.readouterr().out
    assert told.index("Asked over HTTP") < told.index("Asked again, of the new champion")
    assert ("took over in July already, and was judged on flights up to 2013-07-10" in told) == (july == "history")


def test_a_july_that_fails_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str | Path], check: bool) -> CompletedProcess[bytes]:
        return CompletedProcess(command, 7 if command[1] == "replay" else 0)

    monkeypatch.setattr(demo, "Client", Service("2013-07-03"))
    monkeypatch.setattr(demo.subprocess, "run", run)
    assert demo.main() == 7
