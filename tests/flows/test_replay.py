"""Replays of a small world whose rule changes half-way: a policy that looks finds it, and all is repeatable."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from raypipe import Pipeline, Search, Stream, csv, days, hours, models, periods, request
from raypipe.clock import ManualClock, iso
from raypipe.contracts.decisions import Decision
from raypipe.contracts.progress import Silent
from raypipe.contracts.target import Target
from raypipe.errors import SettingsError
from raypipe.flows.replay import Past, replay
from raypipe.flows.replay.beside import beside
from raypipe.flows.replay.service import DAY
from raypipe.ledger import Ledger
from raypipe.spec import changed
from raypipe.spec.retrain import Errors, Regret, Relearn, Retrain, Schedule, daily, never
from raypipe.stats.estimate import log_loss
from raypipe.training.recipe import Recipe

START, ROWS, BREAK, LAST = 40 * DAY, 300, 55, 80
RECIPE = Recipe("linear", {"C": 1.0, "max_iter": 200})


@pytest.fixture(scope="module")
def pipeline():
    return pipeline_with()


def pipeline_with(*more):
    columns = {str: "city", float: " ".join(["x", *more]), bool: "late"}
    asked = Stream("asked", csv("a.csv"), id=["city"], time="at", columns=columns)
    return Pipeline(
        "small",
        ask=asked.before("at", hours(1)),
        inputs=[request("city", "x", *more, "at").with_features(city="city", x="x", **{one: one for one in more})],
        label=asked.label("late", settled_after=days(2)),
        split=periods(train="2013-01", tune="2013-02", holdout="2013-03"),
        search=Search([models.Linear()], metric="log_loss"),
    )


@pytest.fixture(scope="module")
def past():
    """80 days of 300 questions; from day 55 on ``x`` is drawn from elsewhere, and means the opposite."""
    rng = np.random.default_rng(0)
    at = np.sort(rng.integers(0, LAST * DAY, LAST * ROWS))
    later = at >= BREAK * DAY
    x, city = rng.normal(later * 0.7, 1.0), rng.choice(["a", "b", "c"], len(at))
    odds = np.where(later, -1.5, 1.5) * x + (city == "b") - 0.5
    truth = rng.random(len(at)) < 1 / (1 + np.exp(-odds))
    frame = pl.DataFrame({"city": city, "x": x, "label": truth})
    return Past(frame, at, at + 2 * DAY, truth.astype(float), "small")


def run(pipeline, past, folder, *policies, start=START, end=LAST * DAY, tick=DAY):
    clock = ManualClock(start)
    ledger = Ledger.in_folder(folder, clock)
    results = replay(pipeline, past, RECIPE, policies, start, end, ledger, clock, Silent(), tick)
    entries = ledger.entries()
    ledger.close()
    return results, entries


@pytest.fixture(scope="module")
def replayed(pipeline, past, tmp_path_factory):
    policy = Retrain((Regret(30), Errors()), cooldown=timedelta(days=3), new_rows=500, name="looks")
    return run(pipeline, past, tmp_path_factory.mktemp("replay"), never(), policy)


def test_who_looks_recovers_and_who_does_not_pays(replayed):
    (frozen, looks), _ = replayed
    assert frozen.trainings == 0
    assert frozen.rows == looks.rows == pytest.approx((LAST - 40) * ROWS, rel=0.02)
    assert frozen.loss - looks.loss > 0.2
    assert 1 <= looks.won <= looks.trainings <= 12
    assert looks.recovery_days <= 4
    assert looks.alarms >= 1
    assert "x (median" in looks.diagnosis
    before = [loss for _, loss in looks.weekly][:2]
    assert before == [loss for _, loss in frozen.weekly][:2]  # nothing is trained while nothing changes
    assert looks.weekly[-1][1] < frozen.weekly[-1][1] - 0.3


def test_after_a_change_who_forgets_what_was_before_takes_over(pipeline, past, tmp_path):
    """One rule cannot be linear in both halves: who learns from all of them stays behind."""
    again = Retrain((Errors(), Relearn(2)), cooldown=timedelta(days=3), new_rows=500, name="again")
    never_again = Retrain((Errors(),), cooldown=timedelta(days=3), new_rows=500, name="once")
    (more, once), entries = run(pipeline, past, tmp_path, again, never_again)
    decisions = [Decision.from_json(entry.body) for entry in entries if entry.kind == "decision.train"]
    mine = [one for one in decisions if one.policy == "again"]
    assert [one.onset for one in mine] == [BREAK * DAY] * len(mine)
    waited = [one.situation.at // DAY - BREAK for one in mine]
    assert len(waited) >= 2
    assert all(later >= 2 * sooner for sooner, later in pairwise(waited[-2:]))
    learned = past.asked(BREAK * DAY, LAST * DAY)
    best = float(np.mean(log_loss(past.truth[learned], rule(past)[learned])))
    # The rule itself, which nobody can beat for long.
    assert more.weekly[-1][1] < best + 0.03
    assert more.loss <= once.loss


def test_where_what_came_since_a_change_teaches_nothing_everything_is_learned_from(past, tmp_path):
    """A dry month says nothing of rain."""
    rain = (np.random.default_rng(1).random(len(past.at)) < 0.02) & (past.at < BREAK * DAY)
    dry = replace(past, frame=past.frame.with_columns(rain=rain.astype(float)))
    policy = Retrain((Errors(), Relearn(2)), cooldown=timedelta(days=3), new_rows=500, name="looks")
    (found,), _ = run(pipeline_with("rain"), dry, tmp_path, policy)
    assert found.won >= 1


def test_nothing_is_learned_from_a_column_of_which_a_value_stands_for_none(past, tmp_path):
    """From the day of the change on a third of ``x`` is -999: an upstream fault, whatever the errors are."""
    broken = (past.at >= BREAK * DAY) & (np.arange(len(past.at)) % 3 == 0)
    frame = past.frame.with_columns(x=pl.when(pl.Series(broken)).then(-999.0).otherwise(pl.col("x")))
    policy = Retrain((Errors(),), cooldown=timedelta(days=3), new_rows=500, name="looks")
    (found,), entries = run(pipeline_with(), replace(past, frame=frame), tmp_path, policy)
    assert found.trainings == 0
    held = [Decision.from_json(entry.body) for entry in entries if entry.kind == "decision.wait"]
    assert held
    assert all("-999 likely stands for no value" in one.why for one in held)


def rule(past):
    x, city = past.frame["x"].to_numpy(), past.frame["city"].to_numpy()
    return 1 / (1 + np.exp(-(np.where(past.at >= BREAK * DAY, -1.5, 1.5) * x + (city == "b") - 0.5)))


def test_every_decision_is_in_the_ledger_also_to_do_nothing(replayed):
    (_, looks), entries = replayed
    decisions = [Decision.from_json(entry.body) for entry in entries if entry.kind.startswith("decision.")]
    mine = [decision for decision in decisions if decision.policy == "looks"]
    assert len(mine) == LAST - 40
    assert sum(decision.action == "train" for decision in mine) == looks.trainings
    assert sum(decision.action == "nothing" for decision in mine) > 10
    assert all(decision.situation.at == START + (i + 1) * DAY for i, decision in enumerate(mine))
    first = next(decision for decision in mine if decision.action != "nothing")
    # Labels come after two days: nobody can know sooner that the rule has changed.
    assert BREAK * DAY + 2 * DAY <= first.situation.at <= (BREAK + 8) * DAY


def test_the_same_replay_gives_the_same_figures(replayed, pipeline, past, tmp_path):
    policy = Retrain((Regret(30), Errors()), cooldown=timedelta(days=3), new_rows=500, name="looks")
    again, entries = run(pipeline, past, tmp_path, never(), policy)
    assert again == replayed[0]
    assert [(e.key, e.body, e.at) for e in entries] == [(e.key, e.body, e.at) for e in replayed[1]]


def test_the_future_is_not_known(pipeline, past, tmp_path):
    """Another future after the replay's end changes nothing in it."""
    end, policy = 54 * DAY, Retrain((Schedule("0 0 * * MON"),), new_rows=0, name="weekly")
    seen = past.asked(0, end).stop
    other = past.frame.with_columns(
        pl.when(pl.int_range(pl.len()) < seen).then(pl.col("x")).otherwise(99.0).alias("x"),
    )
    different = Past(other, past.at, past.settled, past.truth, "other")
    one, _ = run(pipeline, past, tmp_path / "a", policy, end=end)
    two, _ = run(pipeline, different, tmp_path / "b", policy, end=end)
    assert one == two
    assert one[0].trainings == 2


def test_a_challenger_that_is_no_better_does_not_take_over_but_daily_always_does(pipeline, past, tmp_path):
    always, _ = run(pipeline, past, tmp_path, daily(), end=START + 4 * DAY)
    assert (always[0].trainings, always[0].won) == (4, 4)


def test_what_a_person_would_be_asked_for_is_approved_at_once(pipeline, past, tmp_path):
    due = (Schedule("0 0 * * MON"),)
    asks, trains = Retrain(due, new_rows=0, approval=True, name="asks"), Retrain(due, new_rows=0, name="trains")
    (asked, trained), entries = run(pipeline, past, tmp_path, asks, trains, end=START + 10 * DAY)
    assert (asked.approved, trained.approved) == (asked.trainings, 0)
    assert asked.trained == trained.trained != ()
    kinds = {
        Decision.from_json(entry.body).policy: entry.kind for entry in entries if entry.kind.startswith("decision")
    }
    kept = [entry for entry in entries if entry.kind == "decision.ask"]
    assert len(kept) == asked.approved
    assert kinds.keys() == {"asks", "trains"}


def test_it_tells_on_which_days_it_trained_and_alarms_were_raised(replayed):
    (frozen, looks), _ = replayed
    assert frozen.trained == ()
    assert [one.day in " ".join(looks.decisions) for one in looks.trained] == [True] * looks.trainings
    assert sum(one.won for one in looks.trained) == looks.won
    assert sum(one.seconds for one in looks.trained) == pytest.approx(looks.seconds)
    assert sum(count for _, count in looks.raised) == looks.alarms
    assert all(day > iso(BREAK * DAY)[:10] for day, _ in looks.raised)


def test_one_may_look_more_often(pipeline, past, tmp_path):
    (result,), entries = run(pipeline, past, tmp_path, never(), end=START + 2 * DAY, tick=DAY // 4)
    assert result.rows == past.asked(START, START + 2 * DAY).stop - past.asked(0, START).stop
    decisions = [Decision.from_json(entry.body) for entry in entries]
    assert [one.situation.at - START for one in decisions] == [DAY // 4 * (i + 1) for i in range(8)]


def test_never_and_where_it_takes_little_time_daily_are_beside_the_policies(past):
    weekly = Retrain((Schedule("0 0 * * MON"),), name="weekly")

    def names(*policies, end=LAST, wanted=None, history=past):
        chosen, said = beside(policies, history, START, end * DAY, wanted)
        return [policy.name for policy in chosen], said

    assert names(weekly) == (["never", "weekly", "daily"], "")
    assert names(weekly, wanted=False) == (["never", "weekly"], "")
    assert names(daily(), never(), wanted=False) == (["daily", "never"], "")
    # Ten thousand times the rows: 40 days, of which the last knows 23.4 million.
    many = np.arange(80 * DAY, step=80 * DAY // 2_400_000)
    large = Past(past.frame, many, many + 2 * DAY, many, "large")
    chosen, said = names(weekly, history=large)
    assert chosen == ["never", "weekly"]
    assert "40 trainings, reckoned at 117 minutes" in said
    assert names(weekly, wanted=True, history=large)[0][-1] == "daily"


def test_two_policies_of_one_name_and_a_start_without_history_are_refused(pipeline, past, tmp_path):
    with pytest.raises(SettingsError, match="called the same"):
        run(pipeline, past, tmp_path, never(), never())
    with pytest.raises(SettingsError, match=r"fewer than 1,000 labels"):
        run(pipeline, past, tmp_path, never(), start=15 * DAY)


TASKS = {
    "regression": (Target(task="regression"), "rmse"),
    "quantile": (Target(task="quantile", quantile=0.8), "pinball"),
    "multiclass": (Target(task="multiclass", classes=("high", "low", "middle")), "log_loss"),
}


def of_task(task, pipeline, past):
    """The same world; its label is a number in large units, or one of three classes, one of which comes later."""
    target, metric = TASKS[task]
    rng, x = np.random.default_rng(3), past.frame["x"].to_numpy()
    value = 1_000 * (np.where(past.at >= BREAK * DAY, -1.5, 1.5) * x + rng.normal(0, 0.3, len(x)))
    label = pl.Series("label", value)
    if target.classes:
        names = np.where(value > 700, "high", np.where(value < -700, "low", "middle"))
        label = pl.Series("label", np.where((past.at < 41 * DAY) & (names == "middle"), "low", names))
    search = Search([models.LightGBM()], metric=metric)
    asked = changed(pipeline, label=replace(pipeline.label, task=task, quantile=target.quantile), search=search)
    truth = target.encode(label).astype(float)
    return asked, replace(past, frame=past.frame.with_columns(label), truth=truth, target=target)


@pytest.mark.parametrize("task", TASKS)
def test_policies_are_replayed_for_every_task(task, pipeline, past, tmp_path):
    asked, world = of_task(task, pipeline, past)
    policy = Retrain((Errors(), Relearn(2)), cooldown=timedelta(days=3), new_rows=500, name="looks")
    trees = Recipe(
        "lightgbm", {"num_leaves": 15, "learning_rate": 0.1, "num_iterations": 60, "early_stopping_round": 0}
    )
    clock = ManualClock(START)
    ledger = Ledger.in_folder(tmp_path, clock)
    frozen, looks = replay(asked, world, trees, [never(), policy], START, LAST * DAY, ledger, clock, Silent())
    decisions = [Decision.from_json(one.body) for one in ledger.entries() if one.kind == "decision.train"]
    ledger.close()
    assert decisions
    # Nobody has learned from a class that comes later.
    known = {BREAK * DAY} | ({41 * DAY} if task == "multiclass" else set())
    assert {one.onset for one in decisions} == known
    assert looks.won >= 1
    assert looks.weekly[-1][1] < 0.7 * frozen.weekly[-1][1]
    calm = [loss for week, loss in looks.weekly if week < iso((BREAK - 7) * DAY)]
    assert task == "multiclass" or calm == [loss for week, loss in frozen.weekly if week < iso((BREAK - 7) * DAY)]
    # Before the change it answers as well as can be: what is left is the noise, in the label's own unit.
    noise = {"regression": 300.0**2, "quantile": 300 * 0.28}
    assert task == "multiclass" or 0.9 < min(calm) / noise[task] < 2


def test_what_follows_the_clock_raises_no_alarm_in_a_replay(pipeline, past, tmp_path):
    """A model of January is asked in February: its days are others, and nothing has happened."""
    fields = request("city", "x", "at").with_features(city="city", x="x", day=pl.col("at").dt.ordinal_day())
    dated = replace(past, frame=past.frame.with_columns(day=pl.from_epoch(pl.Series(past.at), "us").dt.ordinal_day()))
    (frozen,), _ = run(changed(pipeline, inputs=(fields,)), dated, tmp_path, never(), end=(BREAK - 1) * DAY)
    assert (frozen.alarms, frozen.raised) == (0, ())
