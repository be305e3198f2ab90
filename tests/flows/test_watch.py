"""A version's drift and outcomes out of its logs: the column that moved, each outcome joined once, by whom."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from msgspec import structs
from sklearn.metrics import log_loss

from raypipe.cli.drift import say, waiting
from raypipe.cli.drift_page import write
from raypipe.cli.output import Output
from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.bins import Reference
from raypipe.contracts.hours import Hourly
from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
from raypipe.contracts.records import Lineage, ModelVersion
from raypipe.contracts.target import Target
from raypipe.contracts.watched import Watched
from raypipe.errors import RegistryError
from raypipe.flows.figures import outcomes
from raypipe.flows.measure import Measure
from raypipe.flows.unknown import Unknown
from raypipe.flows.watch import watch
from raypipe.ledger import Ledger
from raypipe.monitoring import Plan
from raypipe.spec.expressions import Expression
from raypipe.spec.values import FrozenMap
from tests.contracts.bundles import SIGNATURE, make_bundle

HOUR = 3_600_000_000
PLAN = Plan(budget=1_000, rows=500, span=24 * HOUR)
NOTHING = Lineage(
    commit="", dirty=False, pipeline_definition="", feature_definition="", training_set="", as_of=0, snapshots={},
    files=(), params={}, seed=0, lock={}, run_id="",
)  # fmt: skip


def asked(rng, rows, by=0.0):
    return pl.DataFrame(
        {
            "zone": rng.choice(["a", "b"], rows),
            "fare": rng.normal(by, 1.0, rows),
            "hour": pl.Series(rng.integers(0, 24, rows), dtype=pl.Int8),
        }
    )


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "bundle"
    make_bundle(folder)
    rng = np.random.default_rng(0)
    reference = Reference.of(asked(rng, 20_000), SIGNATURE, rng.random(20_000).astype(np.float32))
    (folder / "bins.json").write_text(reference.to_json())
    digest = bundle.seal(folder)
    return ModelVersion(
        name="rides", version=1, aliases=(), algorithm="linear", metrics={}, created=0, digest=digest,
        folder=str(folder), lineage=NOTHING,
    )  # fmt: skip


@pytest.fixture(scope="module")
def logs():
    """6,000 predictions, the last 2,000 with higher fares; a third has feedback; another version answers 500."""
    rng = np.random.default_rng(1)
    frame = pl.concat([asked(rng, 4_000), asked(rng, 2_000, by=0.4), asked(rng, 500)])
    n, score = frame.height, rng.random(frame.height)
    predictions = pl.DataFrame(
        {
            "request_id": [f"q{i}" for i in range(n)],
            "row": 0,
            "at": np.arange(n) * HOUR // 60,
            "unit": "",
            "arm": ["champion"] * 6_000 + ["challenger/2"] * 500,
            "answered": True,
            "version": [1] * 6_000 + [2] * 500,
            "digest": "",
            "generation": 1,
            "watermark": 0,
            "latency": rng.integers(1_000, 9_000, n),
            "score": score,
            "label": score >= 0.5,
            "request": [json.dumps({"zone": zone}) for zone in frame["zone"]],
            "features": [json.dumps(row) for row in frame.iter_rows(named=True)],
            "category": None,
        }
    ).cast(dict(PREDICTIONS.columns))
    told = rng.permutation(n)[: n // 3]
    feedback = pl.DataFrame(
        {
            "request_id": [f"q{i}" for i in told],
            "row": 0,
            "at": 0,
            "label": rng.random(len(told)) < score[told],
            "outcomes": [json.dumps({"tip": float(i % 5)}) for i in told],
            "number": None,
            "category": None,
        }
    ).cast(dict(FEEDBACK.columns))
    return predictions, feedback


def test_the_column_that_moved_is_found_and_no_other(version, logs):
    found = watch(version, *logs, PLAN)
    assert [tick.rows for tick in found.ticks] == [500] * 12
    raised = [(tick.tick, column.column) for tick in found.ticks for column in tick.raised]
    assert raised == [(9, "fare")]
    assert "fare (median" in found.diagnosis


def test_a_feature_of_the_clock_moves_and_is_no_news(version, logs, capsys):
    """`hour` follows from the moment of asking: all is asked at noon, which raises nothing, and is told."""
    noon = [json.dumps(json.loads(row) | {"hour": 12}) for row in logs[0]["features"][:2_000]]
    found = watch(version, logs[0][:2_000].with_columns(features=pl.Series(noon)), logs[1], PLAN)
    assert len(found.ticks) == 4
    assert not any(tick.alarms or tick.breaks for tick in found.ticks)
    assert found.ticks[-1].columns[0].column == "hour"
    say(found, 2_000, 500, Output(False))
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("hour ")]
    assert "the clock" in line


def by_night(rng, at, by=0.0):
    """Fares that follow the hour of the day."""
    fare = np.cos(2 * np.pi * (at / HOUR % 24) / 24) + rng.normal(by, 0.5, len(at))
    return asked(rng, len(at)).with_columns(pl.Series("fare", fare))


def test_a_reference_of_four_weeks_knows_the_hour(version, logs, tmp_path):
    """Nights are no drift to it; fares that rise at night are."""
    rng, folder = np.random.default_rng(2), tmp_path / "bundle"
    shutil.copytree(version.folder, folder)
    at = np.sort(rng.integers(0, 28 * 24 * HOUR, 30_000))
    rows, scores = by_night(rng, at), rng.random(len(at)).astype(np.float32)
    reference = Reference.of(rows, SIGNATURE, scores)
    (folder / bundle.BINS).write_text(reference.to_json())
    plain = structs.replace(version, folder=str(folder))
    night = np.sort(rng.integers(700 * 24 * HOUR, (700 * 24 + 4) * HOUR, 1_500))

    def raised(by=0.0):
        frame = by_night(rng, night, by)
        features = pl.Series("features", [json.dumps(row) for row in frame.iter_rows(named=True)])
        asked_at = pl.Series("at", night).cast(pl.Datetime("us", "UTC"))
        seen = watch(plain, logs[0].head(1_500).with_columns(asked_at, features), logs[1], PLAN)
        assert len(seen.ticks) == 3
        return seen.ticks[-1].calibrated, {c.column for tick in seen.ticks for c in tick.raised}

    assert raised() == ("even", {"fare"})
    watched = Watched.of(reference)
    hourly = Hourly.of(rows, at, SIGNATURE, scores, watched)
    hourly.write(folder / bundle.HOURS, watched)
    assert raised() == ("seasonal, 28 days", set())
    assert raised(by=0.5)[1] == {"fare"}


def test_the_diagnosis_names_who_is_hit_and_what_changed_then(version, logs, tmp_path):
    """The answers of zone b are turned round since the drift began; a version was deployed on that day."""
    predictions, feedback = logs
    hit = (pl.col("at").cast(pl.Int64) >= 4_000 * HOUR // 60) & pl.col("request").str.contains('"b"')
    truth = pl.when(hit).then(pl.col("score") < 0.5).otherwise(pl.col("score") >= 0.5)
    told = feedback.drop("label").join(predictions.select("request_id", label=truth), on="request_id")
    ledger = Ledger.in_folder(tmp_path, ManualClock(4_100 * HOUR // 60))
    ledger.append("d", "model.deployed", "rides", '{"version": 1}')
    found = watch(version, predictions, told.select(feedback.columns), PLAN, ledger=ledger)
    assert "zone b accounts for" in found.diagnosis
    assert "version 1 was deployed" in found.diagnosis
    nobody = watch(version, predictions, feedback.clear(), PLAN).diagnosis
    assert "No labels are in yet" in nobody
    assert "deployed" not in nobody


def test_outcomes_are_told_by_version_arm_and_field(version, logs):
    predictions, feedback = logs
    found = watch(version, predictions, feedback, PLAN, by="zone")
    assert [(o.who, o.predictions) for o in found.outcomes[:2]] == [
        ("version 1, champion", 6_000),
        ("version 2, challenger/2", 500),
    ]
    assert [o.who for o in found.outcomes[2:]] == [
        f"version {who}, zone={zone}" for who in ("1, champion", "2, challenger/2") for zone in "ab"
    ]
    mine = predictions[:6_000].join(feedback.rename({"label": "truth"}), on="request_id")
    first = found.outcomes[0]
    assert first.labelled == mine.height
    assert first.loss == pytest.approx(log_loss(mine["truth"], mine["score"]))
    assert first.error[0] == pytest.approx((mine["truth"] != mine["label"]).mean())
    assert 0 <= first.outcomes["tip"] <= 4
    assert first.p99_ms == pytest.approx(np.quantile(predictions["latency"][:6_000], 0.99) / 1e3, rel=0.01)


def test_it_can_be_read_and_drawn(version, logs, tmp_path, capsys):
    found = watch(version, *logs, PLAN, by="zone")
    say(found, 6_500, 1_000, Output(False))
    printed = capsys.readouterr().out
    assert "1 of 4 columns have an open alarm" in printed
    assert "version 2, challenger/2" in printed
    write(found, tmp_path / "drift.html", "rides/1")
    page = (tmp_path / "drift.html").read_text()
    assert "<svg" in page
    assert "<tr><td>version 2, challenger/2<td>500<td>" in page


def test_few_predictions_make_no_tick_and_it_is_told_how_many_are_lacking(version, logs, capsys):
    predictions, feedback = logs
    found = watch(version, predictions[:300], feedback, PLAN)
    assert found.ticks == ()
    for there, cure in ((300, "`--rows 300` makes one of them"), (40, "50 is the least that `--rows` takes")):
        say(found, there, 1_000, Output(False))
        assert f"{there} of the 1,000 predictions of a tick are in the log; {cure}." in capsys.readouterr().out


def test_a_page_without_a_tick_or_a_label_says_why_it_is_empty(version, logs, tmp_path, capsys):
    predictions, feedback = logs
    few = watch(version, predictions[:300], feedback.clear(), PLAN)
    write(few, page := tmp_path / "drift.html", "rides/1", waiting(300, 1_000))
    assert "<code>--rows 300</code> makes one of them" in page.read_text()
    say(few, 300, 1_000, Output(False))
    for told in (page.read_text(), capsys.readouterr().out):
        assert "300 of the 1,000 predictions of a tick are in the log" in told
        assert "Nobody has told yet what came true" in told
    write(watch(version, predictions[:300], feedback, PLAN), page, "rides/1", waiting(300, 1_000))
    assert "Nobody has told yet" not in page.read_text()


def test_a_version_without_a_reference_says_so(version, logs, tmp_path):
    make_bundle(tmp_path / "bundle")
    from msgspec import structs

    with pytest.raises(RegistryError, match="no reference"):
        watch(structs.replace(version, folder=str(tmp_path / "bundle")), *logs, PLAN)
    assert bundle.bins(tmp_path / "bundle") is None


def test_declared_figures_follow_from_answer_truth_and_what_was_told(version, logs):
    predictions, feedback = logs
    pipeline = bundle.pipeline(Path(version.folder))
    # A ride that was rightly foreseen brings its tip; a wrong alarm costs one.
    saved = pl.when(pl.col("label") & pl.col("truth")).then(pl.col("tip")).when("label").then(-1.0).otherwise(0.0)
    object.__setattr__(pipeline, "value", FrozenMap({"saved": Expression.of(saved)}))
    found = {one.who: one for one in outcomes(predictions, feedback, pipeline, Measure(), ["zone"])}
    told = {row["request_id"]: row for row in feedback.iter_rows(named=True)}
    by_hand = []
    for row in predictions.iter_rows(named=True):
        if row["arm"] == "champion" and json.loads(row["request"])["zone"] == "a" and row["request_id"] in told:
            heard = told[row["request_id"]]
            right = row["label"] and heard["label"]
            by_hand.append(json.loads(heard["outcomes"])["tip"] if right else -1.0 if row["label"] else 0.0)
    value, low, high = found["version 1, champion, zone=a"].value["saved"]
    assert value == pytest.approx(np.mean(by_hand))
    assert low < value < high


def test_labels_that_name_no_class_are_told_with_one_that_is_like_a_class(version, logs, monkeypatch, tmp_path, capsys):
    """They count as wrong, which nobody would see: but what may be a secret is not shown."""
    predictions, feedback = logs
    target = Target(task="multiclass", classes=("slow", "normal"))
    monkeypatch.setattr(Measure, "of", lambda _: Measure(target))
    predictions = predictions.with_columns(label=None, category=pl.lit("slow")).cast(dict(PREDICTIONS.columns))
    # Those of another version's answers are no matter.
    mine = feedback.filter(pl.col("request_id").is_in(predictions[:6_000]["request_id"].to_list()))
    theirs = feedback.filter(~pl.col("request_id").is_in(mine["request_id"].to_list()))
    texts = ["no class at all 4711"] * 5 + ["slwo"] * 3 + ["nromal"] * 2 + ["slow"] * (mine.height - 10)
    told = pl.concat(
        [mine.with_columns(pl.Series("category", texts)), theirs.with_columns(category=pl.lit("other"))]
    ).with_columns(label=None)
    found = watch(version, predictions, told.cast(dict(FEEDBACK.columns)), PLAN)
    assert found.unknown == Unknown(labels=10, of=mine.height, example="slwo", meant="slow")
    write(found, page := tmp_path / "drift.html", "rides/1")
    say(found, 6_000, 1_000, Output(False))
    for shown in (page.read_text(), " ".join(capsys.readouterr().out.split()), found.to_json()):
        assert "10 labels of" in shown or '"labels":10' in shown
        assert "slwo" in shown
        assert "4711" not in shown
    right = told.with_columns(category=pl.lit("normal")).cast(dict(FEEDBACK.columns))
    assert watch(version, predictions, right, PLAN).unknown is None
