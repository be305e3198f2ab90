"""Policies as files: what is written is what is meant, and every fault is told at once."""

from datetime import timedelta

import pytest

from raypipe.errors import DefinitionError, SourceError
from raypipe.retraining.files import read_policy
from raypipe.spec import Retrain, from_json, to_json
from raypipe.spec.retrain import Age, AllOf, Drift, Errors, Freeze, Regret, Relearn, Schedule

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
        ('any = []\nnew_rows = "many"', "a guard has a value"),
        ('any = []\napproval = "no"', "a guard has a value"),
        ("any = [{errors = false}]", "`errors` cannot be False"),
        ("any = [{worse = false}]", "`worse` cannot be False"),
        ("any = [{drift = 0.3, score = 1}]", "`drift` cannot be 0.3"),
        ("any = [", "is not TOML"),
        ('any = [{schedule = "0 0 30 2 *"}]', "never comes"),
        ("any = [{age_days = 1e12}]", "`age_days` cannot be 1000000000000.0"),
        ("any = [{new_rows = 1.5}]", "`new_rows` cannot be 1.5"),
        ("any = []\ncooldown_days = inf", "inf days are longer than any time"),
        ("any = []\nprobation_days = nan", "a guard has a value"),
        ("any = []\nnew_rows = 1.5", "1.5 is not a whole number"),
        ("any = []\nrollout = 3", "is a table"),
        ('any = []\n[rollout]\nleast = "x"', "'x' is not a number"),
        ('any = []\n[rollout]\nshares = "ab"', "'ab' is not a list of shares"),
        ('any = []\n[rollout]\nshares = ["a"]', "'a' is not a number"),
        ('any = []\n[rollout]\nshadow = "all"', "'all' is not a number"),
        ("any = []\n[rollout]\npatience_days = inf", "longer than any time"),
        ('any = []\nfreeze = [["2013-12-01"]]', "a guard has a value"),
        ("any = []\nfreeze = [3]", "a guard has a value"),
    ],
)
def test_faults_are_told_with_a_cure(tmp_path, text, said):
    with pytest.raises(DefinitionError) as caught:
        read_policy(written(tmp_path, text))
    assert said in str(caught.value)
    assert all(fault.cure or "is not TOML" in fault.what for fault in caught.value.faults)


def test_a_day_that_comes_every_four_years_comes(tmp_path):
    assert read_policy(written(tmp_path, 'any = [{schedule = "0 0 29 2 *"}]')).any == (Schedule("0 0 29 2 *"),)


def test_a_missing_file_and_a_misspelt_preset_are_told():
    with pytest.raises(SourceError):
        read_policy("nowhere.toml")
    with pytest.raises(DefinitionError, match="Did you mean `fraud`"):
        read_policy("frauds")
