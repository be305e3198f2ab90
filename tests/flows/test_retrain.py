"""From decision to outcome: one job for each training, whatever is lost, repeated or late on the way."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.decisions import Decision, Verdict
from raypipe.errors import FencedError, NoAnswerError, RegistryError
from raypipe.flows import retrain, rollout
from raypipe.flows.challenge import fence
from raypipe.flows.decide import ask_for, decide_now
from raypipe.flows.experiment import Experiment, Standing
from raypipe.flows.retrain import LEASE, START, drive, drive_on
from raypipe.retraining.standing import answer, standing
from raypipe.retraining.work import Ended, Started, Trained, begin, works
from raypipe.spec import Finish, changed, micros
from raypipe.spec.retrain import AllOf, Failing, NewRows, Retrain, Rollout, Worse
from tests.flows.retraining import AT, Home, cluster, facts

DAY = micros(timedelta(days=1))
WON = Verdict(gain=0.02, low=0.01, rows=5_000, won=True)


@pytest.fixture
def jobs():
    with cluster() as (jobs, port):
        jobs.port = port
        yield jobs


@pytest.fixture
def swaps(monkeypatch):
    """The versions that were put into service."""
    swaps = []
    for module in (retrain, rollout):
        monkeypatch.setattr(module, "swap_where_served", lambda _, version, __: swaps.append(version.version))
    monkeypatch.setattr(rollout, "served", lambda *_: False)
    return swaps


@pytest.fixture
def home(jobs, swaps, tmp_path):
    home = Home(tmp_path / "home", jobs.port, ManualClock(AT))
    home.version(tmp_path / "one")
    home.version(tmp_path / "two", 2.0)
    return home


def kinds(home, prefix):
    return [entry.kind for entry in home.ledger.entries(subject="rides") if entry.kind.startswith(prefix)]


def trained(home, attempt=1, verdict=WON):
    """What the job writes at its end."""
    [*_, work] = works(home.ledger, "rides")
    version = 2 if verdict.won else None
    work.write("trained", Trained(attempt=attempt, version=version, verdict=verdict, seconds=12.0, why="a test"))


def test_every_decision_is_one_row_and_the_same_moment_is_the_same_decision(home):
    quiet = home.rides(Retrain((NewRows(10_000),)))
    for at in (AT, AT + 1, AT + 1):
        assert decide_now(home.platform, quiet, facts(at)).action == "nothing"
    assert kinds(home, "decision.") == ["decision.nothing"] * 2

    loud = home.rides()
    first = decide_now(home.platform, loud, facts(AT + 2))
    assert (first.action, first.number) == ("train", 1)
    assert decide_now(home.platform, loud, facts(AT + 2, new_rows=1)) == first
    assert decide_now(home.platform, loud, facts(AT + 3)).action == "wait"
    assert kinds(home, "decision.") == ["decision.nothing"] * 2 + ["decision.train", "decision.wait"]
    [entry] = home.ledger.entries("decision.train", "rides")
    assert Decision.from_json(entry.body) == first


def test_a_training_is_one_job_however_often_it_is_driven_and_by_how_many(home, jobs, swaps):
    decide_now(home.platform, home.rides(), facts())
    jobs.lose = 2  # it was taken, and nobody heard
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: drive(home.platform, home.rides()), range(24)))
    assert list(jobs.states) == ["rides-retrain-1-1"]
    assert drive(home.platform, home.rides()).under_way
    jobs.states["rides-retrain-1-1"] = "SUCCEEDED"
    trained(home)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: attempt_drive(home), range(24)))
    assert home.registry.champion("rides").version == 2
    assert kinds(home, "retrain.ended") == ["retrain.ended"]
    assert kinds(home, "model.promoted") == ["model.promoted"] * 2
    assert set(swaps) == {2}
    assert drive(home.platform, home.rides()) is None
    assert standing(home.ledger, "rides").note == "won: version 2 is champion: a test"


def attempt_drive(home):
    try:
        return drive(home.platform, home.rides())
    except RegistryError:  # somebody else was quicker
        return None


def test_a_challenger_that_loses_changes_nothing_and_the_policy_waits_longer(home, jobs, swaps):
    policy = Retrain((NewRows(1),), new_rows=0, cooldown=timedelta(hours=1), backoff=timedelta(hours=8))
    decide_now(home.platform, home.rides(policy), facts())
    drive(home.platform, home.rides(policy))
    trained(home, verdict=Verdict(gain=-0.01, low=-0.02, rows=5_000, won=False))
    assert drive(home.platform, home.rides(policy)).note == "lost: a test"
    assert home.registry.champion("rides").version == 1
    assert swaps == []
    hour = 3_600_000_000
    assert decide_now(home.platform, home.rides(policy), facts(AT + hour)).action == "wait"
    assert decide_now(home.platform, home.rides(policy), facts(AT + 2 * hour)).number == 2


@pytest.mark.parametrize("end", ["FAILED", "STOPPED", "SUCCEEDED", "forgotten"])
def test_a_job_that_dies_is_followed_by_another_attempt_up_to_three(home, jobs, end):
    decide_now(home.platform, home.rides(), facts())
    for attempt in (1, 2, 3):
        assert drive(home.platform, home.rides()).attempt == attempt
        if end == "forgotten":
            jobs.states.clear()
        else:
            jobs.states[f"rides-retrain-1-{attempt}"] = end
    assert drive(home.platform, home.rides()).state == "ended"
    assert standing(home.ledger, "rides").note.startswith("failed: all 3 attempts died")
    assert max(jobs.asked.values()) == 1
    assert len(jobs.asked) == 3


def test_what_failed_attempts_held_the_cluster_for_counts_against_the_budget(home, jobs):
    policy = Retrain((NewRows(1),), new_rows=0, cooldown=timedelta(0), budget=700.0)
    decide_now(home.platform, home.rides(policy), facts())
    for attempt in (1, 2, 3):
        drive(home.platform, home.rides(policy))
        jobs.states[f"rides-retrain-1-{attempt}"] = "FAILED"
        home.clock.advance(300_000_000)
    assert drive(home.platform, home.rides(policy)).state == "ended"
    later = facts(AT + 2 * DAY)
    assert decide_now(home.platform, home.rides(policy), later).guards == (
        "900 s of training in 30 days, 700 s allowed",
    )
    enough = home.rides(replace(policy, budget=901.0))
    assert decide_now(home.platform, enough, facts(AT + 2 * DAY + 1)).action == "train"


def test_a_budget_counts_every_training_of_30_days(home):
    """More of them than a decision is made with otherwise; of those before them it knows the newest fifty."""
    policy = Retrain((NewRows(1),), new_rows=0, cooldown=timedelta(0), daily_cap=99, budget=600.0)
    old = [DAY * day for day in range(60)]
    new = [DAY * 85 + DAY // 3 * i for i in range(60)]
    for number, after in enumerate((*old, *new), 1):
        begin(home.ledger, numbered(facts(AT + after), number)).write(
            "ended", Ended(outcome="won", version=None, seconds=10.0, why="a test")
        )
    now = AT + new[-1] + DAY
    decision = decide_now(home.platform, home.rides(policy), facts(now))
    assert decision.guards == ("600 s of training in 30 days, 600 s allowed",)
    assert [one.at for one in decision.history] == [AT + after for after in new]
    assert len(decide_now(home.platform, home.rides(policy), facts(now + 60 * DAY)).history) == 50


def numbered(situation, number):
    """A decision to train for the nth time."""
    return Decision(
        policy="a test",
        action="train",
        triggers=(),
        guards=(),
        why="",
        situation=situation,
        history=(),
        number=number,
        as_of=situation.at,
    )


def test_a_trainer_without_a_sign_of_life_loses_its_lease_and_may_write_nothing_more(home, jobs, tmp_path):
    decide_now(home.platform, home.rides(), facts())
    drive(home.platform, home.rides())
    beats = home.workspace / "retraining"
    beats.mkdir()
    (beats / "rides-retrain-1-1.beat").write_text(str(AT))
    zombie = Home(home.workspace, home.dashboard_port, home.clock, fence("rides", 1, 1))
    home.clock.advance(LEASE)
    assert drive(home.platform, home.rides()).attempt == 1
    home.clock.advance(1)
    assert drive(home.platform, home.rides()).attempt == 2
    assert jobs.stopped == ["rides-retrain-1-1"]
    for commit in (
        lambda: trained(zombie),
        lambda: zombie.version(tmp_path / "three", 3.0),
        lambda: zombie.registry.promote("rides", 2, expect=1, why="I was asleep"),
        lambda: zombie.ledger.append("a stage", "stage.train", "rides"),
    ):
        with pytest.raises(FencedError):
            commit()
    assert len(home.registry.versions("rides")) == 2
    assert home.registry.champion("rides").version == 1
    alive = Home(home.workspace, home.dashboard_port, home.clock, fence("rides", 1, 2))
    trained(alive, attempt=2)
    assert drive(home.platform, home.rides()).note == "won: version 2 is champion: a test"


def test_a_job_that_never_starts_is_given_up(home, jobs):
    decide_now(home.platform, home.rides(), facts())
    drive(home.platform, home.rides())
    jobs.states["rides-retrain-1-1"] = "PENDING"
    home.clock.advance(START)
    assert drive(home.platform, home.rides()).attempt == 1
    home.clock.advance(1)
    assert drive(home.platform, home.rides()).attempt == 2


def test_who_waits_for_a_training_asks_a_busy_cluster_again(home, jobs, monkeypatch):
    monkeypatch.setattr(retrain, "AGAIN", 0.01)
    decide_now(home.platform, home.rides(), facts())
    drive_on(home.platform, home.rides())
    jobs.mute = 3
    assert drive_on(home.platform, home.rides()).note == "a challenger is being trained"
    assert jobs.mute == 0


def test_a_cluster_that_never_answers_is_given_up_and_nothing_is_lost(home, jobs, monkeypatch):
    monkeypatch.setattr(retrain, "AGAIN", 0.01)
    monkeypatch.setattr(retrain, "PATIENCE", 0.2)
    decide_now(home.platform, home.rides(), facts())
    drive_on(home.platform, home.rides())
    jobs.mute = 1_000_000
    said = r"rides-retrain-1-1: .* gives no answer, asked for 0\.2 s\. It is busy"
    with pytest.raises(NoAnswerError, match=said) as told:
        drive_on(home.platform, home.rides())
    assert "()" not in str(told.value)
    assert ": )" not in str(told.value)
    assert 1_000_000 - jobs.mute > 1
    jobs.mute = 0
    assert drive_on(home.platform, home.rides()).attempt == 1


def test_a_person_asks_says_yes_or_says_no(home, jobs):
    careful = home.rides(Retrain((NewRows(1),), new_rows=0, approval=True))
    assert decide_now(home.platform, careful, facts()).action == "ask"
    assert drive(home.platform, careful).state == "asked"
    assert decide_now(home.platform, careful, facts(AT + 1)).action == "wait"
    assert jobs.states == {}
    answer(home.ledger, "rides", yes=False, who="Ada", why="not before the audit")
    refused = drive(home.platform, careful)
    assert (refused.outcome, refused.note) == ("refused", "refused: Ada: not before the audit")
    with pytest.raises(RegistryError, match="nobody is asked"):
        answer(home.ledger, "rides", yes=True, who="Ada", why="now")

    decision = ask_for(home.platform, "rides", "the audit is over", "Ada", AT)
    assert decision.number == 2
    assert drive(home.platform, careful).job == "rides-retrain-2-1"
    with pytest.raises(RegistryError, match="training 2 is under way"):
        ask_for(home.platform, "rides", "again", "Ada", AT)


def test_a_person_cannot_ask_for_a_training_that_would_know_nothing_new(home):
    learned = home.registry.get("rides", 1).lineage.as_of
    with pytest.raises(RegistryError, match=r"nothing is known at .* that was not known when version 1 was trained"):
        ask_for(home.platform, "rides", "again", "Ada", learned)
    assert works(home.ledger, "rides") == []


def test_two_processes_of_one_attempt_do_not_both_work(home):
    decide_now(home.platform, home.rides(), facts())
    [work] = works(home.ledger, "rides")
    work.write("started/1", Started(process="one"))
    with pytest.raises(Exception, match="another content"):
        work.write("started/1", Started(process="two"))


def test_a_new_champion_that_fails_gives_way_to_the_version_before_once(home, swaps):
    policy = Retrain((NewRows(99_999),), roll_back=(Failing(0.01),), probation=timedelta(days=1))
    home.registry.promote("rides", 2, expect=1, why="better", who="a test")
    decision = decide_now(home.platform, home.rides(policy), facts(AT + 1, version=2, failed=0.2))
    assert (decision.action, decision.situation.earlier) == ("rollback", 1)
    for _ in range(3):
        drive(home.platform, home.rides(policy))
    assert home.registry.champion("rides").version == 1
    assert swaps == [1]
    assert "share of requests" in home.registry.history("rides")[-1][1].why
    # Version 1 has nobody before it, and an old champion is not on probation.
    assert decide_now(home.platform, home.rides(policy), facts(AT + 2, failed=0.2)).action == "nothing"


def test_who_was_killed_between_decision_and_training_is_helped_by_the_next(home, jobs, monkeypatch):
    monkeypatch.setattr("raypipe.flows.decide.begin_training", lambda *_: None)
    decide_now(home.platform, home.rides(), facts())
    assert works(home.ledger, "rides") == []
    assert drive(home.platform, home.rides()).number == 1
    assert list(jobs.states) == ["rides-retrain-1-1"]


def seen(arm, spread_p, faults=()):
    """What the logs might say of a challenger that had enough units."""
    one = Standing(
        arm=arm, share=0.5, units=900, predictions=900, labelled=900, loss=0.1, against=None, p99_ms=4.0, failed=0.0,
        faults=faults,
    )  # fmt: skip
    return Experiment((one,), spread_p)


def test_history_names_who_asked_for_a_training_and_why(home):
    ask_for(home.platform, "rides", "the audit is over", "Ada", AT)
    drive(home.platform, home.rides())
    trained(home)
    drive(home.platform, home.rides())
    change = home.registry.history("rides")[-1][1]
    assert (change.version, change.who) == (2, "Ada")
    assert change.why.startswith("training 1, asked for because the audit is over: ")


def answering(home, monkeypatch):
    """A policy whose challenger answers for half of the units, and its arm."""
    policy = home.rides(Retrain((NewRows(100),), rollout=Rollout(shadow=0.0, shares=(0.5,), least=500)))
    monkeypatch.setattr(rollout, "served", lambda *_: True)
    decide_now(home.platform, policy, facts())
    drive(home.platform, policy)
    trained(home)
    drive(home.platform, policy)
    [arm] = home.registry.arms("rides").arms
    return policy, arm


def test_a_challenger_goes_on_only_while_units_are_spread_as_they_should_be(home, monkeypatch):
    """Whoever answers more than its share answers others: nothing is concluded, neither for it nor against it."""
    policy, arm = answering(home, monkeypatch)
    assert (arm.version, arm.share) == (2, 0.5)

    for faults in ((), ("its error is larger",)):
        monkeypatch.setattr(rollout, "compare", lambda *_, faults=faults: seen(arm.name, 0.001, faults))
        assert "the units are not spread as they should be (p = 0.001)" in drive(home.platform, policy).note
        assert home.registry.champion("rides").version == 1
    monkeypatch.setattr(rollout, "compare", lambda *_: seen(arm.name, 0.3))
    drive(home.platform, policy)
    assert home.registry.champion("rides").version == 2


def test_a_challenger_whose_units_stay_unevenly_spread_backs_off(home, monkeypatch):
    policy, arm = answering(home, monkeypatch)
    monkeypatch.setattr(rollout, "compare", lambda *_: seen(arm.name, 0.001))
    home.clock.advance(micros(policy.retrain.rollout.patience) + 1)
    assert "backs off: the units are not spread" in drive(home.platform, policy).note
    assert home.registry.arms("rides").arms == ()
    assert home.registry.champion("rides").version == 1


@pytest.mark.parametrize(("role", "said"), [("shadow", "computes for 30%"), ("challenger", "answers for 30%")])
def test_a_standing_says_where_a_challenger_is(home, role, said):
    decide_now(home.platform, home.rides(), facts())
    drive(home.platform, home.rides())
    trained(home)
    assert standing(home.ledger, "rides", home.registry.arms("rides").arms).state == "trained"
    home.registry.release("rides", 2, role=role, share=0.3, where={}, why="a test", who="a test")
    now = standing(home.ledger, "rides", home.registry.arms("rides").arms)
    assert now.state == {"shadow": "shadow", "challenger": "answering"}[role]
    assert said in now.note


@pytest.mark.parametrize(
    ("change", "note", "champion"),
    [
        ({"faults": ("its error is larger",)}, "lost: version 2 backs off: its error is larger", 1),
        ({"predictions": 499}, "challenger/2: 499 of 500 predictions at 50%", 1),
        ({"predictions": 500}, "won: version 2 is champion: a test", 2),
    ],
)
def test_a_challenger_at_fault_or_hardly_asked_does_not_take_over(home, monkeypatch, change, note, champion):
    policy, arm = answering(home, monkeypatch)
    enough = seen(arm.name, 0.3)
    changed = Experiment((replace(enough.arms[0], **change),), enough.spread_p)
    monkeypatch.setattr(rollout, "compare", lambda *_: changed)
    assert drive(home.platform, policy).note == note
    assert home.registry.champion("rides").version == champion


def test_a_challenger_that_is_hardly_asked_until_the_end_backs_off(home, monkeypatch):
    policy, arm = answering(home, monkeypatch)
    few = replace(seen(arm.name, 0.3).arms[0], predictions=20)
    monkeypatch.setattr(rollout, "compare", lambda *_: Experiment((few,), 0.3))
    home.clock.advance(micros(policy.retrain.rollout.patience) + 1)
    assert drive(home.platform, policy).note == "lost: version 2 backs off: only 20 of 500 predictions came"
    assert home.registry.champion("rides").version == 1


@pytest.mark.parametrize(("roll_back", "roles"), [((AllOf((Worse(),)), Failing()), ["shadow"]), ((Failing(),), [])])
def test_the_version_before_stays_beside_a_new_champion_where_the_two_are_compared(home, monkeypatch, roll_back, roles):
    """Also without a rollout: who is not compared with the one before cannot give way to it because it is worse."""
    policy = home.rides(Retrain((NewRows(100),), roll_back=roll_back, probation=timedelta(days=2)))
    monkeypatch.setattr(rollout, "served", lambda *_: True)
    decide_now(home.platform, policy, facts())
    drive(home.platform, policy)
    trained(home)
    drive(home.platform, policy)
    assert home.registry.champion("rides").version == 2
    arms = home.registry.arms("rides").arms
    assert [arm.role for arm in arms] == roles
    assert [arm.version for arm in arms] == [1] * len(roles)
    home.clock.advance(2 * 86_400_000_000)
    drive(home.platform, policy)
    assert home.registry.arms("rides").arms == ()


def test_a_policy_judges_the_segments_that_the_definition_names(home, monkeypatch):
    """What is worse for some is at fault although it is no worse for all."""
    named = changed(home.rides(), finish=Finish(by=("zone", "no field of a request")))
    monkeypatch.setattr(bundle, "pipeline", lambda _: named)
    asked = []
    monkeypatch.setattr(rollout, "_log", lambda *_: pl.DataFrame())
    monkeypatch.setattr(rollout, "experiment", lambda _, __, arms, salt, by, measure: asked.append(by))
    rollout.compare(home.platform, "rides", home.registry.arms("rides"))
    assert asked == [("zone",)]
