"""What goes wrong, one function each: it lets clients work, breaks something under them, and asks the checker.

A scenario takes an open cluster and an empty workspace. Users recover in one way: they give the same command again.
"""

import json
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from pyiceberg.catalog import load_catalog

from raypipe.clock import SystemClock
from raypipe.flows.collect import collect
from raypipe.lake import Lake
from raypipe.ledger import Ledger
from tests.chaos import live, trips
from tests.chaos.history import History, Thing, Verdict, caught, judge
from tests.chaos.nodes import ROOT, Nodes, pause, until, working
from tests.chaos.proxy import Proxy

FILE = str(Path(trips.__file__).relative_to(ROOT))
TRIES, COMMAND_SECONDS = 5, 240.0
#: A stage of this name may end before anybody sees it.
SEEN_SECONDS = 60.0


@dataclass
class Place:
    """Where one scenario plays: an open cluster, an empty workspace, the files, and what clients saw."""

    nodes: Nodes
    workspace: Path
    data: Path
    history: History = field(default_factory=History)
    notes: list[str] = field(default_factory=list)
    tries: int = 0

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """One command."""
        self.tries += 1
        return self.nodes.command(self.workspace, *arguments, CHAOS_DATA=str(self.data))

    def until_done(self, process: subprocess.Popen[str] | None, *arguments: str) -> None:
        """Wait; when it failed, give the same command again."""
        for _ in range(TRIES):
            process = process or self.start(*arguments)
            said, _ = process.communicate(timeout=COMMAND_SECONDS)
            if process.returncode == 0:
                return
            self.notes.append(said.strip().splitlines()[-1][:200] if said.strip() else f"exit {process.returncode}")
            process = None
        raise RuntimeError(f"{' '.join(arguments)} did not succeed in {TRIES} tries: {self.notes[-1]}")

    def run(self, *more: str) -> None:
        """A whole run, undisturbed."""
        self.until_done(None, "run", FILE, *more)


Scenario = Callable[[Place], None]


def nothing(place: Place) -> None:
    """Nothing goes wrong."""
    place.run()


def _node_lost(name: str) -> Scenario:
    def scenario(place: Place) -> None:
        process = place.start("run", FILE)
        until(lambda: working(name) or process.poll() is not None, SEEN_SECONDS)
        if pid := working(name):
            place.notes.append(f"lost the {place.nodes.lose(pid)} node")
        place.until_done(process, "run", FILE)

    scenario.__doc__ = f"The node that works on `{name}` is lost, with all its processes."
    return scenario


def killed_in_batch(place: Place) -> None:
    """A node is lost while a batch is scored."""
    place.run()
    questions = place.workspace / "questions.csv"
    rows = [trips.line(number).split(",")[:3] for number in range(25_000)]
    questions.write_text("id,town,started\n" + "".join(f"{','.join(row)}\n" for row in rows))
    for row in rows:
        place.history.ask("answer", row[0])
    command = ("predict", "trips", "--batch", str(questions))
    process = place.start(*command)
    until(lambda: working("Scorer") or process.poll() is not None, SEEN_SECONDS)
    if pid := working("Scorer"):
        place.notes.append(f"lost the {place.nodes.lose(pid)} node")
    place.until_done(process, *command)
    for row in rows:
        place.history.tell("answer", row[0])


def killed_while_serving(place: Place) -> None:
    """The node of a replica is lost while clients ask."""
    place.run()
    with asking(place, place.nodes.config.serve_url):
        sleep(3)
        if pid := working("Model"):
            place.notes.append(f"lost the {place.nodes.lose(pid)} node")
        sleep(12)


def cut_off(place: Place) -> None:
    """The network between clients and the service is cut three times for a second."""
    place.run()
    proxy = Proxy(("127.0.0.1", place.nodes.config.serve_port))
    with proxy, asking(place, f"http://127.0.0.1:{proxy.port}"):
        for _ in range(3):
            sleep(2)
            proxy.cut()
            sleep(1)
            proxy.heal()
        sleep(2)


def head_lost(place: Place) -> None:
    """The head is lost with all that Ray knew; another one gets the service back from the ledger."""
    place.run()
    with asking(place, place.nodes.config.serve_url):
        sleep(3)
        place.nodes.lose_head()
        place.until_done(None, "deploy", FILE)
        sleep(3)


def control_store_killed(place: Place) -> None:
    """Ray's control store (GCS) is killed in the middle of a run; without Redis behind it the cluster goes with it."""
    process = place.start("run", FILE)
    until(lambda: working("trips: train") or process.poll() is not None, SEEN_SECONDS)
    for one in place.nodes.cluster.head_node.all_processes["gcs_server"]:
        one.process.kill()
    process.wait(COMMAND_SECONDS)
    place.nodes.lose_head()
    place.until_done(process, "run", FILE)


def mlflow_stopped(place: Place) -> None:
    """MLflow is killed in the middle of the search, and comes back."""
    process = place.start("run", FILE)
    until(lambda: working("trips: train") or process.poll() is not None, SEEN_SECONDS)
    place.nodes.stop_mlflow()
    sleep(3)
    place.nodes.start_mlflow()
    place.until_done(process, "run", FILE)


def slow_node(place: Place) -> None:
    """A node does not answer for a second and a half, then goes on."""
    process = place.start("run", FILE)
    until(lambda: working("trips: ingest") or process.poll() is not None, SEEN_SECONDS)
    node = next(iter(place.nodes.cluster.worker_nodes))
    pause(node.all_processes["raylet"][0].process.pid, 1.5)
    place.until_done(process, "run", FILE)


SCENARIOS: dict[str, Scenario] = {
    "nothing": nothing,
    "node lost: ingest": _node_lost("trips: ingest"),
    "node lost: search": _node_lost("trips: train"),
    "node lost: batch": killed_in_batch,
    "node lost: serving": killed_while_serving,
    "network cut: serving": cut_off,
    "MLflow stopped and back": mlflow_stopped,
    "slow node": slow_node,
    "head lost, back from the ledger": head_lost,
    "GCS killed": control_store_killed,
}


@contextmanager
def asking(place: Place, url: str, clients: int = 4) -> Iterator[None]:
    """Clients ask as fast as they are answered, each request under an id of its own."""
    stop = threading.Event()
    with urllib.request.urlopen(f"{url}/trips", timeout=10) as answer:
        example = json.loads(answer.read())["example"]
    body = json.dumps(example).encode()

    def client(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            key = f"c{number}-{count}"
            place.history.ask("prediction", key)
            headers = {"Content-Type": "application/json", "X-Request-Id": key}
            request = urllib.request.Request(f"{url}/trips/predict", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    place.history.tell("prediction", key, json.loads(answer.read())["probability"])
            except (OSError, ValueError) as error:
                place.history.fail(type(error).__name__)
                sleep(0.1)

    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)


def verdict(place: Place) -> Verdict:
    """Ask Iceberg, the ledger and the log what is there, and compare."""
    for number, fare in sorted({tuple(line.split(",")[::4]) for line in _lines(place.data)}):
        place.history.tell("row", number, float(fare))
    wrong: list[str] = []
    things: list[Thing] = []
    ledger = Ledger.in_folder(place.workspace, SystemClock())
    with caught(wrong):
        ledger.verify()
        wrong += [
            f"{kind}: {len(rows)} rows" for kind in ("model.registered",) if len(rows := ledger.entries(kind)) != 1
        ]
    ledger.close()
    with caught(wrong):
        clock = SystemClock()
        collect(Lake(place.workspace / "lake", clock=clock), place.workspace, clock)
    catalog = load_catalog("raypipe", type="sql", uri=f"sqlite:///{place.workspace / 'lake' / 'catalog.db'}")
    with caught(wrong):
        rows = catalog.load_table("lake.trips").scan(selected_fields=("id", "fare")).to_arrow().to_pylist()
        things += [Thing("row", str(row["id"]), row["fare"]) for row in rows]
    if any(kind == "prediction" for kind, _ in place.history.asked):
        with caught(wrong):
            things += live.predictions(place.workspace, "trips")
    if any(kind == "answer" for kind, _ in place.history.asked):
        with caught(wrong):
            batch = catalog.load_table("batches.trips").scan(selected_fields=("id",)).to_arrow().to_pylist()
            things += [Thing("answer", str(row["id"])) for row in batch]
    catalog.close()
    return judge(place.history, things, wrong)


def _lines(data: Path) -> Iterator[str]:
    for file in sorted(data.glob("*.csv")):
        yield from file.read_text().splitlines()[1:]


def seconds(work: Callable[[], None]) -> float:
    """How long something takes."""
    began = monotonic()
    work()
    return monotonic() - began
