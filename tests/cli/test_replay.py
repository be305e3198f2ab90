"""``raypipe replay``: its picture is the same each time, and what it refuses it tells with a cure that it has."""

import json
from contextlib import nullcontext
from xml.etree import ElementTree as ET

import pytest

from raypipe.cli.main import main
from raypipe.cli.replay_plot import draw
from raypipe.errors import GateError, WorkspaceError
from raypipe.flows.replay import Replayed
from raypipe.flows.replay.replay import Trained
from tests.spec.rides import RIDES

DATES = ["--from", "2013-07-01", "--to", "2013-07-02"]


def replayed(policy: str, days: int) -> Replayed:
    trained = tuple(Trained(day=f"2013-07-{2 + day:02}", won=day % 2 == 0, seconds=20.0) for day in range(days))
    return Replayed(
        policy=policy,
        rows=10,
        loss=0.45,
        weekly=(("2013-07-01", 0.4), ("2013-07-08", 0.5)),
        trainings=days,
        won=sum(one.won for one in trained),
        seconds=20.0 * days,
        alarms=2,
        approved=0,
        recovery_days=None,
        decisions=(),
        trained=trained,
        raised=(("2013-07-05", 2),),
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pipeline.py"
    path.write_text(RIDES)
    return str(path)


def test_the_picture_has_four_panels_and_the_same_bytes_each_time(tmp_path):
    results = [replayed("never", 0), replayed("weekly", 3)]
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    draw(results, first, "flights")
    draw(results, second, "flights")
    assert first.read_bytes() == second.read_bytes()
    groups = [group.get("id", "") for group in ET.parse(first).iter("{http://www.w3.org/2000/svg}g")]
    assert sum(name.startswith("axes_") for name in groups) == 4
    assert "<!-- weekly: 2 of 3 -->" in first.read_text()


def test_an_ending_of_no_picture_is_refused(tmp_path):
    with pytest.raises(WorkspaceError, match=r"Use \.png, \.svg or \.pdf"):
        draw([replayed("never", 0)], tmp_path / "a.doc", "flights")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policy", "hybrid", "--tick-hours", "5"], "do not divide a day"),
        (["--live", "--tick-hours", "1"], "--tick-hours"),
        (["--live", "--daily"], "--daily"),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(file, workspace, capsys, options, said):
    assert main(["replay", file, *DATES, *options, "--json"]) == 2
    assert said in json.dumps(json.loads(capsys.readouterr().out))


def test_a_closed_gate_has_a_cure_that_replay_has(file, workspace, monkeypatch, capsys):
    def closed(*_):
        cure = "Correct the data, or go on with `--bypass-gate REASON`"
        raise GateError("1 of 3 checks failed", where="gate of rides", cure=cure, shown=("  rides: rows(9) failed",))

    monkeypatch.setattr("raypipe.cli.opened.opened", lambda *_: nullcontext())
    monkeypatch.setattr("raypipe.flows.Run", closed)
    assert main(["replay", file, *DATES, "--policy", "hybrid"]) == 4
    told = " ".join(capsys.readouterr().err.split())
    assert "rides: rows(9) failed" in told
    assert "bypass" not in told
    assert ".quarantine()" in told
