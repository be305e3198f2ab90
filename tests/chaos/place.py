"""Where a scenario plays: a cluster, an empty workspace, clients who ask, and what is kept in the end."""

import json
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep

from raypipe.flows import Platform
from raypipe.flows.collect import COLLECT_SECONDS, collect
from raypipe.settings import load_settings
from raypipe.wiring import connect
from tests.chaos import canary, live, trips
from tests.chaos.history import History, Thing, Verdict, caught, judge
from tests.chaos.nodes import ROOT, Nodes, until
from tests.chaos.stores import Stores

FILE = str(Path(trips.__file__).relative_to(ROOT))
TRIES, COMMAND_SECONDS = 4, 300.0
#: A stage of this name may end before anybody sees it.
SEEN_SECONDS = 120.0
#: MLflow may lag behind the ledger for so long; it catches up when raypipe next looks.
MIRROR_SECONDS = 2 * COLLECT_SECONDS
#: Rows that happen once, however often a command was given again.
ONCE = ("model.registered", "model.promoted")


@dataclass
class Place:
    """An open cluster, an empty workspace, the files, and what clients saw.

    Attributes:
        name: of the pipeline, and of its database and prefix in the stores.
        settings: raypipe's own, beside the workspace; none: all is kept in the workspace.
        environment: more variables of the commands.
        answers: what the one question that clients ask was answered, by version.
        notes: what is worth telling.
        tries: how many commands it took.
        closing: what is undone after the verdict.
    """

    nodes: Nodes
    stores: Stores
    workspace: Path
    data: Path
    name: str
    settings: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    history: History = field(default_factory=History)
    answers: set[tuple[int, float]] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    tries: int = 0
    closing: ExitStack = field(default_factory=ExitStack)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """One command."""
        self.tries += 1
        settings = {f"RAYPIPE_{name.upper()}": value for name, value in self.settings.items()}
        more = {"CHAOS_DATA": str(self.data), "CHAOS_NAME": self.name, **settings, **self.environment}
        return self.nodes.command(self.workspace, *arguments, **more)

    def seen(self, process: subprocess.Popen[str], work: str) -> int | None:
        """Wait until work of this name is under way; the process that does it, or None: it came to its end before."""
        until(lambda: self.nodes.working(work) or process.poll() is not None, SEEN_SECONDS)
        pid = self.nodes.working(work)
        if pid is None:
            self.notes.append(f"`{work}` was not seen")
        return pid

    def stage(self, process: subprocess.Popen[str], stage: str) -> int | None:
        """The same of a stage of the pipeline."""
        return self.seen(process, f"{self.name}: {stage}")

    def until_done(self, process: subprocess.Popen[str] | None, *arguments: str) -> None:
        """Wait; when it failed, give the same command again, as users do."""
        for _ in range(TRIES):
            process = process or self.start(*arguments)
            said = self.over(process)
            if process.returncode == 0:
                return
            self.notes.append(said)
            process = None
        raise RuntimeError(f"{' '.join(arguments)} did not succeed in {TRIES} tries: {self.notes[-1]}")

    def over(self, process: subprocess.Popen[str]) -> str:
        """Wait until a command has come to its end; the last that it said. One that takes too long is killed."""
        try:
            said, _ = process.communicate(timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            said = f"{said}\nkilled: did not end within {COMMAND_SECONDS:.0f} s"
        return (said.strip().splitlines() or [f"exit {process.returncode}"])[-1][:200]

    def run(self) -> None:
        """A whole run, undisturbed."""
        self.until_done(None, "run", FILE)

    def lose(self, pid: int | None) -> None:
        """Lose the node on which a process works."""
        if pid is not None:
            self.notes.append(f"lost the {self.nodes.lose(pid)} node")

    def platform(self) -> Platform:
        """As the commands open it."""
        return connect(
            load_settings(workspace=self.workspace, mlflow_url=self.nodes.config.mlflow_url, **self.settings)
        )

    @contextmanager
    def asking(self, url: str = "", clients: int = 4) -> Iterator[None]:
        """Clients ask as fast as they are answered, each request under an id of its own."""
        url, stop = f"{url or self.nodes.config.serve_url}/{self.name}", threading.Event()
        with urllib.request.urlopen(url, timeout=10) as answer:
            body = json.dumps(json.loads(answer.read())["example"]).encode()

        def client(number: int) -> None:
            count = 0
            while not stop.is_set():
                count += 1
                self._ask(url, body, f"c{number}-{count}")

        threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)

    def _ask(self, url: str, body: bytes, key: str) -> None:
        self.history.ask("prediction", key)
        headers = {"Content-Type": "application/json", "X-Request-Id": key}
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{url}/predict", body, headers), timeout=5) as answer:
                told = json.loads(answer.read())
        except (OSError, ValueError) as error:
            self.history.fail(type(error).__name__)
            sleep(0.1)
        else:
            self.history.tell("prediction", key, told["probability"])
            self.answers.add((told["version"], told["probability"]))


def verdict(place: Place) -> Verdict:
    """Ask Iceberg, the ledger, the log and MLflow what is there, and compare."""
    live.handed_in(place.data, place.history)
    wrong: list[str] = []
    things: list[Thing] = []
    with caught(wrong):
        platform = place.platform()
        platform.ledger.verify()
        for kind in ONCE:
            if len(rows := platform.ledger.entries(kind, place.name)) != 1:
                wrong.append(f"{kind}: {len(rows)} rows")
        wrong += canary.in_rows(platform.ledger.entries())
        collect(platform.lake, place.workspace, platform.clock)
        platform.ledger.close()
    if len({number for _, number in place.answers}) > 1:
        wrong.append(f"one question has several answers: {sorted(place.answers)[:3]}")
    with caught(wrong):
        until(lambda: _in_step(place), MIRROR_SECONDS)
        wrong += _mirrored(place)
    if stored := "catalog_url" in place.settings:
        with caught(wrong):
            wrong += canary.told(place.nodes, place.workspace)
    catalog = place.stores.catalog(place.name) if stored else live.catalog_of(place.workspace)
    kinds = {kind for kind, _ in place.history.asked}
    with caught(wrong):
        things += live.rows(catalog)
    if "prediction" in kinds:
        with caught(wrong):
            things += live.predictions(catalog, place.name)
    if "answer" in kinds:
        with caught(wrong):
            things += live.answers(catalog, place.name, "id")
    catalog.close()
    return judge(place.history, things, wrong)


def _in_step(place: Place) -> bool:
    try:
        return not list(_mirrored(place))
    except OSError:
        return False


def _mirrored(place: Place) -> Iterator[str]:
    """What MLflow has of the model that is not so in the ledger: there is one version, and it is champion."""
    url = f"{place.nodes.config.mlflow_url}/api/2.0/mlflow"
    every = urllib.parse.urlencode({"filter": f"name='{place.name}'"})
    alias = urllib.parse.urlencode({"name": place.name, "alias": "champion"})
    with urllib.request.urlopen(f"{url}/model-versions/search?{every}", timeout=10) as answer:
        there = [one["version"] for one in json.loads(answer.read()).get("model_versions", [])]
    with urllib.request.urlopen(f"{url}/registered-models/alias?{alias}", timeout=10) as answer:
        champion = json.loads(answer.read())["model_version"]["version"]
    if (there, champion) != (["1"], "1"):
        yield f"MLflow has versions {there}, champion {champion}"


def full(folder: Path) -> Path:
    """Fill the disk that a folder lies on, to the last block; the file that does it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(65_536))
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))
    return filler
