"""The catalogue says what features are, and that a changed definition is another one, which old models do not see."""

import json
from datetime import datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl
import pytest
from msgspec import structs
from rich.console import Console

from raypipe.cli.features import _table
from raypipe.cli.main import main
from raypipe.clock import ManualClock
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import MATERIALIZED, ModelVersion, TrainingSet
from raypipe.errors import DefinitionError
from raypipe.features import materialize
from raypipe.flows import catalogue as module
from raypipe.flows.catalogue import catalogue, fingerprints
from raypipe.ledger import Ledger
from raypipe.spec import (
    FrozenMap,
    Pipeline,
    Search,
    Stream,
    agg,
    changed,
    csv,
    days,
    derived,
    hours,
    lint,
    models,
    periods,
    request,
)  # fmt: skip
from tests.features.flights import snapshot
from tests.features.memory import MemoryStore


def pipeline(window: int = 3) -> Pipeline:
    stream = Stream(
        "sales",
        csv("sales.csv"),
        id=["id"],
        time="at",
        columns={int: "id", str: "shop", float: "price", datetime: "at"},
    )
    return Pipeline(
        "sales",
        ask=stream.before("at"),
        inputs=[
            request("shop", "at").with_features(hour=pl.col("at").dt.hour()),
            stream.by("shop").features(mean_price=agg.mean("price", hours(window)), sales=agg.count(days(1))),
            derived(dear=pl.col("mean_price") > 10, busy=pl.col("sales") > 3),
        ],
        label=stream.label(pl.col("price") > 5, settled_after=days(1)),
        split=periods(train="2024-01", tune="2024-02", holdout="2024-03"),
        search=Search([models.Linear()]),
        meanings={"mean_price": "what the shop asks for lately, in euro"},
        owner="pricing@example.com",
        owners={"sales": "shops@example.com"},
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.in_folder(tmp_path / "home", ManualClock(1))


def version(number: int) -> ModelVersion:
    return cast(ModelVersion, SimpleNamespace(version=number, folder=str(number), created=number * 10))


def materialized(value: Pipeline, until: int, ledger: Ledger) -> None:
    """A state of no events, and its row in the ledger."""
    kinds = {"id": pl.Int64, "shop": pl.String, "price": pl.Float64, "at": pl.Datetime("us", "UTC")}
    nothing, store = pl.DataFrame(schema=kinds), MemoryStore()
    state = materialize(
        value, {"sales": snapshot("sales", 1, nothing)}, lambda _: nothing.lazy(), store, until, Silent()
    )
    ledger.append(f"m{until}", MATERIALIZED, "sales", state.to_json())


def test_a_changed_definition_is_another_version(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = {"1": 3, "2": 6, "3": 3}
    monkeypatch.setattr(module.bundle, "pipeline", lambda folder: pipeline(windows[str(folder)]))
    versions = [version(number) for number in (1, 2, 3)]
    now = {one.name: one for one in catalogue(pipeline(6), versions, ledger)}
    assert (now["mean_price"].used_by, now["mean_price"].otherwise_in, now["mean_price"].definition) == (
        (2,),
        (1, 3),
        2,
    )
    assert [now[name].since for name in ("mean_price", "sales", "dear")] == [20, 10, 20], "first registered with it"
    assert (now["dear"].used_by, now["dear"].otherwise_in) == ((2,), (1, 3)), "what it is computed from changed"
    assert (now["sales"].used_by, now["sales"].otherwise_in) == ((1, 2, 3), ())
    assert (now["busy"].used_by, now["hour"].used_by) == ((1, 2, 3), (1, 2, 3))
    new = {one.name: one for one in catalogue(pipeline(9), versions, ledger)}
    mean = new["mean_price"]
    assert (mean.used_by, mean.definition, mean.since, new["sales"].since) == ((), 3, None, 10)
    assert fingerprints(pipeline(3)) == fingerprints(pipeline(3))


def test_what_a_feature_is_and_how_it_looks(ledger: Ledger, tmp_path: Path) -> None:
    value = pipeline()
    frame = pl.DataFrame({"shop": ["a"] * 4, "hour": [1, 2, 3, 4], "mean_price": [1.0, None, None, 2.0]})
    frame.with_columns(at=1, sales=0, dear=None, busy=False).write_parquet(tmp_path / "train.parquet")
    made = TrainingSet(
        pipeline="sales",
        definition=module.fingerprint((value.ask, value.inputs, value.label, value.split)),
        as_of=5,
        snapshots=(),
        folder=str(tmp_path),
        digest="",
        features=value.feature_names,
        rows={},
        positives={},
        left_out={},
    )
    ledger.append("t", "stage.features", "sales", made.to_json())
    materialized(value, 77, ledger)
    found = {one.name: one for one in catalogue(value, [], ledger)}
    mean = found["mean_price"]
    assert (mean.meaning, mean.owner) == ("what the shop asks for lately, in euro", "pricing@example.com")
    assert (found["sales"].owner, found["dear"].owner) == ("shops@example.com", "pricing@example.com")
    assert (mean.kind, mean.window, mean.sources) == ("window", "3 h sawtooth (1 min)", ("sales.at",))
    assert mean.computed == "mean of price over 3 h by shop"
    assert (mean.null_share, mean.fresh_until, mean.definition) == (0.5, 77, 1)
    assert (found["dear"].null_share, found["dear"].fresh_until, found["dear"].kind) == (1.0, None, "derived")
    assert (found["hour"].kind, found["hour"].sources) == ("request", ("at",))


def test_what_is_stored_of_another_definition_makes_nothing_fresh(ledger: Ledger) -> None:
    def until(value: Pipeline) -> set[int | None]:
        return {one.fresh_until for one in catalogue(value, [], ledger) if one.kind == "window"}

    materialized(pipeline(3), 77, ledger)
    materialized(pipeline(6), 99, ledger)
    assert [until(pipeline(window)) for window in (3, 6, 9)] == [{77}, {99}, {None}]


def test_a_fresh_clone_tells_what_the_definition_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing has run, nothing is made; only a name needs a workspace."""
    monkeypatch.setenv("RAYPIPE_WORKSPACE", str(tmp_path / "none"))
    example = str(Path(__file__).parents[2] / "examples/flights/pipeline.py")
    assert main(["features", example, "--json"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    mean = found["origin_delay_1h"]
    window = "1 h sawtooth (1 min)"
    assert (mean["kind"], mean["window"], mean["sources"]) == ("window", window, ["flights.departed_at"])
    assert (len(mean["fingerprint"]), mean["null_share"], mean["fresh_until"], mean["used_by"]) == (16, None, None, [])
    assert {one["owner"] for one in found.values()} == {"flights@example.com"}
    assert "minutes" in found["origin_delay_recent"]["meaning"]
    assert main(["features", example]) == 0
    assert main(["features", "flights"]) != 0
    assert not (tmp_path / "none").exists()


def test_meanings_are_of_features_that_are_there() -> None:
    for told in ("meanings", "owners"):
        value = changed(pipeline(), **{told: FrozenMap({"mean_prise": "a typing mistake"})})
        with pytest.raises(DefinitionError, match=f"`{told}` tells of `mean_prise`"):
            lint(value)


def test_the_command_says_it_to_people_and_programs(
    workspace: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (workspace / ".raypipe").mkdir(exist_ok=True)
    Ledger.in_folder(workspace / ".raypipe", ManualClock(1)).close()
    Ledger.in_folder(workspace, ManualClock(1)).close()
    example = str(Path(__file__).parents[2] / "examples/flights/pipeline.py")
    assert main(["features", example, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"name", "meaning", "owner", "kind", "null_share", "fresh_until", "used_by"} <= set(listed[0])
    assert main(["features", example]) == 0
    assert "how it is computed" in capsys.readouterr().out
    assert main(["features", "nobody"]) == 1


def test_people_read_whose_a_feature_is_and_since_when_it_is_so() -> None:
    value = changed(pipeline(6), owners=FrozenMap({"sales": "shops@example.com"}))
    entries = [structs.replace(one, since=1_372_636_800_000_000) for one in catalogue(value)]
    entries[1] = structs.replace(entries[1], since=None, definition=3)
    console = Console(width=250, file=StringIO())
    console.print(_table(entries, value.owner))
    rows = {line.split()[0]: line for line in console.file.getvalue().splitlines() if line.strip()}
    assert "shops@example.com" in rows["sales"]
    assert "1, since 2013-07-01" in rows["sales"]
    assert "3, new" in rows[entries[1].name]
    assert "6 h sawtooth (1 min)" in rows["mean_price"]
    console = Console(width=250, file=StringIO())
    console.print(_table([one for one in entries if one.name != "sales"], value.owner))
    assert "owner" not in console.file.getvalue(), "one owner is told once, above"
