"""The way from files to service, told by the ledger's rows alone, and drawn."""

from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts.records import (
    Candidate,
    CheckResult,
    Deployment,
    GateReport,
    Ingested,
    Lineage,
    Record,
    Snapshot,
    SourceFile,
    TrainingSet,
    Trial,
)
from raypipe.ledger import Ledger
from raypipe.registry import Registry, drawing
from raypipe.registry.openlineage import events
from raypipe.registry.rows import DEPLOYED, REGISTERED, Registered
from raypipe.registry.walk import Way, past, walk
from tests.cli.records import LINEAGE, MADE

FILES = {name: SourceFile(path=f"data/{name}.csv", digest=f"{name}-digest", rows=9) for name in ("a", "b", "c")}


def snapshot(table: str, number: int, *files: str) -> Snapshot:
    found = tuple(FILES[name] for name in files)
    return Snapshot(table=table, snapshot_id=number, definition="", rows=9, added=9, repeated=0, files=found)


SNAPSHOTS = (snapshot("zones", 5, "a"), snapshot("rides", 7, "b", "c"))
CHECK = CheckResult(table="rides", check="unique", columns=(), passed=True, rows=9, failed=1, detail="", where="")


def gate(number: int = 7, as_of: int = MADE, passed: bool = True) -> GateReport:
    check = msgspec.structs.replace(CHECK, passed=passed)
    return GateReport(
        pipeline="rides", as_of=as_of, snapshots=(SNAPSHOTS[0], snapshot("rides", number)), results=(check,)
    )


def training_set(digest: str) -> TrainingSet:
    return TrainingSet(
        pipeline="rides", definition="f", as_of=MADE, snapshots=SNAPSHOTS, folder="", digest=digest,
        features=("fare", "hour"), rows={"train": 6, "tune": 2, "holdout": 1}, positives={}, left_out={"no label": 4},
    )  # fmt: skip


def trial(number: int, algorithm: str = "linear", status: str = "finished") -> Trial:
    return Trial(
        number=number,
        algorithm=algorithm,
        params={"n": number},
        status=status,
        metrics={} if status == "failed" else {"auc": 0.7},
        seconds=1.0,
        error="ValueError: <no>" if status == "failed" else "",
    )


def candidate(digest: str, winner: int, trials: int = 3) -> Candidate:
    all_trials = (*(trial(number) for number in range(trials - 1)), trial(trials - 1, "network", "failed"))
    return Candidate(
        pipeline="rides", training_set=digest, algorithm="linear", params={"n": winner}, seed=0, folder="",
        metrics={"auc": 0.7}, trials=all_trials, reason="", experiment="",
    )  # fmt: skip


def deployment(version: int, at: int) -> Deployment:
    return Deployment(name="rides", version=version, digest=f"d{version}", url="http://h/rides/predict", at=at)


def lineage_of_one() -> Lineage:
    return msgspec.structs.replace(LINEAGE, snapshots={"rides": 7, "zones": 5}, params={"n": 1})


def way(ledger: Ledger, *rows: tuple[str, Record]) -> Way:
    """The way of a version whose ledger holds these rows, those of other models beside them."""
    version = Registered(version=1, algorithm="linear", metrics={"auc": 0.7}, digest="d1", lineage=lineage_of_one())
    ledger.append(f"{REGISTERED}/rides/{version.version}", REGISTERED, "rides", version.to_json())
    for number, (kind, row) in enumerate(rows):
        ledger.append(f"r{number}", kind, "rides", row.to_json())
        ledger.append(f"o{number}", kind, "other", row.to_json())
    return walk(ledger, Registry(Path("nowhere"), ledger, "").get("rides", 1))


WHOLE = (
    ("stage.gate", gate()),
    ("stage.features", training_set("t")),
    ("stage.train", candidate("t", 1)),
    (DEPLOYED, deployment(1, MADE)),
    (DEPLOYED, deployment(2, MADE + 60_000_000)),
    (DEPLOYED, deployment(1, MADE + 120_000_000)),
)


def test_the_whole_way(ledger: Ledger) -> None:
    found = way(ledger, *WHOLE)
    assert found.missing == ()
    kinds = [node.kind for node in found.nodes]
    assert {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)} == {
        "file": 3, "snapshot": 2, "gate": 1, "training set": 1, "trial": 3, "version": 1, "deployment": 2,
    }  # fmt: skip
    path, at = [], found.nodes[-1]
    while at.kind != "file":
        path.append(at.id)
        at = found.before(at.id)[-1]
    assert path == ["deployment:3", "version:rides/1", "trial:1", "training_set:t", "gate:rides", "snapshot:rides@7"]
    assert [node.title for node in found.before("snapshot:rides@7")] == ["b.csv", "c.csv"]
    assert [node.title for node in found.before("version:rides/1")] == ["trial 1: linear"]
    ends = [node.facts["until"] for node in found.after("version:rides/1")]
    assert ends == ["2013-07-03T00:01:00Z", "now"]
    # It is a record as any other.
    assert Way.from_json(found.to_json()) == found


def test_quality_is_told_by_the_metric_that_the_search_went_by(ledger: Ledger) -> None:
    searched = candidate("t", 1)
    trials = [msgspec.structs.replace(one, metrics=dict.fromkeys(("rmse", "mae"), 3.5)) for one in searched.trials]
    searched = msgspec.structs.replace(searched, trials=tuple(trials), metric="rmse", metrics={"rmse": 4.25})
    version = Registered(version=1, algorithm="linear", metrics={"rmse": 4.25}, digest="d1", lineage=lineage_of_one())
    ledger.append(f"{REGISTERED}/rides/1", REGISTERED, "rides", version.to_json())
    ledger.append("s", "stage.train", "rides", searched.to_json())
    found = walk(ledger, Registry(Path("nowhere"), ledger, "").get("rides", 1))
    told = {node.id: node.detail for node in found.nodes}
    assert told["trial:1"] == "finished, tune rmse 3.5000"
    assert told["version:rides/1"].startswith("linear, holdout rmse 4.2500, digest d1")


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        (("stage.gate", gate(number=8)), "a gate that passed these snapshots"),
        (("stage.gate", gate(as_of=MADE + 1)), "a gate that passed these snapshots"),
        (("stage.gate", gate(passed=False)), "a gate that passed these snapshots"),
        (("stage.features", training_set("other")), "the record of its training set"),
        (("stage.train", candidate("other", 1)), "the record of its search"),
        (("stage.train", candidate("t", 2)), "the record of its search"),
    ],
)
def test_rows_that_belong_to_another_model_are_not_its_way(
    ledger: Ledger, row: tuple[str, Record], missing: str
) -> None:
    rows = [row if kind == row[0] else (kind, record) for kind, record in WHOLE]
    found = way(ledger, *rows)
    assert missing in found.missing
    # Whatever is missing, files still lead to the version.
    reached, front = set(), [found.nodes[0].id]
    while front:
        reached.add(at := front.pop())
        front += [node.id for node in found.after(at)]
    assert "version:rides/1" in reached


def test_an_empty_ledger_still_tells_files_and_snapshots(ledger: Ledger) -> None:
    found = way(ledger)
    assert len(found.missing) == 3
    assert [node.title for node in found.nodes] == ["rides", "zones", "training set", "rides/1"]


class Links(HTMLParser):
    """Everything that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for name, value in attrs if name in {"src", "href", "xlink:href"}]
        self.found += [tag] if tag in {"script", "link", "img", "iframe"} else []


def test_the_picture_is_whole_and_needs_nothing_else(ledger: Ledger) -> None:
    found = way(ledger, *WHOLE)
    picture = ET.fromstring(drawing.svg(found))
    boxes = picture.findall("{*}g")
    assert len(boxes) == len(found.nodes)
    assert len(picture.findall("{*}path")) == len(found.edges)
    assert any("error: ValueError: <no>" in "".join(box.itertext()) for box in boxes)
    right = max(float(box.find("{*}rect").get("x")) for box in boxes) + drawing.WIDTH
    assert right < float(picture.get("width"))
    page = Links()
    page.feed(drawing.html(found))
    assert page.found == []


def test_many_trials_are_drawn_as_one(ledger: Ledger) -> None:
    rows = [(kind, candidate("t", 1, 40) if kind == "stage.train" else row) for kind, row in WHOLE]
    found = way(ledger, *rows)
    assert sum(node.kind == "trial" for node in found.nodes) == 40
    text = drawing.svg(found)
    assert "39 other trials" in text
    assert text.count("<g>") == len(found.nodes) - 38


def test_events_have_the_times_of_their_own_rows(ledger: Ledger, clock: ManualClock) -> None:
    began = clock.now()
    ingested = Ingested(snapshots=SNAPSHOTS)
    for kind, row in (("stage.ingest", ingested), *WHOLE[:3]):
        clock.advance(60_000_000)
        ledger.append(kind, kind, "rides", row.to_json())
    clock.advance(60_000_000)
    found = way(ledger, (DEPLOYED, deployment(1, MADE)), (DEPLOYED, deployment(2, MADE + 60_000_000)))
    version = Registry(Path("nowhere"), ledger, "").get("rides", 1)
    told = events(found, version, past(ledger, version).at)
    minutes = {
        event["job"]["name"].removeprefix("rides."): (instant(event["eventTime"]) - began) / 60_000_000
        for event in told
    }
    assert minutes.pop("deploy") == (MADE - began) / 60_000_000
    assert minutes == {"ingest": 1, "gate": 2, "features": 3, "trial": 4, "train": 4}
    by_name = {event["job"]["name"]: event for event in told}
    gate = by_name["rides.gate"]
    assert [dataset["name"] for dataset in gate["inputs"]] == ["zones", "rides"]
    assert gate["outputs"][0] in by_name["rides.features"]["inputs"]


def instant(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6)
