"""``raypipe policy explain`` and what ``raypipe replay`` refuses, before anything is started."""

import json
from datetime import timedelta

import numpy as np
import pytest
from msgspec import structs

from raypipe.cli.main import main
from raypipe.clock import ManualClock, SystemClock, to_second
from raypipe.contracts.bins import Bins, Reference
from raypipe.contracts.decisions import Verdict
from raypipe.contracts.watched import Watched
from raypipe.contracts.watching import PerformanceReport
from raypipe.flows.decide import decide_now
from raypipe.flows.watching import state as kept
from raypipe.flows.watching.state import Tick
from raypipe.monitoring import Monitor, Plan
from raypipe.retraining.work import Ended, Trained, works
from raypipe.settings import load_settings
from raypipe.spec.retrain import Freeze, NewRows, Retrain
from tests.flows.retraining import Home, facts
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
    assert told(capsys)["cure"] == "Did you mean `rides`?"


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
        (["--from", "July", "--to", "2013-07-02", "--policy", "fraud"], '"where": "--from"'),
        (["--from", "2013-07-01", "--to", "July", "--policy", "fraud"], '"where": "--to"'),
        (["--from", "2013-07-01", "--to", "2013-07-02", "--policy", "frod"], "fraud"),
        (["--from", "2013-07-01", "--to", "2013-07-02", "--policy", "none.toml"], "No such file"),
    ],
)
def test_a_replay_tells_its_faults_before_it_starts_anything(file, workspace, capsys, options, said):
    assert main(["replay", file, *options, "--json"]) in (2, 3)
    assert said in json.dumps(told(capsys))


def test_a_moment_that_is_none_names_its_option(file, workspace, capsys):
    for command, option in ((["policy", "explain", file], "--at"), (["drift", "rides"], "--since")):
        assert main([*command, option, "tomorrow", "--json"]) == 2
        refused = told(capsys)
        assert (refused["where"], refused["what"]) == (option, "`tomorrow` is not a date or time")


HOUR = 3_600_000_000


@pytest.fixture
def home(workspace, tmp_path):
    """A champion whose watcher has looked a minute ago, and seen drift."""
    home = Home(workspace, 1, ManualClock(SystemClock().now() - HOUR // 60))
    home.version(tmp_path / "one")
    return home


def drifted(home, **policy):
    """What the watcher decided on: rows have come, and inputs with half of all importance have drifted."""
    seen = structs.replace(facts(home.clock.now(), new_rows=9_000), drift_mass=0.5, drifted=("fare",), regret=12.0)
    return decide_now(home.platform, home.rides(Retrain((NewRows(1),), new_rows=0, **policy)), seen)


@pytest.fixture
def explained(tmp_path, capsys):
    """Ask, with a policy that drift makes train."""
    policy = tmp_path / "drift.toml"
    policy.write_text("any = [{drift = 0.3}]\nnew_rows = 5000\ncooldown_days = 1\nbackoff_days = 30\n")

    def explained():
        assert main(["policy", "explain", "rides", "--policy", str(policy), "--json"]) == 0
        out, err = capsys.readouterr()
        return json.loads(out), err

    return explained


def test_what_the_watcher_saw_is_what_is_decided_on(home, explained):
    decision, said = explained()
    assert (decision["action"], decision["seen"]) == ("nothing", None)
    assert "Nobody watches version 1" in said
    with kept.lock_of(kept.file_of(home.workspace, "rides")):
        decision, said = explained()
    assert (decision["seen"], decision["watched"]) == (None, True)
    assert "Watched, but no tick of version 1 is over yet" in said
    assert "Nobody watches version 1" in explained()[1]
    decide_now(home.platform, home.rides(Retrain((NewRows(99_999),))), structs.replace(facts(), version=2))
    assert explained()[0]["seen"] is None  # of another version
    drifted(home, freeze=(Freeze("2000-01-01", "2999-01-01"),))
    decision, said = explained()
    assert decision["action"] == "train"
    assert decision["seen"] == home.clock.now() < decision["situation"]["at"]
    assert decision["triggers"] == ["asks: inputs that drift are 50% of what the model goes by, limit 30%"]
    assert f"as seen at {to_second(home.clock.now())}." in said
    home.ledger.close()


def test_facts_of_long_ago_are_told_as_such(home, explained):
    home.clock.advance(-30 * HOUR)
    drifted(home, freeze=(Freeze("2000-01-01", "2999-01-01"),))
    assert "nobody has looked since" in explained()[1]


def test_a_training_under_way_a_lost_one_and_a_question_hold_back(home, explained):
    home.clock.advance(-30 * HOUR)
    assert drifted(home).number == 1
    decision, said = explained()
    assert (decision["action"], decision["guards"]) == ("wait", ["a training is under way"])
    assert "Training 1: a challenger is being trained." in said
    [work] = works(home.ledger, "rides")
    work.write("ended", Ended(outcome="lost", version=None, seconds=60.0, why="lost"))
    decision, said = explained()
    assert decision["action"] == "wait"
    assert "less than 2 d ago, longer after 1 lost challenge" in decision["guards"][0]
    assert "Training" not in said
    home.clock.advance(29 * HOUR)
    assert drifted(home, approval=True, cooldown=timedelta(0)).number == 2
    assert "a person has been asked already, and has not answered" in explained()[0]["guards"]


def test_where_a_champion_has_no_policy_the_watcher_itself_knows(home, explained):
    features = (Bins.of_numbers("fare", np.arange(20_000, dtype=np.float32)),)
    score = Bins.of_numbers("score", np.linspace(0, 1, 20_000, dtype=np.float32))
    monitor = Monitor("rides", 1, Watched.of(Reference(rows=20_000, features=features, prediction=score)), Plan())
    moved = np.column_stack([np.linspace(8_000, 20_000, 2_000), np.linspace(0, 1, 2_000)]).astype(np.float32)
    monitor.add(monitor.watched.binning.count(moved))
    now = home.clock.now()
    tick = Tick(monitor.close(now), {}, None, None)
    kept.write(home.workspace / "watch" / "rides.state", kept.State(last={1: tick}))
    decision, _ = explained()
    assert (decision["seen"], decision["situation"]["drifted"]) == (now, ["fare"])
    # Drift asks, but of labels it knows nothing.
    assert decision["guards"] == ["nobody knows how many of 5,000 labelled rows have come since it was trained"]
    known = PerformanceReport(
        at=now, cohorts=(), reference=None, alarm=False, detects=1.0, regret=0.0, new_labels=9_000, unmatched=0
    )
    kept.write(home.workspace / "watch" / "rides.state", kept.State(last={1: structs.replace(tick, outcome=known)}))
    assert explained()[0]["action"] == "train"


def test_status_says_where_a_challenger_stands(home, tmp_path, capsys, monkeypatch):
    drifted(home)
    home.version(tmp_path / "two", 2.0)
    verdict = Verdict(gain=0.02, low=0.01, rows=5_000, won=True)
    [work] = works(home.ledger, "rides")
    work.write("trained", Trained(attempt=1, version=2, verdict=verdict, seconds=1.0, why="a test"))
    home.registry.release("rides", 2, role="shadow", share=1.0, where={}, why="a test", who="a test")
    monkeypatch.setattr("raypipe.services.status", lambda _: ())
    assert main(["status"]) == 0
    assert capsys.readouterr().out.split()[:3] == ["training", "rides/1", "shadow"]
    assert main(["status", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["running"], row["state"]) == (True, "shadow")


def test_rows_about_decisions_that_are_none_do_not_hide_the_last_one(home, explained):
    """That a rollback is done, or a decision was overtaken, is written down beside the decisions."""
    seen = drifted(home).situation
    home.ledger.append("done:a decision", "decision.done", "rides")
    home.ledger.append("overtaken:a decision", "decision.overtaken", "rides")
    found, _ = explained()
    assert found["seen"] == seen.at
    assert found["situation"]["drift_mass"] == 0.5


def test_outcomes_by_a_field_that_no_request_has_are_refused(home, capsys):
    assert main(["drift", "rides", "--by", "zoen", "--json"]) == 2
    refused = told(capsys)
    assert (refused["where"], refused["what"]) == ("--by", "`zoen` is no request field of rides")
    assert refused["cure"] == "Did you mean `zone`?"


@pytest.mark.parametrize(
    "asked",
    [
        ["approve", "rides", "--policy", "hybrid"],
        ["refuse", "rides", "--at", "2013-07-01"],
        ["explain", "rides", "--why", "x"],
    ],
)
def test_an_option_that_would_make_no_difference_is_refused(home, capsys, asked):
    assert main(["policy", *asked, "--json"]) == 2
    error = told(capsys)
    assert (error["where"], error["what"]) == (asked[2], f"means nothing to `policy {asked[0]}`")
    assert error["cure"]


def test_a_pipeline_that_is_not_there_is_told_with_the_nearest(home, capsys):
    assert main(["policy", "refuse", "rydes", "--why", "no", "--json"]) == 1
    assert "Did you mean `rides`?" in told(capsys)["cure"]
    assert main(["policy", "refuse", "rides", "--why", "no", "--json"]) == 1
    assert told(capsys)["what"] == "nobody is asked anything"
