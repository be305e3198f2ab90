"""The main job, as a user sees it: raw files to a model that answers over HTTP."""

import json
import re
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from tenacity import Retrying, stop_after_delay, wait_fixed

from raypipe import Client
from raypipe.errors import RequestError
from tests.end_to_end.conftest import BIN, ROOT, TRIALS, Installation

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

# How many rows the files hold, counted by hand.
ROWS = {"airlines": 16, "airports": 1_458, "planes": 3_322, "flights": 336_776, "weather": 26_115}

KEYS = {
    "airlines": ["carrier"], "airports": ["faa"], "planes": ["tailnum"],
    "flights": ["carrier", "flight", "origin", "dest", "scheduled_at"], "weather": ["origin", "observed_at"],
}  # fmt: skip


def test_a_killed_run_goes_on_and_no_table_holds_a_row_twice(flights: Installation) -> None:
    """Asked of Iceberg itself, as another engine would read the tables."""
    folder = flights.workspace / "lake"
    catalog = SqlCatalog("raypipe", uri=f"sqlite:///{folder / 'catalog.db'}", warehouse=str(folder / "warehouse"))
    counts = {}
    for name, key in KEYS.items():
        rows = catalog.load_table(f"lake.{name}").scan(selected_fields=tuple(key)).to_arrow()
        counts[name] = rows.num_rows
        assert rows.group_by(key).aggregate([]).num_rows == rows.num_rows, name
    catalog.close()
    assert counts == ROWS


def test_each_stage_tells_its_result_in_one_line(flights: Installation) -> None:
    text = (flights.workspace / "run.txt").read_text()
    for stage in ("ingest", "gate", "features", "train", "register", "deploy"):
        assert len(re.findall(rf"^\W*{stage}\b", text, re.MULTILINE)) >= 1, text
    for algorithm in ("lightgbm", "network", "linear"):
        assert algorithm in text


def test_the_model_is_good_enough_and_models_tells_so(flights: Installation) -> None:
    models = flights.json("models", "flights")
    assert isinstance(models, list)
    first = models[0]
    assert set(first) == {"version", "aliases", "algorithm", "metrics", "created", "lineage"}
    assert first["metrics"]["auc"] >= 0.74
    assert first["metrics"]["log_loss"] < 0.56  # the entropy of June's share of late flights is 0.64
    assert "champion" in first["aliases"]
    lineage = first["lineage"]
    assert len(lineage["commit"]) == 40
    assert set(lineage["snapshots"]) == set(ROWS)
    assert lineage["lock"]["ray"].startswith("2.60")
    assert len(lineage["feature_definition"]) == len(lineage["pipeline_definition"]) == 16
    assert lineage["params"]["num_iterations"] > 0
    assert lineage["seed"] == 0
    assert lineage["run_id"]


def test_the_service_answers_with_probability_version_and_request_id(flights: Installation) -> None:
    answer = flights.ask()
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert 0 < body["probability"] < 1
    assert body["version"] == 1
    assert body["request_id"]


def test_stored_history_reaches_the_answer(flights: Installation) -> None:
    """The tail number is no input of the model: two planes differ only by what the online store knows of them."""
    known = flights.ask().json()["probability"]
    unknown = flights.ask(tailnum="N00000").json()["probability"]
    assert known != unknown
    assert flights.ask(tailnum="N00001").json()["probability"] == unknown


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"carrier": None}, "carrier"),
        ({"tailnum": None}, "tailnum"),
        ({"flight": "twelve"}, "flight"),
        ({"origin": 7}, "origin"),
        ({"scheduled_at": "2013-07-02T21:05:00"}, "scheduled_at"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at"),
        ({"arr_delay": 3.0}, "body"),  # what it is called is input, which no error repeats
    ],
)
def test_a_bad_request_is_refused_by_field(flights: Installation, changes: dict[str, object], field: str) -> None:
    answer = flights.ask(**changes)
    assert 400 <= answer.status_code < 500
    assert field in answer.text


def test_nan_is_refused_by_field(flights: Installation) -> None:
    body = (
        '{"carrier":"UA","flight":NaN,"tailnum":"N14228","origin":"EWR","dest":"IAH",'
        '"scheduled_at":"2013-07-02T21:05:00-04:00"}'
    )
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{flights.serve_url}/flights/predict", content=body, headers=headers)
    assert 400 <= answer.status_code < 500
    assert "flight" in answer.text


def test_ten_megabytes_are_refused(flights: Installation) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{flights.serve_url}/flights/predict", content=b"[" * 10_000_000, headers=headers, timeout=30)
    assert answer.status_code == 413


def test_an_unknown_carrier_is_answered(flights: Installation) -> None:
    answer = flights.ask(carrier="??", tailnum="N00000")
    assert answer.status_code == 200
    assert 0 < answer.json()["probability"] < 1


def test_the_client_predicts_and_names_the_field(flights: Installation) -> None:
    with Client(flights.serve_url) as client:
        asked = {"carrier": "UA", "flight": 1545, "tailnum": "N14228", "origin": "EWR", "dest": "IAH"}
        answer = client.predict("flights", scheduled_at="2013-07-02T21:05:00-04:00", **asked)
        assert 0 < answer.probability < 1
        with pytest.raises(RequestError, match="scheduled_at"):
            client.predict("flights", **asked)


def test_predict_on_the_command_line(flights: Installation) -> None:
    answer = flights.json(
        "predict", "flights", "carrier=UA", "flight=1545", "tailnum=N14228", "origin=EWR", "dest=IAH",
        "scheduled_at=2013-07-02T21:05:00-04:00",
    )  # fmt: skip
    assert isinstance(answer, dict)
    assert 0 < answer["probability"] < 1


def test_status_names_every_service(flights: Installation) -> None:
    text = json.dumps(flights.json("status"))
    for url in (flights.serve_url, flights.dashboard_url, flights.mlflow_url):
        assert url in text


def test_the_dashboard_shows_the_stages_by_name(flights: Installation) -> None:
    tasks = flights.command(
        str(BIN / "ray"),
        "list", "tasks", "--address", flights.dashboard_url, "--limit", "5000", "--format", "json",
    )  # fmt: skip
    names = {task["name"] for task in json.loads(tasks.stdout[tasks.stdout.index("[") :])}
    stages = ("ingest", "gate", "features", "train", "register", "deploy")
    assert {f"flights: {stage}" for stage in stages} <= names


def test_every_trial_is_in_mlflow(flights: Installation) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(flights.mlflow_url)
    experiment = client.get_experiment_by_name("flights")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    trials = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(trials) == TRIALS
    assert all("auc" in run.data.metrics for run in trials)
    assert client.get_model_version_by_alias("flights", "champion").version


def test_ray_job_submit(flights: Installation) -> None:
    """The whole run is done already, so the job finds its work done, and says so."""
    submit = (str(BIN / "ray"), "job", "submit", "--address", flights.dashboard_url, "--working-dir", ".", "--")
    done = flights.command(*submit, "python", "jobs/train.py", flights.pipeline)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout + done.stderr
    for tells in (
        r"ingest +5 tables, 367,687 rows \(0 new\)",
        r"train .*done before",
        r"deploy +flights/1 answers at",
    ):
        assert re.search(tells, done.stdout), done.stdout


def test_ray_job_submit_materializes(flights: Installation) -> None:
    """With all arguments that it documents: loaded again, beside what is in use, the state is the same."""
    submit = (str(BIN / "ray"), "job", "submit", "--address", flights.dashboard_url, "--working-dir", ".", "--")
    arguments = ("--as-of", "2013-07-03", "--anew", "--json")
    before = flights.ask().json()["probability"]
    done = flights.command(*submit, "python", "jobs/materialize.py", flights.pipeline, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("{")]
    record = json.loads(line)
    assert record["generation"] > 1
    assert record["watermark"] == 1_372_809_600_000_000
    assert {one["table"]: one["rows"] for one in record["snapshots"]} == ROWS
    assert flights.ask().json()["probability"] == before


def test_the_client_runs_a_pipeline_and_tells_what_is_up(
    flights: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORKSPACE", "SERVE_PORT", "DASHBOARD_PORT", "MLFLOW_PORT"):
        monkeypatch.setenv(f"RAYPIPE_{name}", flights.env[f"RAYPIPE_{name}"])
    with Client() as client:
        job = client.run(Path(flights.pipeline), until="train", wait=False).wait(120)
        assert job.state() == "SUCCEEDED"
        assert "done before" in job.logs()
        assert client.models("flights")[0].metrics["auc"] >= 0.74
        assert all(service.answers for service in client.status().services)


def test_a_second_up_changes_nothing(flights: Installation) -> None:
    before = flights.json("status")
    done = flights.raypipe("up")
    assert done.returncode == 0
    assert flights.json("status") == before


def test_serve_deploy_by_config_file(flights: Installation) -> None:
    """After Serve was emptied by its own command, its own command brings the service back."""
    config = (ROOT / "serve_apps" / "flights.yaml").read_text().replace("8000", flights.serve_url.rsplit(":", 1)[1])
    file = flights.workspace / "flights.yaml"
    file.write_text(config)
    serve, address = str(BIN / "serve"), ("--address", flights.dashboard_url)
    emptied = flights.command(serve, "shutdown", *address, "-y")
    assert emptied.returncode == 0, emptied.stdout + emptied.stderr
    with suppress(httpx.TransportError):  # nobody listens at all
        assert flights.ask().status_code in (404, 503)
    done = flights.command(serve, "deploy", *address, str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    for attempt in Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.2), reraise=True):
        with attempt:
            assert flights.ask().status_code == 200
