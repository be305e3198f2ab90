"""A report of a gate is a run of MLflow, once; without MLflow it is a warning, and the gate says what it says."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from msgspec import structs

from raypipe.contracts.records import CheckResult, GateReport
from raypipe.registry.reports import copy_report, experiment

FAILED = CheckResult(
    table="trips", check="rows(5..)", columns=(), passed=False, rows=3, failed=1, detail="3 rows", where="p.py:1"
)
REPORT = GateReport(pipeline="trips", as_of=0, snapshots=(), results=(FAILED,), stage="training", about="abc")


def test_a_report_is_a_run_with_its_page(empty_mlflow: Path, tmp_path: Path) -> None:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri, uri)
    client.create_experiment(experiment("trips"), str(tmp_path / "artifacts"))
    for report in (REPORT, REPORT, structs.replace(REPORT, as_of=1_000_000)):
        copy_report(uri, report, "stopped", "<p>page</p>")
    home = client.get_experiment_by_name("trips gates")
    assert home is not None
    runs = client.search_runs([home.experiment_id], order_by=["attributes.start_time"])
    assert sorted(run.info.run_name for run in runs) == [f"training 1970-01-01T00:00:0{at}Z: stopped" for at in (0, 1)]
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    run = next(run for run in runs if ":00Z" in run.info.run_name)
    assert run.data.metrics == {"checks": 1, "failed": 1, "quarantined": 0}
    assert (run.data.tags["stage"], run.data.tags["outcome"], run.data.tags["about"]) == ("training", "stopped", "abc")
    folder = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    assert GateReport.from_json((folder / "report.json").read_text()) == REPORT
    assert (folder / "gates.html").read_text() == "<p>page</p>"


def test_without_mlflow_it_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    copy_report("http://127.0.0.1:9", REPORT, "stopped", "")
    assert "is not in MLflow" in caplog.text
    copy_report("", REPORT, "stopped", "")
