"""``raypipe audit parity``: what differs is named, and the exit code says so."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from msgspec import structs

from raypipe.cli import parity
from raypipe.cli.main import main
from raypipe.contracts.parity import FeatureParity, Mismatch, Parity

MISMATCH = Mismatch(feature="fares", key={"town": "Bern"}, at=1_372_809_600_000_000, online="2.0", offline="1.0")


def found(differ: int) -> Parity:
    fares = FeatureParity(feature="fares", compared=9, differ_then=differ, differ_now=4)
    return Parity(
        pipeline="trips",
        rows=9,
        left_out={"the ledger does not know the state it was answered from": 2},
        not_logged=("size",),
        features=(fares, FeatureParity(feature="trips", compared=9, differ_then=0, differ_now=0)),
        mismatches=(MISMATCH,) * differ,
    )


def limited(whole: Parity, at_most: int | None) -> Parity:
    return structs.replace(whole, mismatches=whole.mismatches[:at_most])


class Named:
    """A registry that has models of these names."""

    def names(self) -> list[str]:
        return ["trips"]


@pytest.fixture(autouse=True)
def replayed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    differ = request.node.callspec.params["differ"]
    platform = SimpleNamespace(ledger=SimpleNamespace(close=lambda: None))
    monkeypatch.setattr("raypipe.wiring.connect", lambda: platform)
    monkeypatch.setattr(parity, "kept", lambda: nullcontext(SimpleNamespace(registry=Named())))
    monkeypatch.setattr(parity, "logs_of", lambda *_: [])
    monkeypatch.setattr("raypipe.flows.parity.parity", lambda *_, at_most, **__: limited(found(differ), at_most))


@pytest.mark.parametrize("differ", [0, 1])
def test_people_read_what_differs(differ: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "parity", "trips"]) == differ
    out = capsys.readouterr().out
    assert "2 requests left out: the ledger does not know the state it was answered from." in out
    assert "Not in the log: size." in out
    if differ:
        assert "✗ fares of town=Bern at 2013-07-03T00:00:00Z: serving used 2.0, history gives 1.0" in out
        assert out.rstrip().endswith("different: 9 requests replayed; serving used other values of fares")
    else:
        assert out.rstrip().endswith("equal: 9 requests, as known then")


@pytest.mark.parametrize("differ", [0, 1])
def test_programs_read_one_document(differ: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "parity", "trips", "--json"]) == differ
    document = json.loads(capsys.readouterr().out)
    assert document["equal"] is (differ == 0)
    assert document["parity"]["features"][0]["differ_now"] == 4
    assert [one["feature"] for one in document["parity"]["mismatches"]] == ["fares"] * differ


@pytest.mark.parametrize("differ", [9])
def test_the_terminal_shows_some_and_programs_have_all(differ: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "parity", "trips"]) == 1
    out = capsys.readouterr().out
    assert out.count("✗ fares of town=Bern") == 5
    assert "and 4 more of fares: `--json` has all." in out
    assert "more of trips" not in out
    assert main(["audit", "parity", "trips", "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["parity"]["mismatches"]) == 9


@pytest.mark.parametrize("differ", [0])
def test_a_file_needs_a_definition(differ: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "parity", "trips", "--log", "log.parquet"]) == 2
    assert "--log: needs a definition to replay by. Give the pipeline's file" in capsys.readouterr().err.replace(
        "\n", " "
    )


@pytest.mark.parametrize("differ", [0])
def test_a_name_that_is_no_model_is_told(differ: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "parity", "trip", "--json"]) == 1
    assert "trips" in json.loads(capsys.readouterr().out)["error"]["cure"]


@pytest.mark.parametrize("differ", [0])
def test_nothing_compared_is_no_green_light(
    differ: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Parity(pipeline="trips", rows=0, left_out={"gone": 9}, not_logged=(), features=(), mismatches=())
    monkeypatch.setattr("raypipe.flows.parity.parity", lambda *_, **__: nothing)
    assert main(["audit", "parity", "trips"]) == 1
    assert "nothing compared: no request could be replayed" in capsys.readouterr().out
