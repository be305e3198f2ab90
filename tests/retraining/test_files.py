"""Policies as files: what is written is what is meant, and every fault is told at once."""

from dataclasses import replace
from datetime import timedelta
from math import inf, nan

import pytest

from raypipe.errors import DefinitionError, SourceError
from raypipe.retraining.files import read_policy
from raypipe.spec import Retrain, changed, from_json, to_json
from raypipe.spec.lint.retrain import policy_faults, retrain_rule
from raypipe.spec.retrain import Age, AllOf, Drift, Errors, EstimatedLoss, Freeze, NewRows, Regret, Relearn, Schedule
from tests.spec.rides import pipeline_of

FULL = """
name = "careful"
any = [
  {schedule = "0 6 * * MON", zone = "America/New_York"},
  {regret = 60},
  {all = [{errors = true}, {drift = 0.3, score = true}]},
  {age_days = 90},
  {relearn = 2},
  {errors = 0.5},
]
cooldown_days = 3
backoff_days = 14
new_rows = 5000
daily_cap = 1
budget_seconds = 600
freeze = [["2013-11-25", 2013-12-01]]
approval = true
challenge = false
"""


def written(tmp_path, text):
    path = tmp_path / "a.toml"
    path.write_text(text)
    return str(path)


def test_a_file_says_all_that_a_policy_can(tmp_path):
    expected = Retrain(
        any=[
            Schedule("0 6 * * MON", "America/New_York"),
            Regret(60),
            AllOf((Errors(), Drift(0.3, score=True))),
            Age(timedelta(days=90)),
            Relearn(2),
            Errors(0.5),
        ],
        cooldown=timedelta(days=3),
        backoff=timedelta(days=14),
        new_rows=5_000,
        daily_cap=1,
        budget=600.0,
        freeze=[Freeze("2013-11-25", "2013-12-01")],
        approval=True,
        challenge=False,
    )
    policy = read_policy(written(tmp_path, FULL))
    assert policy == expected
    assert policy.name == "careful"
    assert from_json(to_json(policy), Retrain) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("any = 3", "no list `any`"),
        ("any = [{regrets = 3}]", "Did you mean `regret`?"),
        ("any = [{regret = true}]", "`regret` cannot be True"),
        ("any = [{regret = -1}]", "asks all the time"),
        ("any = [{errors = -0.5}]", "has not risen"),
        ('any = [{schedule = "never"}]', "not a cron line"),
        ('any = [{schedule = "0 0 * * *", zone = "Mars"}]', "not a time zone"),
        ("any = [{drift = 2.0}]", "no drift has 2"),
        ("any = [{all = []}]", "holds no trigger"),
        ("any = []\ncooldown = 3", "Did you mean `cooldown_days`?"),
        ("any = []\ncooldown_days = -3", "cooldown is negative"),
        ("any = []\ndaily_cap = 0", "caps let nothing through"),
        ("any = []\nbudget_seconds = 0", "pays for nothing"),
        ('any = []\nfreeze = [["2013-12-01", "2013-11-01"]]', "before it starts"),
        ('any = []\nnew_rows = "many"', "`new_rows`: 'many' is not a number. Write `new_rows = 5000`"),
        ('any = []\napproval = "no"', "`approval`: 'no' is neither true nor false. Write `approval = true`"),
        ("any = [{errors = false}]", "`errors` cannot be False"),
        ("any = [{worse = false}]", "`worse` cannot be False"),
        ("any = [{drift = 0.3, score = 1}]", "`drift` cannot be 0.3"),
        ("any = [", "is not TOML"),
        ('any = [{schedule = "0 0 30 2 *"}]', "never comes"),
        ("any = [{age_days = 1e12}]", "`age_days` cannot be 1000000000000.0"),
        ("any = [{new_rows = 1.5}]", "`new_rows` cannot be 1.5"),
        ("any = []\ncooldown_days = inf", "inf days are longer than any time"),
        ("any = []\nprobation_days = nan", "`probation_days`: nan is no finite number"),
        ("any = []\nnew_rows = 1.5", "1.5 is not a whole number"),
        ("any = []\nrollout = 3", "is a table"),
        ('any = []\n[rollout]\nleast = "x"', "`rollout.least`: 'x' is not a number"),
        ('any = []\n[rollout]\nshares = "ab"', "'ab' is not a list of shares"),
        ('any = []\n[rollout]\nshares = ["a"]', "'a' is not a number"),
        ('any = []\n[rollout]\nshadow = "all"', "'all' is not a number"),
        ("any = []\n[rollout]\npatience_days = inf", "longer than any time"),
        ('any = []\nfreeze = [["2013-12-01"]]', "`freeze`: ['2013-12-01'] is no pair of days"),
        ("any = []\nfreeze = [3]", "`freeze`: 3 is no pair of days"),
        ('any = []\nfreeze = ["2013-11-25"]', "'2013-11-25' is no pair of days. Write `freeze = [["),
        ('any = []\nfreeze = "2013-11-25"', "`freeze`: '2013-11-25' is no pair of days"),
        ("any = [{regret = inf}]", "`regret` cannot be inf. Write `{regret = 60}`"),
        ("any = [{errors = nan}]", "`errors` cannot be nan"),
        ("any = []\nbudget_seconds = inf", "`budget_seconds`: inf is no finite number. Write `budget_seconds = 3600`"),
        ("any = []\n[rollout]\nlest = 3", "Did you mean `least`?"),
    ],
)
def test_faults_are_told_with_a_cure(tmp_path, text, said):
    with pytest.raises(DefinitionError) as caught:
        read_policy(written(tmp_path, text))
    assert said in str(caught.value)
    assert all(fault.cure or "is not TOML" in fault.what for fault in caught.value.faults)


def test_every_fault_of_a_file_is_told_at_once(tmp_path):
    text = 'any = [{regret = inf}]\nnew_rows = 1.5\napproval = "yes"\nbudget = 3\n[rollout]\nleast = "x"'
    with pytest.raises(DefinitionError) as caught:
        read_policy(written(tmp_path, text))
    told = [str(fault) for fault in caught.value.faults]
    assert len(told) == 5
    for key in ("`regret`", "`new_rows`", "`approval`", "`budget`", "`rollout.least`"):
        assert any(key in one for one in told)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (Retrain((Regret(inf),)), "`Regret` never asks"),
        (Retrain((AllOf((Errors(nan),)),)), "`Errors` never asks"),
        (Retrain((), budget=inf), "pays for everything"),
        (Retrain((), budget=nan), "pays for nothing"),
    ],
)
def test_what_is_no_finite_number_is_a_fault_of_a_definition_too(policy, said):
    [fault] = policy_faults(policy)
    assert said in fault.what
    assert fault.cure


@pytest.mark.parametrize("task", ["binary", "regression", "multiclass", "count", "quantile"])
def test_every_trigger_asks_for_every_task(tmp_path, task):
    pipeline = pipeline_of(tmp_path)
    triggers = (Errors(), Regret(10), EstimatedLoss(0.1), AllOf((Relearn(), Age(timedelta(days=1)))))
    policy = Retrain((*triggers, Age(timedelta(days=7)), NewRows(10), Drift(0.3)), alert=(Errors(0.5),))
    assert not list(retrain_rule(changed(pipeline, retrain=policy, label=replace(pipeline.label, task=task))))


def test_a_day_that_comes_every_four_years_comes(tmp_path):
    assert read_policy(written(tmp_path, 'any = [{schedule = "0 0 29 2 *"}]')).any == (Schedule("0 0 29 2 *"),)


def test_a_missing_file_and_a_misspelt_preset_are_told():
    with pytest.raises(
        SourceError, match=r"Give a TOML file, by its path from the working folder, or a name: .*hybrid"
    ):
        read_policy("nowhere.toml")
    with pytest.raises(DefinitionError, match="Did you mean `fraud`"):
        read_policy("frauds")
