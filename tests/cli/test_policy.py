"""``raypipe policy explain`` and what ``raypipe replay`` refuses, before anything is started."""

import json

import pytest

from raypipe.cli.main import main
from raypipe.clock import SystemClock
from raypipe.settings import load_settings
from tests.flows.watched import make_champion
from tests.spec.rides import RIDES


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pipeline.py"
    path.write_text(RIDES)
    return str(path)


def told(capsys):
    return json.loads(capsys.readouterr().out)["error"]


def test_without_a_champion_there_is_nothing_to_decide(file, workspace, capsys):
    assert main(["policy", "explain", file, "--policy", "fraud", "--json"]) == 1
    assert told(capsys)["what"] == "has no champion"


def test_a_name_stands_for_the_definition_of_its_champion(workspace, tmp_path, capsys):
    make_champion(load_settings(), tmp_path / "made", SystemClock())
    assert main(["policy", "explain", "rides", "--policy", "hybrid", "--json"]) == 0
    decision = json.loads(capsys.readouterr().out)
    assert (decision["situation"]["version"], decision["policy"]) == (1, "hybrid")
    assert main(["policy", "explain", "ride", "--policy", "hybrid", "--json"]) == 1
    assert told(capsys)["what"] == "has no champion"


def test_a_pinned_pipeline_does_not_age_by_the_clock(workspace, tmp_path, capsys):
    make_champion(load_settings(), tmp_path / "made", SystemClock())
    pinned = tmp_path / "pinned.py"
    pinned.write_text(RIDES.rstrip().removesuffix(")") + "    as_of='2013-05-06',\n)\n")
    assert main(["policy", "explain", str(pinned), "--policy", "compliance", "--json"]) == 0
    situation = json.loads(capsys.readouterr().out)["situation"]
    assert situation["known"] == 1_367_798_400_000_000
    assert situation["at"] > situation["known"]


@pytest.mark.parametrize("command", [["policy", "explain"], ["replay", "--from", "2013-07-01", "--to", "2013-07-02"]])
def test_a_pipeline_without_a_policy_needs_one(file, workspace, capsys, command):
    assert main([*command, file, "--json"]) == 2
    assert "hybrid" in told(capsys)["cure"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "2013-07-02", "--to", "2013-06-01", "--policy", "fraud"], "last day is before"),
        (["--from", "July", "--to", "2013-07-02", "--policy", "fraud"], "not a date"),
        (["--from", "2013-07-01", "--to", "2013-07-02", "--policy", "frod"], "fraud"),
        (["--from", "2013-07-01", "--to", "2013-07-02", "--policy", "none.toml"], "No such file"),
    ],
)
def test_a_replay_tells_its_faults_before_it_starts_anything(file, workspace, capsys, options, said):
    assert main(["replay", file, *options, "--json"]) in (2, 3)
    assert said in json.dumps(told(capsys))
