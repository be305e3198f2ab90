"""A model card and OpenLineage events out of a registered version and the rows of the ledger."""

import json
import uuid
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from raypipe.cli.main import main
from raypipe.clock import SystemClock
from raypipe.contracts import bundle
from raypipe.contracts.evaluation import Evaluation, Fairness, Importance, Interval, Segment
from raypipe.contracts.records import Trial
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from raypipe.registry.card import card
from raypipe.registry.card_page import html, markdown
from raypipe.registry.openlineage import events
from raypipe.registry.walk import past, walk
from tests.registry.making import lineage_of, make_candidate, make_training_set

EVALUATION = Evaluation(
    rows=1_234,
    metrics={"auc": Interval(value=0.7, low=0.65, high=0.75)},
    segments=(Segment(column="zone", value="a|b", rows=99, truth=0.3, answer=0.25, metrics={"auc": 0.61}),),
    fairness=(Fairness(column="zone", values=2, measures={"demographic_parity_difference": 0.125}),),
    importances=(
        Importance(feature="fare", loss=0.1, deviation=0.01),
        Importance(feature="hour", loss=0.001, deviation=0.002),
    ),
    cost=0.25,
    blocks=31,
)


@pytest.fixture
def kept(workspace: Path, tmp_path: Path):
    """A workspace with one version of `rides`, promoted; its name and its ledger."""
    candidate = make_candidate(tmp_path / "made")
    folder = Path(candidate.folder)
    (folder / bundle.EVALUATION).write_text(EVALUATION.to_json())
    bundle.seal(folder)
    ledger = Ledger.in_folder(workspace, SystemClock())
    registry = Registry(workspace / "registry", ledger, "")
    lineage = lineage_of(candidate, bundle.pipeline(folder))
    failed = Trial(
        number=2, algorithm="network", params={}, status="failed", metrics={}, seconds=1.0, error="ValueError: no"
    )
    told = candidate.to_json().replace('"reason":"best"', '"reason":"it is the best of 3"')
    searched = type(candidate).from_json(told)
    body = type(searched)(**{name: getattr(searched, name) for name in searched.__struct_fields__} | {
        "trials": (*searched.trials, failed)
    })  # fmt: skip
    ledger.append("s1", "stage.features", "rides", make_training_set().to_json())
    ledger.append("s2", "stage.train", "rides", body.to_json())
    version = registry.register(candidate, lineage)
    registry.promote("rides", 1, expect=None, why="the first", who="Ada")
    yield ledger, registry.get("rides", version.version)
    ledger.close()


def test_a_card_tells_what_the_record_knows(kept) -> None:
    text = markdown(card(*kept))
    assert text.startswith("# rides/1\n")
    version = kept[1]
    for known in (
        version.digest,
        version.lineage.pipeline_definition,
        "| auc | 0.7000 | 0.6500 to 0.7500 |",
        "| a\\|b | 99 | 0.300 | 0.250 | 0.6100 |",
        "demographic_parity_difference | 0.1250",
        "it is the best of 3.",
        "3 trials in all; 1 failed.",
        "Not told from useless by shuffling: hour.",
        "It does worst where zone is a|b: auc 0.6100.",
        "| promoted | the first | Ada |",
        "The ledger lacks a gate that passed these snapshots.",
        "A row costs 0.25 on average.",
    ):
        assert known in text, known


def test_the_page_is_whole_and_escapes_what_it_is_told(kept) -> None:
    page = html(card(*kept))
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            assert not {name for name, _ in attrs} & {"src", "href"}
            open_tags.extend([tag] if tag != "meta" else [])

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Reader().feed(page)
    assert not open_tags
    assert "<h2>Fairness</h2>" in page
    assert "`" not in page
    assert "<code>" in page
    assert '<td class="n">0.7000</td>' in page, "figures stand below each other"
    assert "<td>auc</td>" in page


def test_the_command_prints_it_and_writes_it(kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", "rides/1"]) == 0
    printed = capsys.readouterr().out
    assert printed == markdown(card(*kept))
    assert main(["card", "rides/1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["title"] == "rides/1"
    files = tmp_path / "card.html", tmp_path / "card.md"
    assert main(["card", "rides/champion", "--html", str(files[0]), "--markdown", str(files[1])]) == 0
    assert files[1].read_text() == printed
    assert files[0].read_text().startswith("<!doctype html>")
    assert main(["card", "rides/1", "--html", str(tmp_path / "no" / "card.html")]) != 0
    assert "cannot be written" in capsys.readouterr().err


def test_events_name_jobs_runs_and_states_and_are_the_same_each_time(kept, tmp_path: Path) -> None:
    ledger, version = kept
    told = events(walk(ledger, version), version, past(ledger, version).at)
    jobs = ["rides.ingest", "rides.features", *["rides.trial"] * 3, "rides.train"]
    assert [event["job"]["name"] for event in told] == jobs
    assert told == events(walk(ledger, version), version, past(ledger, version).at)
    assert len({event["run"]["runId"] for event in told}) == len(told)
    for event in told:
        assert {"eventTime", "producer", "schemaURL", "run", "job"} <= event.keys()
        assert uuid.UUID(event["run"]["runId"]).version == 5
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        for dataset in (*event["inputs"], *event["outputs"]):
            facet = dataset["facets"]["version"]
            assert dataset["namespace"]
            assert dataset["name"]
            assert facet["datasetVersion"]
            assert facet["_schemaURL"].startswith("https://openlineage.io/")
    # What one job makes the next one takes, by the same name.
    first, second, *trials, third = told
    assert {trial["run"]["facets"]["parent"]["run"]["runId"] for trial in trials} == {third["run"]["runId"]}
    assert [trial["eventType"] for trial in trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    assert all(trial["inputs"] == third["inputs"] for trial in trials)
    assert {d["name"] for d in first["outputs"]} == {d["name"] for d in second["inputs"]} == {"zones", "rides"}
    assert second["outputs"] == third["inputs"]
    assert main(["lineage", "rides/1", "--openlineage", str(tmp_path / "events.ndjson")]) == 0
    assert len((tmp_path / "events.ndjson").read_text().splitlines()) == 6
