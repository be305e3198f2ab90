"""``raypipe predict`` against a service, ``raypipe models`` on a workspace."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from msgspec import structs

from raypipe import Client, models
from raypipe.cli.main import main
from raypipe.cli.tables import model_document
from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.errors import RaypipeError
from raypipe.flows.predict import BatchPrediction
from raypipe.ledger import Ledger
from raypipe.registry.rows import PROMOTED, REGISTERED, Promotion, Registered
from raypipe.spec import to_json
from tests.cli.records import LINEAGE, MADE, version
from tests.client.server import Server, flights, serving
from tests.training.data import pipeline


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Iterator[Server]:
    with serving() as found:
        flights(found)
        monkeypatch.setenv("RAYPIPE_SERVE_PORT", found.url.rpartition(":")[2])
        yield found


def test_a_question(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--carrier", "UA", "--flight=345", "tailnum=123", "--scheduled-at", "2013-07-03T09:15:00Z"]
    assert main(["predict", "flights", *words]) == 0
    # The service says what is a number: a tail number is not, whatever it looks like.
    assert server.asked[-1].body == {
        "carrier": "UA",
        "flight": 345,
        "tailnum": "123",
        "scheduled_at": "2013-07-03T09:15:00Z",
    }
    id = server.asked[-1].headers["x-request-id"]
    assert capsys.readouterr().out == f"34.5%   flights version 3, features as of 2013-07-03T00:00:00Z   request {id}\n"


def test_a_question_as_json(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "flights", "flight=900", "--json", "carrier=UA"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "probability": 0.9,
        "label": True,
        "model": "flights",
        "version": 3,
        "features_as_of": "2013-07-03T00:00:00Z",
        "request_id": server.asked[-1].headers["x-request-id"],
    }


def test_rows_of_a_file(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"flight": 100, "tailnum": null}\n{"flight": 250}\n')
    assert main(["predict", "flights", "--json-file", str(file), "--json"]) == 0
    assert [row["probability"] for row in json.loads(capsys.readouterr().out)] == [0.1, 0.25]
    assert main(["predict", "flights", "--json-file", str(file)]) == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert rows[-2:] == [["1", "10.0%", "3"], ["2", "25.0%", "3"]]
    file.write_text('{"flight": 100}')
    assert main(["predict", "flights", "--json-file", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["probability"] == 0.1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flights", "flight=UA1545"], "flight: must be a whole number, not text. Send 1545."),
        (["flihgts", "flight=1"], "flihgts: no such pipeline is served. Did you mean `flights`?"),
        (["flights", "--flight"], "--flight: has no value"),
        (["flights", "flight=1", "--json-file", "rows.json"], "--json-file: a file and fields are given"),
        (["flights", "--json-file", "nowhere.json"], "nowhere.json: no such file or directory"),
    ],
)
def test_a_question_that_cannot_be_asked(
    server: Server, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["predict", *words]) != 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {said}")


@pytest.fixture
def registered(workspace: Path) -> None:
    """Two versions of flights, the first of them champion."""
    ledger = Ledger.in_folder(workspace, ManualClock(MADE))
    for number in (1, 2):
        metrics = {"auc": 0.76 + number / 100, "log_loss": 0.43}
        row = Registered(version=number, algorithm="lightgbm", metrics=metrics, digest=f"d{number}", lineage=LINEAGE)
        ledger.append(f"{REGISTERED}/flights/{number}", REGISTERED, "flights", row.to_json())
    change = Promotion(
        slot="champion", version=1, digest="d1", previous=None, rollback=False, why="the first", who="test"
    )
    ledger.append("p1", PROMOTED, "flights", change.to_json())
    ledger.close()


def test_models_as_json(registered: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "flights", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(m["version"], m["aliases"], m["algorithm"]) for m in found] == [
        (1, ["champion"], "lightgbm"),
        (2, [], "lightgbm"),
    ]
    assert {frozenset(model) for model in found} == {
        frozenset({"version", "aliases", "algorithm", "metrics", "created", "lineage"})
    }
    assert found[0]["metrics"]["auc"] == 0.77
    assert found[0]["created"] == "2013-07-03T00:00:00Z"
    assert found[0]["lineage"]["commit"] == LINEAGE.commit


def test_the_rows_that_metrics_are_on_are_told_beside_them(tmp_path: Path) -> None:
    (tmp_path / bundle.PIPELINE).write_text(to_json(pipeline(models.Linear())))
    there = structs.replace(version(1), folder=str(tmp_path))
    assert model_document(there)["lineage"]["holdout"] == {"from": "2013-03-01T00:00:00Z", "to": "2013-04-01T00:00:00Z"}
    assert model_document(version(1))["lineage"]["holdout"] is None


def test_models_as_a_table(registered: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "flights"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[2][:3] == ["2", "lightgbm", "0.780"]
    assert lines[3][:4] == ["1", "champion", "lightgbm", "0.770"]


def test_a_long_past_is_cut_for_people_alone(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger.in_folder(workspace, ManualClock(MADE))
    for number in range(1, 53):
        row = Registered(version=number, algorithm="linear", metrics={"auc": 0.5}, digest="d", lineage=LINEAGE)
        ledger.append(f"{REGISTERED}/rides/{number}", REGISTERED, "rides", row.to_json())
    ledger.close()

    def shown(*words: str) -> list[list[str]]:
        assert main(["models", *words]) == 0
        return [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]

    numbers = [line[0] for line in shown("rides")[2:]]
    assert numbers == [*map(str, range(52, 2, -1)), "2"]  # the last line: 2 older ones
    assert [line[0] for line in shown("rides", "--last", "52")[2:]] == [*map(str, range(52, 0, -1))]
    assert [line[0] for line in shown()[3:]] == ["52", "51", "50", "49"]
    assert main(["models", "rides", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 52


def test_the_models_of_every_pipeline(registered: None, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger.in_folder(workspace, ManualClock(MADE))
    row = Registered(version=1, algorithm="linear", metrics={"auc": 0.5}, digest="d9", lineage=LINEAGE)
    ledger.append(f"{REGISTERED}/rides/1", REGISTERED, "rides", row.to_json())
    ledger.close()
    assert main(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["version"]) for one in found] == [("flights", 1), ("flights", 2), ("rides", 1)]
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert out.index("flights\n") < out.index("lightgbm") < out.index("rides\n") < out.index("linear")


def test_an_unknown_model(registered: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "flihgts"]) == 1
    said = "error: flihgts: no model of this name is registered. Did you mean `flights`?\n"
    assert capsys.readouterr().err == said


def test_looking_for_models_makes_no_workspace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAYPIPE_WORKSPACE", str(tmp_path / "nowhere"))
    assert main(["models", "flights"]) == 1
    assert "no workspace is there yet. Make a model with `raypipe run FILE`" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_client_reads_the_same(registered: None) -> None:
    with Client() as client:
        found = client.models("flights")
        assert [(m.version, m.aliases, m.metrics["auc"]) for m in found] == [(1, ("champion",), 0.77), (2, (), 0.78)]
        with pytest.raises(RaypipeError, match=r"flihgts: no model of this name .* Did you mean `flights`\?"):
            client.models("flihgts")


@pytest.mark.parametrize(("refused", "code"), [(3, 1), (2, 0)])
def test_a_batch_of_which_no_row_is_answered_has_failed(
    refused: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = BatchPrediction(
        name="flights", version=1, batch="b", table="batches.flights", snapshot_id=1, rows=3, refused=refused,
        because={"scheduled_at: is older than the stored features": refused}, added=True,
    )  # fmt: skip
    monkeypatch.setattr("raypipe.cli.opened.opened", lambda *_: nullcontext(None))
    monkeypatch.setattr("raypipe.flows.deploy.champion", lambda *_: version(1))
    monkeypatch.setattr("raypipe.flows.predict.predict", lambda *_, **__: made)
    assert main(["predict", "flights", "--batch", "rows.parquet", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["refused"] == refused


@pytest.mark.parametrize(
    "command", ["models", "log", "experiment", "scale", "features", "drift", "policy explain --policy hybrid"]
)
def test_a_name_that_is_misspelt_is_told(registered: None, capsys: pytest.CaptureFixture[str], command: str) -> None:
    first, *rest = command.split()
    assert main([first, *rest[:1], "flihgts", *rest[1:]]) != 0
    assert "flihgts: no model of this name is registered. Did you mean `flights`?" in capsys.readouterr().err
