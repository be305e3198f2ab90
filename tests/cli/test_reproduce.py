"""``raypipe reproduce``: what it prints, and its exit code."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from raypipe import wiring
from raypipe.cli.main import main
from raypipe.clock import ManualClock
from raypipe.contracts.reproduction import Compared, Reproduction
from raypipe.flows import reproduce
from raypipe.ledger import Ledger
from raypipe.registry.rows import REGISTERED, Registered
from tests.cli.records import LINEAGE, MADE

SAME = Compared(what="training set", same=True, recorded="t", found="t")
OTHER = Compared(what="model.txt", same=False, recorded="a" * 64, found="b" * 64)
LOCK = Compared(what="dependency", same=False, recorded="lightgbm 4.5.0", found="lightgbm 4.6.0")


@pytest.fixture(autouse=True)
def registered(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.in_folder(workspace, ManualClock(MADE))
    row = Registered(version=1, algorithm="linear", metrics={"auc": 0.7}, digest="d1", lineage=LINEAGE)
    ledger.append(f"{REGISTERED}/flights/1", REGISTERED, "flights", row.to_json())
    monkeypatch.setattr(wiring, "connect", lambda: SimpleNamespace(ledger=ledger))


def comes_to(monkeypatch: pytest.MonkeyPatch, because: str, *results: Compared) -> None:
    made = Reproduction(version="flights/1", results=results, surroundings=(LOCK,), because=because)
    monkeypatch.setattr(reproduce, "reproduce", lambda *_: made)


def test_identical(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    comes_to(monkeypatch, "", SAME)
    assert main(["reproduce", "flights/1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["✓", "training", "set", "t"]
    assert lines[1:] == ["  dependency then: lightgbm 4.5.0; now: lightgbm 4.6.0", "identical: flights/1"]


def test_different(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    comes_to(monkeypatch, "dependency", SAME, OTHER)
    assert main(["reproduce", "flights/1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["✗", "model.txt", "was", "aaaaaaaaaaaa…,", "is", "bbbbbbbbbbbb…"]
    said = "different: flights/1, first in its model.txt. It comes from the dependency, as far as the record tells."
    assert lines[-1] == said
    assert main(["reproduce", "flights/1", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["identical"], found["because"], len(found["results"])) == (False, "dependency", 2)


def test_nothing_is_known_that_differs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    comes_to(monkeypatch, "unknown", OTHER)
    assert main(["reproduce", "flights/1"]) == 1
    assert "Code, dependencies and hardware are those of the record" in capsys.readouterr().out


def test_an_unknown_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "flights/9"]) == 1
    assert "flights: has no version `9`" in capsys.readouterr().err
