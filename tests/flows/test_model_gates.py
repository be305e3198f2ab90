"""The gates before training and before promotion: with a planted fault nothing is learned, and nobody is promoted."""

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient
from msgspec import structs

from raypipe import training
from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Candidate, GateReport, ModelVersion, TrainingSet
from raypipe.errors import GateError, TrainingError
from raypipe.flows import Platform
from raypipe.flows import challenge as flows_challenge
from raypipe.flows.challenge import Lesson, _fit
from raypipe.flows.register import register
from raypipe.flows.reproduce import reproduce
from raypipe.flows.rolled import rolled
from raypipe.flows.train import build
from raypipe.lake import Lake
from raypipe.ledger import Ledger
from raypipe.registry import Registry, capture
from raypipe.spec import (
    Pipeline,
    Stream,
    Table,
    agg,
    checks,
    csv,
    days,
    hours,
    micros,
    models,
    periods,
    request,
    search,
)
from raypipe.spec.checks import Check

ROWS = 900
AS_OF = 1_372_636_800_000_000
START = datetime(2013, 1, 1, 1, tzinfo=UTC)
#: The first seven go 9,999 miles, the next two have no carrier that is listed, every ninth no carrier at all.
FAR, STRANGE = 7, 2


def carrier(i: int) -> str | None:
    if FAR <= i < FAR + STRANGE:
        return "XX"
    return None if i % 9 == 8 else ("AA", "UA", "B6")[i % 3]


def history() -> pl.DataFrame:
    at = range(ROWS)
    return pl.DataFrame(
        {
            "flight": list(at),
            "carrier": [carrier(i) for i in at],
            "stamp": [(START + timedelta(hours=2 * i)).strftime("%Y-%m-%dT%H:%M:%S") for i in at],
            "distance": [9_999.0 if i < FAR else 100.0 + i * 7 % 1_000 for i in at],
            "delay": [float(i * 37 % 61) - 20 for i in at],
        }
    )  # fmt: skip


def pipeline_over(folder: Path, **gates: list[Check]) -> Pipeline:
    flights = Stream(
        "flights",
        csv(str(folder / "flights.csv")),
        id=["flight"],
        time="at",
        columns={int: "flight", str: "carrier stamp", float: "distance delay"},
        derive={"at": pl.col("stamp").str.to_datetime(time_zone="UTC")},
        reveals={"at": ["delay"]},
    )
    asked = request("flight", "at", "distance", optional=("carrier",)).with_features(
        hour=pl.col("at").dt.hour(), distance="distance"
    )
    return Pipeline(
        "late",
        ask=flights.before("at", hours(1)),
        inputs=[asked, flights.at("at").by("carrier").features(recent=agg.mean("delay", hours(12)))],
        label=flights.label(pl.col("delay") > 15, settled_after=days(1)),
        split=periods(train="2013-01", tune="2013-02", holdout="2013-03"),
        search=search.Search([models.Linear()]),
        before_training=gates.get("training", []),
        before_promotion=gates.get("promotion", []),
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A workspace with flights and carriers in its lake."""
    folder = tmp_path_factory.mktemp("home")
    history().write_csv(folder / "flights.csv")
    (folder / "carriers.csv").write_text("carrier\nAA\nUA\nB6\n")
    ledger = Ledger.in_folder(folder, ManualClock(AS_OF))
    place = SimpleNamespace(
        workspace=folder, lake=Lake(folder / "lake"), registry=Registry(folder / "registry", ledger, ""), ledger=ledger,
        tracking_uri="", clock=ManualClock(AS_OF),
    )  # fmt: skip
    yield cast(Platform, place)
    ledger.close()


@pytest.fixture
def platform(home: Platform, tmp_path: Path) -> Iterator[Platform]:
    """The same lake, with a history of its own."""
    ledger = Ledger.in_folder(tmp_path, ManualClock(AS_OF))
    registry = Registry(tmp_path / "registry", ledger, "")
    place = SimpleNamespace(
        workspace=tmp_path, lake=home.lake, registry=registry, ledger=ledger, tracking_uri="", data=home.workspace,
        clock=ManualClock(AS_OF),
    )  # fmt: skip
    yield cast(Platform, place)
    ledger.close()


def data(platform: Platform) -> Path:
    return cast(Path, platform.data)  # type: ignore[attr-defined]


def carriers(platform: Platform) -> Table:
    return Table("carriers", csv(str(data(platform) / "carriers.csv")), key="carrier", columns={str: "carrier"})


def built(platform: Platform, *gate: Check, bypass: str = "", as_of: int = AS_OF) -> TrainingSet:
    value = pipeline_over(data(platform), training=list(gate))
    snapshots = tuple(platform.lake.ingest(source, Silent()) for source in value.sources)
    return build(platform, Silent(), pipeline=value, snapshots=snapshots, as_of=as_of, bypass=bypass)


def reports(platform: Platform, kind: str) -> list[GateReport]:
    return [GateReport.from_json(entry.body) for entry in platform.ledger.entries(kind, "late")]


def used() -> pl.DataFrame:
    """The rows that can be asked: those whose label was settled by the start of the next period."""
    rows = history().with_columns(at=pl.col("stamp").str.to_datetime(time_zone="UTC"))
    asked = pl.col("at") - timedelta(hours=1)
    ends = [datetime(2013, month, 1, tzinfo=UTC) for month in (2, 3)]
    late = pl.any_horizontal([(asked < end) & (asked + timedelta(days=1) > end) for end in ends])
    return rows.filter(~late)


FAULTS: dict[str, tuple[Check, str]] = {
    "range": (checks.between("distance", 50, 5_000), f"{FAR} of {used().height} rows fail"),
    "quantile": (checks.quantile("distance", 1.0, 0, 5_000), "9,999; at least 0, at most 5,000"),
    "cardinality": (checks.cardinality("carrier", 1, 3), "4 different values; at least 1, at most 3"),
    "one of": (checks.one_of("carrier", "AA", "UA", "B6"), f"{STRANGE} of "),
    "regex": (checks.matches("carrier", "[A-W]+[A-Z0-9]"), f"{STRANGE} of "),
    "unique": (checks.unique("carrier", "hour"), f"of {used().height} rows fail"),
    "null share": (checks.not_null("carrier", at_least=0.95), f"{used()['carrier'].null_count()} of {used().height}"),
    "rows": (checks.rows(10_000), f"{used().height} rows; at least 10,000"),
    "age": (checks.fresh(within=days(30)), "newest event at 2013-03-16T22:00:00Z"),
    "rule": (checks.holds(pl.col("distance") < 100 * (pl.col("hour") + 20)), "rows fail"),
    "a period alone": (checks.holds((pl.col("period") != "train") | (pl.col("distance") < 9_000)), f"{FAR} of "),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "words"), FAULTS.values(), ids=FAULTS)
def test_no_training_set_with_a_planted_fault_is_handed_on(platform: Platform, rule: Check, words: str) -> None:
    with pytest.raises(GateError, match=re.escape(words)):
        built(platform, rule)
    (report,) = reports(platform, "gate.stopped")
    assert (report.stage, report.passed) == ("training", False)
    assert reports(platform, "gate.passed") == []
    record = built(platform, rule.warn())
    assert record.rows["train"] > 100
    assert reports(platform, "gate.passed")[0].about == record.digest


def test_a_key_that_is_not_there_stops(platform: Platform) -> None:
    with pytest.raises(GateError, match=f"{STRANGE} of .* rows fail") as raised:
        built(platform, checks.refers("carrier", to=carriers(platform)))
    assert "all are `XX`" in str(raised.value)


@pytest.mark.parametrize("kind", ["type", "column", "file"])
def test_files_that_are_not_as_declared_are_not_learned_from(platform: Platform, kind: str) -> None:
    file = Path(built(platform).folder) / "tune.parquet"
    frame = pl.read_parquet(file)
    if kind == "type":
        frame.with_columns(pl.col("recent").cast(pl.String)).write_parquet(file)
    elif kind == "column":
        frame.drop("recent").write_parquet(file)
    else:
        file.unlink()
    with pytest.raises(GateError, match=r"recent|cannot be read"):
        built(platform)


def test_what_drifted_from_the_last_training_set_stops(platform: Platform) -> None:
    rule = (checks.drift("distance", 0.2), checks.rows_like_before(within=0.1))
    first = built(platform, *rule)
    assert [result.passed for result in reports(platform, "gate.passed")[0].results] == [True] * 3
    frame = pl.read_parquet(Path(first.folder) / "train.parquet").head(50)
    folder = Path(f"{first.folder}-earlier")
    folder.mkdir()
    for name in first.rows:
        frame.with_columns(pl.col("distance") * 3).write_parquet(folder / f"{name}.parquet")
    earlier = structs.replace(first, folder=str(folder), digest="another")
    platform.ledger.append("before", "stage.features", "late", earlier.to_json())
    with pytest.raises(GateError, match="Kolmogorov-Smirnov") as raised:
        built(platform, *rule)
    assert "150 before" in str(raised.value)
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(GateError, match="cannot be made"):
        built(platform, *rule)


def test_rows_set_aside_are_not_learned_from_and_a_version_without_them_is_made_again(platform: Platform) -> None:
    gate = [checks.between("distance", 50, 5_000).quarantine(), checks.rows(10)]
    record = built(platform, *gate)
    seen = pl.concat([pl.read_parquet(Path(record.folder) / f"{name}.parquet") for name in record.rows])
    assert seen.height == sum(record.rows.values()) == used().height - FAR
    assert seen["distance"].max() < 5_000  # type: ignore[operator]
    aside = pl.read_parquet(Path(record.folder) / "set_aside.parquet")
    assert (aside["distance"].to_list(), record.left_out["set aside by between(distance, 50..5000)"]) == (
        [9_999.0] * FAR,
        FAR,
    )
    assert built(platform, *gate) == record
    assert [entry.kind for entry in platform.ledger.entries()] == ["gate.passed", "data.quarantined"]
    version = registered(platform, record, training=gate)
    assert reproduce(platform, version, data(platform), Silent()).identical


def test_a_reason_goes_past_and_is_kept(platform: Platform) -> None:
    rule = checks.rows(10_000)
    record = built(platform, rule, bypass="a small market")
    assert record.rows["train"]
    (report,) = reports(platform, "gate.bypassed")
    assert (report.bypassed, report.stage, report.about) == ("a small market", "training", record.digest)
    with pytest.raises(GateError):
        built(platform, rule)


def registered(
    platform: Platform, record: TrainingSet, c: float = 0.1, bypass: str = "", **gates: list[Check]
) -> ModelVersion:
    """What a search found, as a run hands it to the registry."""
    value = pipeline_over(data(platform), **gates)
    folder, params = platform.workspace / f"bundle-{c}", {"C": c, "max_iter": 200}
    tuned = dict.fromkeys(("auc", "log_loss", "brier", "average_precision", "ece"), 0.5)
    metrics = training.refit(value, record, "linear", params, tuned, folder)
    candidate = Candidate(
        pipeline="late", training_set=record.digest, algorithm="linear", params=params, seed=0, folder=str(folder),
        metrics=metrics, trials=(), reason="", experiment="",
    )  # fmt: skip
    enter = partial(register, platform, Silent(), pipeline=value, file=data(platform) / "pipeline.py")
    return enter(candidate=candidate, training_set=record, bypass=bypass)


ANSWERS: dict[str, tuple[Check, str]] = {
    "range": (checks.between("prediction", 0.9, 1), "rows fail"),
    "quantile": (checks.quantile("prediction", 0.5, 0.9, 1), "at least 0.9, at most 1"),
    "cardinality": (checks.cardinality("prediction", 2, 5), "different values; at least 2, at most 5"),
    "null share": (checks.not_null("recent", at_least=0.99), "rows fail"),
    "rows": (checks.rows(5_000), "rows; at least 5,000"),
    "age": (checks.fresh(within=days(30)), "newest event at 2013-03-16T22:00:00Z"),
    "rule": (checks.holds((pl.col("prediction") > 0.9) == pl.col("label")), "rows fail"),
}


@pytest.mark.parametrize(("rule", "words"), ANSWERS.values(), ids=ANSWERS)
def test_nobody_is_promoted_whose_answers_fail(platform: Platform, rule: Check, words: str) -> None:
    record = built(platform)
    with pytest.raises(GateError, match=re.escape(words)):
        registered(platform, record, promotion=[rule])
    (version,) = platform.registry.versions("late")
    assert version.aliases == ()
    with pytest.raises(GateError, match="is closed: " + re.escape(rule.kind)):
        platform.registry.promote("late", 1, expect=None, why="I want it")
    assert platform.registry.champion("late") is None
    assert platform.registry.promote("late", 1, expect=None, why="w", bypass="seen").aliases == ("champion",)
    kept = reports(platform, "gate.bypassed")[-1]
    assert (kept.bypassed, kept.stage, kept.about) == ("seen", "promotion", version.digest)


def test_a_damaged_holdout_and_an_unlisted_key_promote_nobody(platform: Platform) -> None:
    rule = checks.refers("carrier", to=carriers(platform))
    record = built(platform, rule.warn())
    held = Path(record.folder) / "holdout.parquet"
    frame = pl.read_parquet(held)
    frame.with_columns(carrier=pl.lit("YY")).write_parquet(held)
    with pytest.raises(GateError, match="all are `YY`"):
        registered(platform, record, promotion=[rule])
    frame.with_columns(pl.col("flight").cast(pl.Float64)).write_parquet(held)
    with pytest.raises(GateError, match="`flight` is Float64, expected Int64"):
        registered(platform, record, 0.2, promotion=[checks.rows(1)])
    assert platform.registry.champion("late") is None


def test_answers_are_compared_with_the_champions(platform: Platform) -> None:
    record = built(platform)
    rule = checks.drift("prediction", 0.05)
    assert registered(platform, record, 10.0, promotion=[rule]).aliases == ("champion",)
    with pytest.raises(GateError, match="Kolmogorov-Smirnov"):
        registered(platform, record, 1e-6, promotion=[rule])
    champion = platform.registry.champion("late")
    assert champion is not None
    assert champion.version == 1


def test_a_version_that_was_not_judged_is_not_promoted(platform: Platform) -> None:
    record = built(platform)
    version = registered(platform, record, promotion=[checks.rows(1)])
    other = replace_ledger(platform)
    other.registry.register(*entered(platform, version))
    with pytest.raises(GateError, match="has not judged it"):
        other.registry.promote("late", 1, expect=None, why="w")


def replace_ledger(platform: Platform) -> Platform:
    ledger = Ledger.in_folder(platform.workspace / "other", ManualClock(AS_OF))
    registry = Registry(platform.workspace / "other", ledger, "")
    return cast(Platform, SimpleNamespace(**vars(platform) | {"ledger": ledger, "registry": registry}))


def entered(platform: Platform, version: ModelVersion) -> tuple[Candidate, object]:
    candidate = Candidate(
        pipeline="late", training_set=version.lineage.training_set, algorithm="linear", params=version.lineage.params,
        seed=0, folder=version.folder, metrics=version.metrics, trials=(), reason="", experiment="",
    )  # fmt: skip
    return candidate, version.lineage


def test_of_two_lessons_the_one_without_the_past_must_win_against_the_other(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, value = built(platform), pipeline_over(data(platform))
    champion = registered(platform, record)
    whole, newer = Lesson(value, record), Lesson(value, structs.replace(record, digest="newer" * 8))
    # What each loses on every row of the holdout, by who is asked.
    lost, kept = {"whole": 0.6, "newer": 0.5}, bundle.card(Path(champion.folder))

    def losses(_frame: object, held_out: str, _target: object) -> object:
        return np.full(500, lost[held_out])

    def rehearsed(_pipeline: object, rows: TrainingSet, *_: object) -> object:
        return SimpleNamespace(held_out="whole" if rows is record else "newer", metrics=champion.metrics)

    monkeypatch.setattr(flows_challenge, "losses", losses)
    monkeypatch.setattr(flows_challenge, "losses_of", lambda *_: np.full(500, 0.7))
    monkeypatch.setattr(flows_challenge, "rehearse", rehearsed)
    monkeypatch.setattr(flows_challenge.bundle, "card", lambda _: kept)
    chosen = [_fit(platform, Silent(), lessons=lessons, champion=champion) for lessons in ([whole], [whole, newer])]
    lost["newer"] = 0.65
    chosen.append(_fit(platform, Silent(), lessons=[whole, newer], champion=champion))
    assert [(one.lesson, round(one.verdict.gain, 3)) for one in chosen] == [(0, 0.1), (1, 0.2), (0, 0.1)]
    assert chosen[1].candidate.training_set == newer.rows.digest

    def dry(pipeline: object, rows: TrainingSet, *_: object) -> object:
        if rows is not record:
            raise TrainingError("feature `rain` is 0.0 in all 1,216 rows", where="late")
        return rehearsed(pipeline, rows)

    monkeypatch.setattr(flows_challenge, "rehearse", dry)
    assert _fit(platform, Silent(), lessons=[whole, newer], champion=champion).lesson == 0


def test_a_definition_moves_on_and_forgets_what_was_before_a_change(platform: Platform) -> None:
    value, day = pipeline_over(data(platform)), 86_400_000_000
    as_of = 100 * day + micros(datetime(2013, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC))
    since, onset = as_of - 60 * day, as_of - 9 * day
    plain, halved = rolled(value, since, as_of).periods, rolled(value, since, as_of, onset).periods
    newer = rolled(value, since, as_of, onset, forget=True).periods
    last = datetime(2013, 1, 1, tzinfo=UTC) + timedelta(days=99)
    assert plain.holdout == (last - timedelta(days=14), last)
    # Of the eight days whose labels have settled one half is learned from.
    assert halved.holdout == newer.holdout == (last - timedelta(days=4), last)
    assert (halved.train[0], newer.train[0]) == (plain.train[0], last - timedelta(days=8))
    assert newer.train[0] < newer.tune[0] < newer.tune[1] == newer.holdout[0]


def test_who_is_fitted_by_a_champions_recipe_has_a_run_and_nothing_of_its_tuning(
    platform: Platform, empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = built(platform)
    champion = registered(platform, record)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(platform, "tracking_uri", f"sqlite:///{shutil.copy(empty_mlflow, tmp_path / 'mlflow.db')}")
    value = pipeline_over(data(platform))
    ask = partial(_fit, platform, Silent(), lessons=[Lesson(value, record)], champion=champion)
    made = ask().candidate
    assert champion.metrics["tune_auc"] == 0.5
    assert not [name for name in made.metrics if name.startswith("tune_")]
    [run] = MlflowClient(platform.tracking_uri).search_runs(["1"])
    assert run.data.metrics["auc"] == pytest.approx(made.metrics["auc"])
    assert (run.data.params["C"], run.data.tags["recipe"], run.info.status) == ("0.1", "late/1", "FINISHED")
    assert capture(value, data(platform) / "pipeline.py", made, record).run_id == run.info.run_id
    assert ask().candidate.run_id == run.info.run_id, "a job that begins again has the same run"
