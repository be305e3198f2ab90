"""What dashboards and alerts ask for is told by a service that runs: `raypipe up` with its own front door."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from benchmarks.scale import rides
from benchmarks.scale.command import Home
from benchmarks.scale.past import Past
from raypipe.services import ServicesConfig
from tests.cluster.test_monitoring import DASHBOARDS, USED, expressions, labels, rules

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

NAME, SECONDS = "rides", 90.0
#: Told once a tick of a watch is over, by an ingestion that keeps going, or of a log that cannot be written: these have
#: tests of their own, `test_gauges`, `test_follow` and `test_app`.
ELSEWHERE = re.compile(
    r"ray_raypipe_(drift_\w+|data_breaks|error_rate|errors_risen|labelled_share|loss\w*|watch_\w+|unlogged_total)"
    r"|raypipe_ingest_\w+"
)
SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? \S+$", re.MULTILINE)


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """Two stages have run, a model answers, a question was right, one wrong, and one of a place that nobody knows."""
    with TemporaryDirectory(prefix="emitted-", dir="/tmp") as name:
        found, made = Home(Path(name) / "ws"), Path(name) / "made"
        past = Past(found.workspace, made)
        past.promoted(NAME, 1)
        past.close()
        file = str(rides.definition(made, NAME))
        try:
            found.call("run", file, "--until", "gate")
            found.call("deploy", file)
            url = f"http://127.0.0.1:{found.settings['RAYPIPE_SERVE_PORT']}/{NAME}/predict"
            question = {"ride": "r1", "zone": "a", "asked_at": "2013-07-01T09:00:00Z"}
            asked = [question, question | {"zone": "nowhere"}, {"ride": "r1"}]
            assert [httpx.post(url, json=one, timeout=30).status_code for one in asked] == [200, 200, 422]
            yield found
        finally:
            found.call("down")


def add_series(home: Home, found: dict[str, set[str]]) -> None:
    """By name, the labels of what the nodes tell Prometheus now: they are found as `prometheus.yml` finds them."""
    where = ServicesConfig(home.workspace).ray_temp / "prom_metrics_service_discovery.json"
    targets = [target for group in json.loads(where.read_text()) for target in group["targets"]]
    for text in (httpx.get(f"http://{target}/metrics", timeout=30).text for target in targets):
        for name, inner in SERIES.findall(text):
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', inner or ""))


def test_every_name_and_label_is_there(home: Home) -> None:
    used = [one for path in DASHBOARDS for one in expressions(json.loads(path.read_text()))]
    used += [rule["expr"] for rule in rules()]
    asked = {name for one in used for name in USED.findall(one) if not ELSEWHERE.fullmatch(name)}
    assert len(asked) >= 15
    # Processes tell their nodes every ten seconds; what a busy machine tells late is away for a while.
    end, told = time.monotonic() + SECONDS, dict[str, set[str]]()
    while missing := asked - told.keys():
        assert time.monotonic() < end, f"nobody tells {sorted(missing)}"
        add_series(home, told)
        time.sleep(2)
    for one in used:
        names = USED.findall(one)
        if all(name in told for name in names):
            assert labels(one) <= set().union(*(told[name] for name in names)), one
