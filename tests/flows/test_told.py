"""What Prometheus is told of stages: asked of the node's own exporter, after the processes that counted."""

import time
import urllib.request
from functools import partial
from pathlib import Path

import pytest
import ray

from raypipe.contracts.progress import Silent
from raypipe.contracts.records import Ingested, Snapshot
from raypipe.errors import GateError
from raypipe.flows.remote import on_cluster
from raypipe.flows.stage import Stage
from tests.flows.test_stage import platform, refuse

pytestmark = pytest.mark.usefixtures("ray_local")


def ingested(*_: object) -> Ingested:
    one = Snapshot(table="t", snapshot_id=1, definition="d", rows=9, added=7, repeated=2, files=())
    return Ingested(snapshots=(one, one))


def exported(wanted: dict[str, float]) -> dict[str, float]:
    """Samples of raypipe's own metrics of the pipeline `told`, labels without those of Ray; waits for the wanted."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + 30
    while True:
        text = urllib.request.urlopen(url, timeout=5).read().decode()
        lines = [line for line in text.splitlines() if line.startswith("ray_raypipe") and 'pipeline="told"' in line]
        found: dict[str, float] = {}
        for line in lines:
            name, _, rest = line.partition("{")
            labels, _, value = rest.rpartition("} ")
            ours = [one for one in labels.split(",") if one.split("=")[0] in ("stage", "outcome", "what")]
            key = " ".join([name.removeprefix("ray_raypipe_"), *(one.split('"')[1] for one in sorted(ours))])
            found[key] = found.get(key, 0.0) + float(value)
        if wanted.items() <= found.items() or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def test_every_stage_is_counted_with_its_outcome_its_seconds_and_its_rows(tmp_path: Path) -> None:
    place = platform(tmp_path)
    stage = Stage("ingest", Ingested, ingested, ("a",))
    assert [stage.run("told", place, Silent())[2] for _ in range(3)] == [False, True, True]
    with pytest.raises(GateError):
        on_cluster("told: gate", partial(refuse), place, Silent())
    wanted: dict[str, float] = {
        "stage_runs_total done ingest": 1,
        "stage_runs_total reused ingest": 2,
        "stage_runs_total failed gate": 1,
        "stage_rows_total ingest new": 14,
        "stage_rows_total ingest repeated": 4,
    }
    found = exported(wanted)
    assert found.pop("stage_seconds_total ingest") > 0
    assert found.pop("stage_seconds_total gate") > 0
    assert found == wanted
