"""``raypipe lineage``: as a tree, as JSON, as a picture."""

import json
from pathlib import Path

import pytest

from raypipe.cli.main import main
from raypipe.clock import ManualClock
from raypipe.ledger import Ledger
from raypipe.registry.rows import REGISTERED, Registered
from tests.cli.records import LINEAGE, MADE


@pytest.fixture(autouse=True)
def registered(workspace: Path) -> None:
    ledger = Ledger.in_folder(workspace, ManualClock(MADE))
    row = Registered(version=1, algorithm="linear", metrics={"auc": 0.7}, digest="d1", lineage=LINEAGE)
    ledger.append(f"{REGISTERED}/flights/1", REGISTERED, "flights", row.to_json())
    ledger.close()


def test_a_tree_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lineage", "flights/1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "flights/1  linear, holdout auc 0.7000, digest d1",
        "└── training set  digest t",
        "    └── flights  snapshot 7",
    ]
    assert lines[3:] == [
        "The ledger lacks the record of its training set.",
        "The ledger lacks a gate that passed these snapshots.",
        "The ledger lacks the record of its search.",
    ]


def test_json_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, picture = tmp_path / "l.html", tmp_path / "l.svg"
    assert main(["lineage", "flights/1", "--json", "--html", str(page), "--svg", str(picture)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], len(found["nodes"]), len(found["edges"])) == ("flights/1", 3, 2)
    assert picture.read_text().startswith("<svg ")
    assert "Where flights/1 comes from" in page.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flights"], "flights: has no champion. Promote one of its 1 versions."),
        (["flights/2"], "flights: has no version `2`"),
        (["/2"], "names no model"),
        (["fligths/1"], "fligths: no model of this name is registered. Did you mean `flights`?"),
        (["flights/1", "--svg", "/nowhere/l.svg"], "/nowhere/l.svg: cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_told(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["lineage", *words]) == 1
    assert said in capsys.readouterr().err
