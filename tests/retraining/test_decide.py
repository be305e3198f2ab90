"""Each trigger asks at its limit and not before; each guard holds back; the same facts give the same decision."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

from raypipe.contracts.decisions import Situation, Training
from raypipe.retraining.decide import decide, looked_after
from raypipe.spec.retrain import (
    PRESETS,
    Age,
    AllOf,
    Drift,
    Errors,
    EstimatedLoss,
    Freeze,
    NewRows,
    Regret,
    Relearn,
    Retrain,
    Schedule,
)  # fmt: skip

DAY = 86_400_000_000
MONDAY = 1_383_544_800_000_000  # 2013-11-04 06:00 UTC
CALM = Situation(pipeline="m", version=1, at=MONDAY, since=MONDAY - 10 * DAY, looked=MONDAY - DAY, new_rows=9_000)
EAGER = Retrain((NewRows(1),), cooldown=timedelta(0))


def after(**facts):
    return structs.replace(CALM, **facts)


@pytest.mark.parametrize(
    ("trigger", "quiet", "loud"),
    [
        (Schedule("0 6 * * MON"), after(at=MONDAY - 1_000_000), CALM),
        (Schedule("0 6 * * MON"), after(looked=MONDAY), CALM),
        (Schedule("0 1 * * MON", "America/New_York"), after(at=MONDAY - 1_000_000), CALM),
        (Errors(), after(errors=False), after(errors=True)),
        (Errors(), after(errors=None), after(errors=True)),
        (Errors(0.5), after(errors=True, error_rise=0.49), after(errors=True, error_rise=0.5)),
        (Errors(0.5), after(errors=None), after(errors=True, error_rise=0.5)),
        (Regret(50), after(regret=49.9), after(regret=50)),
        (EstimatedLoss(0.1), after(estimated_rise=0.05), after(estimated_rise=0.11)),
        (Drift(0.3), after(drift_mass=0.2), after(drift_mass=0.3)),
        (Drift(0.3), after(drift_mass=0.0, drifted=("score",)), after(drift_mass=0.5)),
        (Drift(0.3, score=True), after(drift_mass=0.0), after(drift_mass=0.0, drifted=("score",))),
        (Age(timedelta(days=10)), after(since=CALM.since + 1), CALM),
        (Age(timedelta(days=5)), after(known=CALM.since + 5 * DAY - 1), after(known=CALM.since + 5 * DAY)),
        (NewRows(9_000), after(new_rows=8_999), CALM),
        (AllOf((Errors(), Drift(0.3))), after(errors=True, drift_mass=0.1), after(errors=True, drift_mass=0.4)),
    ],
)
def test_a_trigger_asks_at_its_limit(trigger, quiet, loud):
    policy = Retrain((trigger,), new_rows=0)
    assert decide(policy, quiet, []).action == "nothing"
    assert decide(policy, loud, []).action == "train"


def trained(*outcomes, ago=DAY, seconds=10.0):
    return [Training(at=MONDAY - ago * (len(outcomes) - i), seconds=seconds, outcome=o) for i, o in enumerate(outcomes)]


@pytest.mark.parametrize(
    ("policy", "facts", "history", "word"),
    [
        (EAGER, after(breaks=("seats: 60% missing",)), [], "broken"),
        (EAGER, CALM, trained("running", ago=9 * DAY), "under way"),
        (EAGER, CALM, trained("asked", ago=9 * DAY), "asked already"),
        (Retrain((NewRows(1),), new_rows=10_000), CALM, [], "10,000"),
        (Retrain((Age(timedelta(days=1)),), new_rows=1), after(new_rows=None), [], "nobody knows how many of 1 "),
        (Retrain((NewRows(1),), cooldown=timedelta(days=2)), CALM, trained("won"), "2 d ago"),
        (Retrain((NewRows(1),), cooldown=timedelta(days=2)), CALM, trained("lost", ago=3 * DAY), "1 lost challenge"),
        (Retrain((NewRows(1),), cooldown=timedelta(0), daily_cap=1), CALM, trained("won", ago=DAY // 2), "24 hours"),
        (EAGER, after(known=CALM.since), [], "nothing is known that was not known"),
        (Retrain((NewRows(1),), budget=25), CALM, trained("won", "won", "won", ago=2 * DAY), "30 s of training"),
        (Retrain((NewRows(1),), freeze=(Freeze("2013-11-04", "2013-11-04"),)), CALM, [], "frozen"),
    ],
)
def test_a_guard_holds_back_and_says_so(policy, facts, history, word):
    decision = decide(policy, facts, history)
    assert decision.action == "wait"
    assert word in decision.why
    assert decide(EAGER, CALM, []).action == "train"


def test_where_no_new_rows_are_asked_for_nobody_has_to_know_them():
    assert decide(Retrain((Age(timedelta(days=1)),), new_rows=0), after(new_rows=None), []).action == "train"


def test_challenges_that_were_lost_put_a_training_off_up_to_a_limit():
    """After four of them a day has become sixteen; three are the most."""
    policy = Retrain((NewRows(1),), cooldown=timedelta(days=1), backoff=timedelta(days=3))
    lost = trained("lost", "lost", "lost", "lost", ago=3 * DAY)
    assert decide(policy, CALM, lost).action == "train"
    assert decide(policy, after(at=MONDAY - 1), lost).action == "wait"


def test_the_cooldown_is_over_when_it_is_over():
    policy = Retrain((NewRows(1),), cooldown=timedelta(days=1))
    assert decide(policy, CALM, trained("won")).action == "train"
    assert decide(policy, after(at=MONDAY - 1), trained("won")).action == "wait"


def test_a_person_is_asked_where_the_policy_says_so():
    assert decide(Retrain((NewRows(1),), approval=True), CALM, []).action == "ask"


def test_a_change_is_learned_from_again_when_it_is_twice_as_long_ago():
    policy, changed = Retrain((Relearn(2),), new_rows=0, cooldown=timedelta(0)), MONDAY - 12 * DAY

    def asked(*history, **facts):
        return decide(policy, after(**facts), history)

    first = Training(at=MONDAY - 6 * DAY, seconds=1, outcome="won", onset=changed)
    assert asked(first).action == "train"
    assert asked(first).onset == changed
    assert "is 12 days ago, and was 6 days ago when it was trained last" in asked(first).why
    assert asked(first, at=MONDAY - 1).action == "nothing"
    assert asked().action == asked(structs.replace(first, onset=None)).action == "nothing"
    # What failed has learned nothing, and what came after counts anew.
    failed = Training(at=MONDAY - DAY, seconds=1, outcome="failed", onset=changed)
    assert asked(first, failed, at=MONDAY + DAY).action == "train"
    assert asked(first, structs.replace(first, at=MONDAY - 5 * DAY)).action == "nothing"
    assert asked(structs.replace(first, anew=True)).action == "train"
    # Where it is better to know what was before as well, the world is as it was.
    assert asked(structs.replace(first, anew=False)).action == "nothing"
    # What is pinned to a moment does not age by the clock, and knows nothing of a change that comes after it.
    assert asked(first, known=MONDAY - 1).action == "nothing"
    assert "is 11 days ago, and was 6 days" in asked(first, known=MONDAY - 1).triggers[0]
    assert "where the pipeline is pinned" in asked(first, known=changed - 1).triggers[0]
    # A challenge that was lost asks for twice the patience.
    lost = structs.replace(first, outcome="lost")
    assert asked(lost, at=MONDAY + 12 * DAY - 1).action == "nothing"
    assert asked(lost, at=MONDAY + 12 * DAY).action == "train"


def test_the_newest_change_that_labels_show_counts():
    before = Training(at=MONDAY - 6 * DAY, seconds=1, outcome="won", onset=MONDAY - 12 * DAY)
    assert decide(EAGER, after(onset=MONDAY - 3 * DAY), [before]).onset == MONDAY - 3 * DAY
    assert decide(EAGER, CALM, []).onset is None


@pytest.mark.parametrize("name", PRESETS)
def test_presets_decide(name):
    decision = decide(PRESETS[name](), after(errors=True, drift_mass=0.0, estimated_rise=0.0, regret=0.0), [])
    expected = {"recommender": "train", "fraud": "train", "forecasting": "train", "compliance": "ask"}
    assert decision.action == expected.get(name, "train" if name == "daily" else "nothing")
    assert decision.key == f"decision:m:{name}:1:{MONDAY}"


def test_a_challenge_lost_counts_on_after_a_training_that_came_to_nothing():
    """And one that failed or was refused may be asked for again the next day, however rare trainings are to be."""
    policy = Retrain((NewRows(1),), cooldown=timedelta(days=2), backoff=timedelta(days=32))
    lost = [Training(at=MONDAY - (90 - i) * DAY, seconds=1, outcome="lost") for i in range(3)]
    failed = Training(at=MONDAY - 40 * DAY, seconds=1, outcome="failed")
    recent = Training(at=MONDAY - 10 * DAY, seconds=1, outcome="lost")
    held = decide(policy, CALM, [*lost, failed, recent])
    assert "after 4 lost challenges" in held.guards[0]
    rare = Retrain((NewRows(1),), cooldown=timedelta(days=30))
    for outcome in ("failed", "refused"):
        for hours, action in ((23, "wait"), (25, "train")):
            once = Training(at=MONDAY - hours * DAY // 24, seconds=1, outcome=outcome)
            assert decide(rare, CALM, [once]).action == action
    assert decide(rare, CALM, [structs.replace(failed, outcome="won", at=MONDAY - 25 * DAY)]).action == "wait"


def test_a_schedule_that_is_held_back_stays_due():
    weekly = Retrain((Schedule("0 6 * * MON"),), cooldown=timedelta(hours=6))
    begun = Training(at=MONDAY - DAY // 8, seconds=1, outcome="won")
    held = decide(weekly, CALM, [begun])
    assert (held.action, looked_after(held)) == ("wait", CALM.looked)
    later = after(at=MONDAY + DAY // 4, looked=looked_after(held))
    done = decide(weekly, later, [begun])
    assert (done.action, looked_after(done)) == ("train", later.at)
    assert decide(weekly, after(at=later.at, looked=looked_after(done)), [begun]).action == "nothing"
    back = decide(weekly, after(promoted=MONDAY - DAY, earlier=0, failed=0.5), [])
    assert (back.action, looked_after(back)) == ("rollback", CALM.looked)


@pytest.mark.parametrize("cron", ["30 1 * * *", "30 2 * * *", "0 3 * * *"])
def test_a_day_with_another_number_of_hours_has_each_schedule_once(cron):
    """New York's clocks go from 2 to 3 on 2024-03-10, and from 2 back to 1 on 2024-11-03."""
    policy = Retrain((Schedule(cron, "America/New_York"),), new_rows=0, cooldown=timedelta(0), daily_cap=99)
    for year_month_day in ((2024, 3, 8), (2024, 11, 1)):
        begin = round(datetime(*year_month_day, 5, tzinfo=UTC).timestamp()) * 1_000_000
        looked, days = begin, []
        for quarter in range(1, 5 * 24 * 4 + 1):
            asked = decide(policy, after(at=begin + quarter * 900_000_000, since=0, looked=looked), [])
            looked = looked_after(asked)
            if asked.action == "train":
                local = datetime.fromtimestamp(looked / 1e6, ZoneInfo("America/New_York"))
                days.append(local.day)
        assert days == sorted(set(days))
        assert len(days) == 5


def test_a_schedule_of_old_that_can_never_be_due_stops_nothing_else():
    policy = Retrain((Schedule("0 0 30 2 *"), Errors()), new_rows=0)
    assert decide(policy, CALM, []).action == "nothing"
    assert decide(policy, after(errors=True), []).action == "train"
