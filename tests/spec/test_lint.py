"""Each rule of lint finds the fault it is there for, at the line where it is written, and names the cure."""

import re
import time
from pathlib import Path

import pytest

from raypipe.errors import DefinitionError
from raypipe.spec import Pipeline, from_json, lint, load, to_json
from tests.architecture.source import ROOT
from tests.spec.plants import PLANTS
from tests.spec.rides import RIDES, faults_of, line_of, pipeline_of, planted


def test_the_sound_definition_has_no_fault(tmp_path: Path) -> None:
    assert faults_of(tmp_path, RIDES) == ()


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found(tmp_path: Path, name: str) -> None:
    old, new, what, cure = PLANTS[name]
    text = planted((old, new))
    found = [fault for fault in faults_of(tmp_path, text) if what in fault.what]
    assert len(found) == 1, [str(fault) for fault in faults_of(tmp_path, text)]
    assert cure in found[0].cure
    assert found[0].where.startswith("pipeline.py:")
    if "# here" in text:
        assert found[0].where == f"pipeline.py:{line_of(text)}"


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_told_once(tmp_path: Path, name: str) -> None:
    old, new, _, _ = PLANTS[name]
    told = [str(fault) for fault in faults_of(tmp_path, planted((old, new)))]
    assert len(told) == len(set(told))


#: How to look at the moment that is asked about without seeing the asked row: what is changed beside, and the features.
BEFORE = {
    "asked a second before": (
        ('before("asked_at")', 'before("asked_at", hours(1) / 3600)'),
        '"zone").features(x=agg.since()',
    ),
    "a window ends before": (None, '"zone").features(x=agg.last("driver", hours(1))'),
    "decay begins before": (None, '"zone").features(x=agg.decayed_count(half_life=hours(1))'),
    "under another key": (None, '"zone", asked=["driver"]).features(x=agg.since()'),
    "known later": (('time="asked_at",', 'time="asked_at", delay=minutes(1),'), '"zone").features(x=agg.tenure()'),
}


@pytest.mark.parametrize("name", BEFORE)
def test_the_moment_that_is_asked_about_may_be_looked_at_from_before(tmp_path: Path, name: str) -> None:
    change, features = BEFORE[name]
    group = ("place, ratio],", f'place, ratio, rides.at("asked_at").by({features})],')
    assert faults_of(tmp_path, planted(group, *([change] if change else []))) == ()


@pytest.mark.parametrize(
    "kind", ["pl.Int8", "pl.UInt32", "pl.Float32", "pl.Boolean", "pl.Duration", "pl.Date", "pl.String"]
)
def test_values_of_every_common_kind_are_kept(tmp_path: Path, kind: str) -> None:
    assert faults_of(tmp_path, planted(('agg.last("tip"', f'agg.last(pl.col("tip").cast({kind})'))) == ()


#: Values of the wrong kind: what stands there, what a beginner writes, and what the cure shows.
KINDS = {
    "label": ('rides.label(pl.col("tip") > 0, settled_after=days(1))', 'pl.col("tip") > 0', "stream.label("),
    "split": ('periods(train="2013-01..2013-02", tune="2013-03", holdout="2013-04")', '"2013"', "periods("),
    "search": (
        "Search([models.LightGBM(num_leaves=search.integer(4, 64)), models.Linear()], trials=4)",
        "models.Linear()",
        "Search([",
    ),
    "ask": ('rides.before("asked_at"),\n    inputs', "rides,\n    inputs", "stream.before("),
    "inputs": ("[asked, by_zone,", '["asked", by_zone,', "request("),
    "trials": ("trials=4", 'trials="4"', "int"),
    "window": ('agg.mean("fare", hours(3))', 'agg.mean("fare", "3h")', "hours("),
    "delay": ('    time="asked_at",', '    delay=2, time="asked_at",', "hours("),
    "gate": ("checks.not_null(", '"rows", checks.not_null(', "checks.not_null("),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_value_of_the_wrong_kind_is_a_fault(tmp_path: Path, name: str) -> None:
    old, new, cure = KINDS[name]
    [fault] = [fault for fault in faults_of(tmp_path, planted((old, new))) if f"`{name}` is a" in fault.what]
    assert fault.where.startswith("pipeline.py:")
    assert cure in fault.cure


@pytest.mark.parametrize(("written", "cure"), [("3", "`days(3)` or `hours(3)`"), ('"2d"', "`days(2)` or `hours(2)`")])
def test_a_time_without_a_unit_is_shown_with_one(tmp_path: Path, written: str, cure: str) -> None:
    [fault] = faults_of(tmp_path, planted(("settled_after=days(1)", f"settled_after={written}")))
    assert fault.cure == f"Write it as {cure}"


#: What a label of each task may be, in rides.
TASKS = {
    "binary": ('pl.col("tip") > 0', "", "auc"),
    "multiclass": ('pl.col("tip").cast(pl.String)', "", "auc"),
    "regression": ('pl.col("tip")', "", "rmse"),
    "quantile": ('pl.col("tip")', ", quantile=0.9", "pinball"),
    "count": ('pl.col("tip").cast(pl.Int64)', "", "poisson_deviance"),
}


@pytest.mark.parametrize("task", TASKS)
def test_the_usual_metric_is_that_of_the_task(tmp_path: Path, task: str) -> None:
    truth, more, metric = TASKS[task]
    label = ('pl.col("tip") > 0, settled_after=days(1)', f'{truth}, settled_after=days(1), task="{task}"{more}')
    pipeline = pipeline_of(tmp_path, planted(label, (", models.Linear()]", "]")))
    lint(pipeline)
    assert pipeline.search.metric == metric
    assert from_json(to_json(pipeline), Pipeline) == pipeline
    named = pipeline_of(tmp_path, planted(label, ("trials=4", 'trials=4, metric="auc"'), (", models.Linear()]", "]")))
    assert named.search.metric == "auc"


def test_of_an_unknown_task_nothing_that_follows_from_it_is_told(tmp_path: Path) -> None:
    label = ("settled_after=days(1)", 'settled_after=days(1), task="regresion"')
    search = ("trials=4", 'trials=4, metric="rmse"')
    finish = ("trials=4", 'trials=4), finish=Finish(calibrate="platt", costs={"true": {"false": 2.0}}')
    for more in (search, finish):
        [fault] = faults_of(tmp_path, planted(label, more))
        assert (fault.what, fault.cure) == ("unknown task `regresion`", "Did you mean `regression`?")
    misspelt = faults_of(tmp_path, planted(label, ("trials=4", 'trials=4, metric="rsme"')))
    assert [fault.cure for fault in misspelt] == ["Did you mean `regression`?", "Did you mean `rmse`?"]


def test_a_value_of_the_wrong_kind_hides_no_other_fault(tmp_path: Path) -> None:
    text = planted(KINDS["label"][:2], KINDS["gate"][:2], ("trials=4", "trials=0"))
    told = " ".join(fault.what for fault in faults_of(tmp_path, text))
    assert "`label` is an `Expr`" in told
    assert "`gate` is a `str`" in told
    assert "trials" in told


# The statement that holds the fault, not the place where it was noticed.
LINES = {
    "check": ("checks.not_null(", 'checks.not_null("x"),  # here\n        checks.not_null('),
    "stream": ('rides = Stream(', 'rides = Stream(  # here'),
    "table features": ('zones.columns_by("zone", "area")', 'zones.columns_by("zone", "area", "x")  # here'),
    "derived": ('ratio = derived(ratio=pl.col("zone_fare")', 'ratio = derived(  # here\n    ratio=pl.col("x")'),
    "derivation": ('"tipped": pl.col("tip") > 0', '"tipped": pl.col("x") > 0'),
    "request": ('asked = request("ride",', 'asked = request(  # here\n    "x", "ride",'),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_fault_is_told_at_its_own_line(tmp_path: Path, name: str) -> None:
    changes = [LINES[name]]
    if name == "stream":
        changes.append(('id=["ride"]', 'id=["x"]'))
    if name == "derivation":
        changes.append(("rides = Stream(", "rides = Stream(  # here"))
    text = planted(*changes)
    [fault] = faults_of(tmp_path, text)
    assert fault.where == f"pipeline.py:{line_of(text)}"
    assert "`x`" in fault.what


def test_all_faults_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    names = ["key", "window", "derived", "label column", "metric"]
    text = planted(*(PLANTS[name][:2] for name in names))
    found = faults_of(tmp_path, text)
    assert [any(PLANTS[name][2] in fault.what for fault in found) for name in names] == [True] * len(names)
    lines = [int(fault.where.split(":")[1]) for fault in found]
    assert lines == sorted(lines)


def test_news_from_the_future_in_an_aggregate(tmp_path: Path) -> None:
    text = planted(('rides.at("done_at").by', 'rides.at("asked_at").by'))
    found = [fault for fault in faults_of(tmp_path, text) if "news from the future" in fault.what]
    assert len(found) == 4  # each feature of the group reads fare or tip, which come with done_at
    assert all("rides.at('done_at')" in fault.cure for fault in found)


def test_events_cannot_be_placed_at_a_time_that_is_only_computed_later(tmp_path: Path) -> None:
    """An hour before the end of a ride, nobody knew that it would end in an hour."""
    text = planted(
        ('"tipped": pl.col("tip") > 0', '"early": pl.col("done_at") - pl.duration(hours=1)'),
        ('rides.at("done_at").by("zone").features(', 'rides.at("early").by("zone").features(  # here'),
        ('agg.mean("fare"', 'agg.mean("area"'),
    )
    found = [fault for fault in faults_of(tmp_path, text) if "`rides.early` is only known from `done_at`" in fault.what]
    assert [fault.where for fault in found] == [f"pipeline.py:{line_of(text)}"]


def test_a_key_that_is_known_later_than_its_event(tmp_path: Path) -> None:
    text = planted(
        ('{"done_at": ["fare", "tip"]}', '{"done_at": ["fare", "tip", "driver"]}'),
        ('rides.at("done_at").by("zone")', 'rides.at("asked_at").by("driver")'),
    )
    assert any("key `driver` is only known from `done_at`" in fault.what for fault in faults_of(tmp_path, text))


def test_what_is_known_at_the_moment_of_asking_may_be_asked(tmp_path: Path) -> None:
    """Asked when a ride is done, its fare is no news from the future; asked an hour before, it is."""
    ask = ('ask=rides.before("asked_at")', 'ask=rides.before("done_at")')
    fields = ('"driver", "asked_at")', '"driver", "fare", "done_at", "asked_at")')
    window = ('agg.last("tip", max_age=days(1))', 'agg.last("tip", days(1))')
    assert faults_of(tmp_path, planted(ask, fields, window)) == ()
    early = (ask[0], 'ask=rides.before("done_at", hours(1))')
    assert any("`fare` is only known from" in fault.what for fault in faults_of(tmp_path, planted(early, fields)))


@pytest.mark.parametrize(
    "change",
    [("place = zones", "place = OTHER"), ('"zone", to=zones', '"zone", to=OTHER'), ("zones.lookup(", "OTHER.lookup(")],
)
def test_two_sources_with_one_name(tmp_path: Path, change: tuple[str, str]) -> None:
    other = 'Table("zones", csv("b.csv"), key="zone", columns={str: "zone borough", float: "area"})'
    text = planted((change[0], change[1].replace("OTHER", other)))
    assert any("two sources are called `zones`" in fault.what for fault in faults_of(tmp_path, text))


def test_a_broken_table_is_not_blamed_on_those_who_look_things_up_in_it(tmp_path: Path) -> None:
    text = planted(
        ("zones = Table(", "zones = Table(  # here"),
        ('    key="zone",\n', '    key="zone",\n    derive={"n": pl.col("x")},\n'),
    )
    assert [fault.where for fault in faults_of(tmp_path, text)] == [f"pipeline.py:{line_of(text)}"]


def test_a_label_about_another_stream(tmp_path: Path) -> None:
    columns = '{str: "a", datetime: "t", float: "tip"}'
    other = f'Stream("others", csv("o.csv"), id=["a"], time="t", columns={columns}, reveals={{"t": ["tip"]}})'
    text = planted(("label=rides.label(", f"label={other}.label("))
    assert any("the label is about `others`" in fault.what for fault in faults_of(tmp_path, text))


def test_every_fault_is_one_sentence_with_its_place(tmp_path: Path) -> None:
    for name, (old, new, _, _) in PLANTS.items():
        for fault in faults_of(tmp_path, planted((old, new))):
            assert re.fullmatch(r"pipeline\.py:\d+: \S[^\n]*", str(fault)), (name, str(fault))


def test_the_example_is_sound_and_judged_quickly() -> None:
    pipeline = load(ROOT / "examples/flights/pipeline.py")
    before = time.process_time()
    lint(pipeline)
    assert time.process_time() - before < 0.5


def test_lint_raises_nothing_but_faults_on_any_two_plants(tmp_path: Path) -> None:
    """A rule must not stumble over what another rule is there to find."""
    names = sorted(PLANTS)
    for first, second in zip(names, names[7:] + names[:7], strict=True):
        text = RIDES
        for old, new in (PLANTS[first][:2], PLANTS[second][:2]):
            text = text.replace(old, new, 1)
        with pytest.raises(DefinitionError):
            lint(pipeline_of(tmp_path, text))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('float: "fare tip"', 'float: "fare", list: "tip"'),
        ('pl.col("tip") > 0}', 'pl.col("tap") > 0, "large": pl.col("tipped") & pl.col("tipped")}'),
        ('hour=pl.col("asked_at").dt.hour(),', 'hour=pl.col("asked_tt").dt.hour(),'),
        ('zone_fare=agg.mean("fare"', 'zone_fare=agg.mean("fair"'),
        ('ratio = derived(ratio=pl.col("zone_fare")', 'ratio = derived(part=pl.col("zone_far"), ratio=pl.col("part")'),
        ('request("ride", "zone",', 'request("ride", "zoen",'),
        ('"driver", "asked_at")', '"driver", "askd_at")'),
        ('.by("zone")', '.by("zons")'),
        (
            'driver", float: "fare tip", datetime: "asked_at done_at"',
            'driver asked_at", float: "fare tip", datetime: "done_at"',
        ),
    ],
)
def test_what_follows_from_a_fault_is_not_told(tmp_path: Path, right: str, wrong: str) -> None:
    [fault] = faults_of(tmp_path, planted((right, wrong)))
    words = ("tip", "tap", "asked_tt", "fair", "zone_far", "zoen", "askd_at", "zons", "not a time in UTC")
    assert any(word in fault.what for word in words)


def test_a_text_that_is_to_be_a_time_may_be_declared_as_one(tmp_path: Path) -> None:
    declared = 'driver", float: "fare tip", datetime: "asked_at done_at"'
    text = planted((declared, 'driver done_at", float: "fare tip", datetime: "asked_at"'))
    [fault] = faults_of(tmp_path, text)
    assert fault.cure.startswith('Declare it as `datetime: "done_at"` if its texts name their zone; else')
