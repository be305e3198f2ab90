"""``raypipe promote``, ``rollback`` and ``history``: the registry changes, the service follows, all of it on record."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from raypipe import services
from raypipe.cli import opened
from raypipe.cli.kept import person
from raypipe.cli.main import main
from raypipe.clock import ManualClock, SystemClock
from raypipe.contracts.records import Deployment, ModelVersion
from raypipe.errors import ServingError
from raypipe.flows import deploy, swap
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from raypipe.registry.rows import DEPLOYED, PROMOTED, REGISTERED, Promotion, Registered
from raypipe.services import Running, ServicesConfig, ServiceStatus
from tests.cli.records import LINEAGE, MADE
from tests.contracts.bundles import make_bundle

HOUR = 3_600_000_000


@pytest.fixture
def three(workspace: Path, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]) -> Path:
    """Three versions of flights; 1 was promoted at 00:00, and 2 one hour later; 1 went into service at 00:30."""
    for port in ("SERVE_PORT", "DASHBOARD_PORT", "MLFLOW_PORT"):
        monkeypatch.setenv(f"RAYPIPE_{port}", str(free_port()))
    clock = ManualClock(MADE - HOUR)
    ledger = Ledger.in_folder(workspace, clock)
    for number in (1, 2, 3):
        row = Registered(version=number, algorithm="linear", metrics={"auc": 0.7}, digest=f"d{number}", lineage=LINEAGE)
        ledger.append(f"{REGISTERED}/flights/{number}", REGISTERED, "flights", row.to_json())
        # Promotion asks the definition in a bundle whether a gate has to judge it.
        make_bundle(workspace / "registry" / "models" / "flights" / f"d{number}")
    clock.advance(HOUR)
    promoted = "model.promoted/flights/champion"
    ledger.append(f"{promoted}/1", PROMOTED, "flights", change(1, None, "the first").to_json())
    clock.advance(HOUR // 2)
    answers = Deployment(name="flights", version=1, digest="d1", url="http://h", at=clock.now())
    ledger.append("s1", DEPLOYED, "flights", answers.to_json())
    clock.advance(HOUR // 2)
    ledger.append(f"{promoted}/2", PROMOTED, "flights", change(2, 1, "better on JFK").to_json())
    ledger.close()
    return workspace


def change(version: int, previous: int | None, why: str) -> Promotion:
    return Promotion(
        slot="champion", version=version, digest=f"d{version}", previous=previous, rollback=False, why=why, who="ada"
    )


def last_change(workspace: Path) -> Promotion:
    ledger = Ledger.in_folder(workspace, SystemClock())
    found = Promotion.from_json(ledger.entries(PROMOTED, "flights")[-1].body)
    ledger.close()
    return found


@pytest.fixture
def in_service(monkeypatch: pytest.MonkeyPatch, three: Path) -> Iterator[list[ModelVersion]]:
    """Flights is in service; the versions that were swapped in."""
    swapped: list[ModelVersion] = []

    def put(platform: object, progress: object, *, version: ModelVersion) -> Deployment:
        swapped.append(version)
        return Deployment(name="flights", version=version.version, digest="d", url="http://h/flights/predict", at=1)

    @contextmanager
    def open_it(progress: object, name: str) -> Iterator[SimpleNamespace]:
        assert name == "raypipe: flights"
        yield SimpleNamespace()

    def status(config: ServicesConfig) -> tuple[ServiceStatus, ...]:
        return (ServiceStatus("serve", True, config.serve_url, 1, "/flights, /rides"),)

    monkeypatch.setattr(services, "status", status)
    monkeypatch.setattr(opened, "opened", open_it)
    monkeypatch.setattr(swap, "put_into_service", put)
    monkeypatch.setattr(swap, "on_cluster", lambda name, work, platform, progress: work(platform, progress))
    return swapped


@pytest.mark.parametrize("already", [True, False])
@pytest.mark.parametrize(("answers", "again"), [((), True), (("/flightless",), True), (("/flights", "/rides"), False)])
def test_up_brings_back_what_was_in_service_and_is_not_now(
    in_service: list[ModelVersion],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    already: bool,
    answers: tuple[str, ...],
    again: bool,
) -> None:
    """Also when the services run already, as after `raypipe watch` on a workspace that was down."""

    @contextmanager
    def open_it(progress: object, name: str) -> Iterator[SimpleNamespace]:
        registry = SimpleNamespace(get=lambda name, _: SimpleNamespace(name=name, version=2))
        yield SimpleNamespace(registry=registry)

    watched: list[tuple[int, int]] = []
    monkeypatch.setattr(deploy, "watch_again", lambda _, version: watched.append((version.version, len(in_service))))
    monkeypatch.setattr(services, "up", lambda config, progress: Running((), "127.0.0.1:1", already))
    monkeypatch.setattr(services, "routes", lambda config: answers)
    monkeypatch.setattr(opened, "opened", open_it)
    assert main(["up"]) == 0
    assert [version.version for version in in_service] == [2] * again
    # Somebody watches before anybody answers.
    assert watched == [(2, 0)] * again
    assert ("flights/2 answers again at http://h/flights/predict" in capsys.readouterr().out) == again


def test_promote_while_nothing_runs(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", "flights", "3", "--why", " better on rainy days "]) == 0
    said = "✓ flights/3 is champion in place of flights/2. It is not in service: only the registry says so; "
    assert capsys.readouterr().out == f"{said}`raypipe deploy FILE` serves it.\n"
    found = last_change(three)
    assert (found.version, found.previous, found.why, found.who) == (3, 2, "better on rainy days", person())


def test_promote_swaps_what_is_in_service(in_service: list[ModelVersion], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", "flights", "3", "--why", "better", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "model": "flights",
        "version": 3,
        "previous": 2,
        "changed": True,
        "why": "better",
        "url": "http://h/flights/predict",
    }
    assert [(version.version, version.aliases) for version in in_service] == [(3, ("champion",))]


def test_a_champion_that_cannot_be_served_is_told_so(
    in_service: list[ModelVersion], three: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, version: ModelVersion) -> Deployment:
        raise ServingError("version 3 is refused: other features", where="flights")

    monkeypatch.setattr(swap, "put_into_service", refuse)
    assert main(["promote", "flights", "3", "--why", "better"]) == 1
    said = "flights/3: is champion now, but does not answer: flights: version 3 is refused: other features."
    assert said in capsys.readouterr().err
    assert last_change(three).version == 3


def test_only_if_the_champion_is_the_one_that_was_seen(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", "flights", "3", "--why", "better", "--expect", "1"]) == 1
    assert "flights: champion is version 2, not version 1. Look again" in capsys.readouterr().err
    assert last_change(three).version == 2


def test_promoting_the_champion_changes_nothing(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", "flights", "2", "--why", "sure"]) == 0
    assert capsys.readouterr().out.startswith("✓ flights/2 is champion already. ")
    assert last_change(three).why == "better on JFK"


def test_rollback(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollback", "flights", "--why", "complaints"]) == 0
    assert capsys.readouterr().out.startswith("✓ flights/1 is champion in place of flights/2. ")
    found = last_change(three)
    assert (found.version, found.previous, found.rollback, found.why) == (1, 2, True, "complaints")
    assert main(["rollback", "flights", "--why", "more"]) == 1
    assert "has no earlier champion to go back to" in capsys.readouterr().err


@pytest.mark.parametrize("serves", [True, False])
def test_a_cluster_that_is_joined_is_asked_whether_it_serves_the_model(
    in_service: list[ModelVersion], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], serves: bool
) -> None:
    """Nothing of it runs here, so to look at our own processes says nothing."""
    monkeypatch.setenv("RAYPIPE_RAY_ADDRESS", "auto")
    monkeypatch.setattr(services, "status", lambda config: ())
    monkeypatch.setattr(swap, "served", lambda platform, name: serves)
    assert main(["rollback", "flights", "--why", "complaints"]) == 0
    assert [version.version for version in in_service] == [1] * serves
    assert ("It is not in service" in capsys.readouterr().out) != serves


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["promote", "flihgts", "1", "--why", "x"], 1, "no model of this name is registered. Did you mean `flights`?"),
        (["promote", "flights", "9", "--why", "x"], 1, "has no version `9`. It has versions 1 to 3"),
        (["promote", "flights", "3", "--why", "  "], 2, "--why: gives no reason"),
        (["promote", "flights", "3"], 2, "--why"),
        (["history", "flights", "--at", "yesterday"], 2, "--at: `yesterday` is not a date or time"),
        (["history", "flihgts"], 1, "Did you mean `flights`?"),
    ],
)
def test_what_cannot_be_done(
    three: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    assert main(words) == code
    out, err = capsys.readouterr()
    assert (out, said in err) == ("", True), err
    assert last_change(three).version == 2


def test_history(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "flights"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[-3:] if line.strip()]
    assert [" ".join(line) for line in lines] == [
        "2 2013-07-03 01:00 now promoted better on JFK ada",
        "1 2013-07-03 00:00 2013-07-03 01:00 promoted the first ada",
    ]


@pytest.mark.parametrize(
    ("at", "champion", "served"),
    [
        ("2013-07-02", None, None),
        ("2013-07-03T00:00Z", 1, None),
        ("2013-07-03T00:59:59Z", 1, 1),
        ("2013-07-03T01:00Z", 2, 1),
        ("2013-07-03T02:00+02:00", 1, None),
    ],
)
def test_who_was_champion_and_who_answered(
    three: Path, capsys: pytest.CaptureFixture[str], at: str, champion: int | None, served: int | None
) -> None:
    assert main(["history", "flights", "--at", at, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["champion"] or {}).get("version") == champion
    assert (found["served"] or {}).get("version") == served
    assert main(["history", "flights", "--at", at]) == 0
    said = capsys.readouterr().out
    assert (f"flights/{champion} was champion at 2013-07-0" if champion else "flights had no champion at") in said
    assert (f"flights/{served} answered then, since 2013-07-03T00:30:00Z." in said) == bool(served)


def test_nobody_is_champion_nor_answers_after_the_first_was_withdrawn(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = ManualClock(MADE + HOUR)
    ledger = Ledger.in_folder(three, clock)
    registry = Registry(three / "registry", ledger, "")
    registry.rollback("flights", "worse")
    clock.advance(HOUR)
    registry.withdraw("flights", "did not answer", expect=1)
    ledger.close()
    assert main(["history", "flights", "--at", "2013-07-03T03:00Z"]) == 0
    said = capsys.readouterr().out
    assert "flights had no champion at" in said
    assert "No version answered then." in said
    assert main(["history", "flights", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["until"] is None for one in found["champions"] + found["served"]] == [False] * 4
