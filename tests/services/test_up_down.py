"""The whole life of the services of one workspace, for real: started, used in every way there is, crashed, stopped.

Nothing here joins the cluster in this process: drivers run in processes of their own, so that the session's other
cluster is not disturbed.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest

from raypipe.contracts.progress import Silent
from raypipe.errors import ServiceError
from raypipe.services import Running, ServicesConfig, down, status, up
from raypipe.services.processes import MARK, tree, wait
from raypipe.services.record import load

HERE = Path(__file__).parent
SCRIPTS = Path(sys.executable).parent

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[ServicesConfig]:
    workspace = tmp_path_factory.mktemp("up") / "work space"  # spaces are as common as they are forgotten
    made = ServicesConfig(
        workspace, serve_port=free_port(), dashboard_port=free_port(), mlflow_port=free_port(), cpus=2
    )
    yield made
    down(made, Silent())
    shutil.rmtree(made.temp, ignore_errors=True)


UP = """
import sys, msgspec
from raypipe.contracts.progress import Silent
from raypipe.services import ServicesConfig, up
up(msgspec.json.decode(sys.argv[1], type=ServicesConfig, dec_hook=lambda kind, text: kind(text)), Silent())
"""


@pytest.fixture(scope="module")
def running(config: ServicesConfig) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        # Where the replicas find the application.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # a cluster that the user's shell points at is not ours
        # The first command is killed in the middle: the second one goes on where it was.
        first = subprocess.Popen([sys.executable, "-c", UP, msgspec.json.encode(config, enc_hook=str)])
        while load(config).ray is None:
            assert first.poll() is None
            time.sleep(0.05)
        first.kill()
        first.wait()
        begun = load(config)
        running = up(config, Silent())
        assert (load(config).mlflow, load(config).ray) == (begun.mlflow, begun.ray)
        yield running


def shell(*command: str | Path, **variables: str) -> str:
    """What a command says to a user whose shell knows nothing of the workspace."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("RAY", "MLFLOW"))}
    done = subprocess.run(
        command, env=environment | variables, capture_output=True, text=True, timeout=120, check=False, cwd=HERE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def listening(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    """Address and port of everything that these processes listen on."""
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


def test_a_start_that_fails_leaves_nothing(config: ServicesConfig) -> None:
    database = config.workspace / "mlflow" / "mlflow.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"this is no database" * 1_000)
    try:
        with pytest.raises(ServiceError, match=r"MLflow ended while it started: .*not a database") as caught:
            up(config, Silent())
    finally:
        database.unlink()
    assert caught.value.where == str(config.logs / "mlflow.log")
    assert tree((), str(config.workspace)) == []
    assert not (config.run / "services.json").exists()


def test_all_of_it_is_up_and_on_this_machine_only(config: ServicesConfig, running: Running) -> None:
    assert [service.name for service in running.services] == ["serve", "ray", "mlflow"]
    assert all(service.running for service in running.services)
    there = tree(load(config).known, str(config.workspace))
    places = listening(there)
    assert {address.removeprefix("::ffff:") for address, _ in places} == {"127.0.0.1"}
    assert {config.serve_port, config.dashboard_port, config.mlflow_port} <= {port for _, port in places}
    assert (config.logs / "ray" / "gcs_server.out").is_file()


def test_a_second_up_changes_nothing(config: ServicesConfig, running: Running) -> None:
    before = load(config)
    begun = time.perf_counter()
    again = up(config, Silent())
    assert time.perf_counter() - begun < 2
    assert again.already
    assert again.address == running.address
    assert load(config) == before


def test_another_workspace_is_told_who_has_its_port(config: ServicesConfig, running: Running, tmp_path: Path) -> None:
    other = ServicesConfig(tmp_path, config.host, config.serve_port, config.dashboard_port, config.mlflow_port)
    with pytest.raises(ServiceError, match=rf"port {config.serve_port}.*taken by haproxy \(process \d+\)"):
        up(other, Silent())
    assert not any(service.running for service in status(other))
    assert all("not ours" in service.detail for service in status(other))
    assert not down(other, Silent())
    assert all(service.running for service in status(config))


def test_a_driver_joins(config: ServicesConfig, running: Running) -> None:
    found = msgspec.json.decode(shell(sys.executable, HERE / "driver.py", msgspec.json.encode(running).decode()))
    assert found == {
        "workspace": str(config.workspace),
        "namespace": "raypipe",
        "address": running.address,
        "cpus": 2,
        "parquet": "1",
    }
    jobs = httpx.get(f"{config.dashboard_url}/api/jobs/", trust_env=False).json()
    assert "a readable name" in [job["metadata"].get("job_name") for job in jobs]


def test_a_job_runs_in_our_python(config: ServicesConfig, running: Running) -> None:
    code = "import os, sys, ray; ray.init(); print('in', sys.executable, os.environ['MLFLOW_TRACKING_URI'])"
    submit = [SCRIPTS / "ray", "job", "submit", "--working-dir", ".", "--", "python", "-c", code]
    expected = f"in {sys.executable} {config.mlflow_url}"
    assert expected in shell(*submit, RAY_ADDRESS=config.dashboard_url).replace("python3.11", "python")


def test_an_application_is_deployed_through_the_front_door(
    config: ServicesConfig, running: Running, tmp_path: Path
) -> None:
    file = tmp_path / "echo.yaml"
    file.write_text("applications:\n  - {name: echo, route_prefix: /echo, import_path: 'echo_app:app'}\n")
    with httpx.Client(base_url=config.serve_url, trust_env=False) as client:
        assert client.get("/echo/a").status_code == 404
        shell(SCRIPTS / "serve", "deploy", file, RAY_DASHBOARD_ADDRESS=config.dashboard_url)
        end = time.monotonic() + 60
        while (answer := client.get("/echo/a")).status_code != 200:
            assert time.monotonic() < end, answer.text
            time.sleep(0.1)
        assert answer.text == "/echo/a"
    assert status(config)[0].detail == "/echo"


def test_mlflow_keeps_runs_and_files(config: ServicesConfig, running: Running) -> None:
    code = "import mlflow, sys; mlflow.log_metric('auc', 0.77); mlflow.log_text('x', 'note.txt')"
    shell(sys.executable, "-c", code, MLFLOW_TRACKING_URI=config.mlflow_url, MLFLOW_DISABLE_TELEMETRY="true")
    assert [file.read_text() for file in (config.workspace / "mlflow" / "artifacts").rglob("note.txt")] == ["x"]


def test_what_crashed_is_started_again_and_the_rest_is_left_alone(config: ServicesConfig, running: Running) -> None:
    _, ray, mlflow = running.services
    server = psutil.Process(mlflow.pid)
    family = [server, *server.children(recursive=True)]
    server.kill()
    assert wait([server], 5) == []
    assert [service.running for service in status(config)] == [True, True, False]
    again = up(config, Silent())
    assert not again.already
    assert again.services[1].pid == ray.pid
    assert again.services[2].pid != mlflow.pid
    assert wait(family, 0) == []
    assert httpx.get(f"{config.serve_url}/echo/a", trust_env=False).text == "/echo/a"


def test_a_head_without_its_memory_is_started_again(config: ServicesConfig, running: Running) -> None:
    """It lives on for some seconds, and its dashboard answers."""
    head = next(service for service in status(config) if service.name == "ray").pid
    [memory] = [one for one in psutil.Process(head).children(recursive=True) if one.name() == "gcs_server"]
    memory.kill()
    memory.wait(5)
    assert [service.running for service in status(config)][1:] == [False, True]
    again = up(config, Silent())
    assert not again.already
    assert again.services[1].pid != head
    assert again.address != running.address
    assert all(service.running for service in status(config))


def test_down_leaves_nothing_even_after_a_crash(config: ServicesConfig, running: Running) -> None:
    head = next(service for service in status(config) if service.name == "ray").pid
    there = tree(load(config).known, str(config.workspace))
    assert len(there) > 15
    os.kill(head, signal.SIGKILL)  # its children die with it, but not the children of all of them
    begun = time.perf_counter()
    assert down(config, Silent())
    assert time.perf_counter() - begun < 8
    assert wait(there, 0) == []
    left = [process for process in psutil.process_iter() if _belongs(process, config)]
    assert left == []
    assert not any(service.running for service in status(config))
    assert not down(config, Silent())


def _belongs(process: psutil.Process, config: ServicesConfig) -> bool:
    try:
        told = [*process.cmdline(), process.environ().get(MARK, "")]
    except psutil.Error:
        return False
    places = (str(config.workspace), str(config.temp))
    return process.pid != os.getpid() and any(place in word for word in told for place in places)
