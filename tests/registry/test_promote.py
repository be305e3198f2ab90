"""Who is champion changes by compare-and-set, with a reason, and every change stays on record."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.records import Deployment
from raypipe.errors import KeyTakenError, RegistryError
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from tests.architecture.source import ROOT
from tests.registry.making import lineage_of, make_candidate

HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def home_of_three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("three")
    ledger = Ledger.in_folder(folder / "home", ManualClock())
    registry = Registry(folder / "home" / "registry", ledger, "")
    for n in (1.0, 2.0, 3.0):
        candidate = make_candidate(folder / str(n), n)
        registry.register(candidate, lineage_of(candidate, bundle.pipeline(Path(candidate.folder))))
    ledger.close()
    return folder / "home"


@pytest.fixture
def three(tmp_path: Path, home_of_three: Path, clock: ManualClock) -> Iterator[Registry]:
    """A registry with three versions."""
    shutil.copytree(home_of_three, tmp_path / "home")
    ledger = Ledger.in_folder(tmp_path / "home", clock)
    yield Registry(tmp_path / "home" / "registry", ledger, "")
    ledger.close()


def champion(registry: Registry) -> int | None:
    found = registry.champion("rides")
    return None if found is None else found.version


def test_the_first_champion(three: Registry) -> None:
    assert champion(three) is None
    version = three.promote("rides", 2, expect=None, why="holdout auc 0.75 is the first", who="ada")
    assert (version.version, version.aliases) == (2, ("champion",))
    assert three.get("rides", "champion") == version
    assert [found.aliases for found in three.versions("rides")] == [(), ("champion",), ()]
    [(entry, change)] = three.history("rides")
    assert (change.version, change.previous, change.why, change.who) == (
        2,
        None,
        "holdout auc 0.75 is the first",
        "ada",
    )
    assert entry.kind == "model.promoted"
    assert change.digest == version.digest


@pytest.mark.parametrize("expect", [None, 2, 3, 99])
def test_who_expects_another_champion_is_refused(three: Registry, expect: int | None) -> None:
    three.promote("rides", 1, expect=None, why="first")
    with pytest.raises(RegistryError, match=r"champion is version 1, not (nobody|version)"):
        three.promote("rides", 3, expect=expect, why="better")
    assert champion(three) == 1
    assert len(three.history("rides")) == 1


def test_a_promotion_that_was_done_already_is_not_done_again(three: Registry) -> None:
    """The answer to the first was lost with the process that asked."""
    for _ in range(2):
        assert three.promote("rides", 1, expect=None, why="first").version == 1
    three.promote("rides", 1, expect=1, why="it is anyway")
    assert len(three.history("rides")) == 1
    assert champion(three) == 1


def test_a_version_that_is_not_there_cannot_be_promoted(three: Registry) -> None:
    with pytest.raises(RegistryError, match="has no version `4`"):
        three.promote("rides", 4, expect=None, why="")
    assert three.history("rides") == []


def test_rollback_walks_back(three: Registry) -> None:
    for version, expect in ((1, None), (2, 1), (3, 2)):
        three.promote("rides", version, expect=expect, why=f"v{version}")
    assert three.rollback("rides", "drift", who="ada").version == 2
    assert three.rollback("rides", "more drift").version == 1
    with pytest.raises(RegistryError, match="has no earlier champion to go back to"):
        three.rollback("rides", "no more")
    assert three.promote("rides", 3, expect=1, why="mended").version == 3
    assert three.rollback("rides", "not mended").version == 1  # not to 2, which was taken back
    told = [(change.version, change.previous, change.rollback, change.why) for _, change in three.history("rides")]
    assert told[3:] == [
        (2, 3, True, "drift"),
        (1, 2, True, "more drift"),
        (3, 1, False, "mended"),
        (1, 3, True, "not mended"),
    ]


def test_there_is_nothing_to_roll_back_to_at_first(three: Registry) -> None:
    with pytest.raises(RegistryError, match="has no earlier champion"):
        three.rollback("rides", "why not")
    three.promote("rides", 1, expect=None, why="first")
    with pytest.raises(RegistryError, match="has no earlier champion"):
        three.rollback("rides", "why not")


def test_the_first_champion_is_withdrawn(three: Registry) -> None:
    three.promote("rides", 2, expect=None, why="first")
    with pytest.raises(RegistryError, match="champion is version 2, not version 1"):
        three.withdraw("rides", "did not answer", expect=1)
    three.withdraw("rides", "did not answer", expect=2, who="ada")
    assert (champion(three), three.earlier("rides")) == (None, None)
    assert [found.aliases for found in three.versions("rides")] == [()] * 3
    for again in (lambda: three.withdraw("rides", "", expect=2), lambda: three.rollback("rides", "")):
        with pytest.raises(RegistryError):
            again()
    three.promote("rides", 2, expect=None, why="mended")
    three.promote("rides", 3, expect=2, why="better")
    with pytest.raises(RegistryError, match="had another champion before"):
        three.withdraw("rides", "", expect=3)
    assert three.rollback("rides", "").version == 2
    with pytest.raises(RegistryError, match="has no earlier champion"):
        three.rollback("rides", "")
    told = [(change.version, change.previous, change.rollback) for _, change in three.history("rides")]
    assert told == [(2, None, False), (None, 2, True), (2, None, False), (3, 2, False), (2, 3, True)]


def test_what_was_withdrawn_is_put_into_service_anew(three: Registry) -> None:
    version = three.promote("rides", 1, expect=None, why="first")
    answers = Deployment(name="rides", version=1, digest=version.digest, url="http://h", at=1)
    for _ in range(2):
        three.deployed(answers)
    three.withdraw("rides", "did not answer", expect=1)
    three.promote("rides", 1, expect=None, why="mended")
    for _ in range(2):
        three.deployed(answers)
    assert len(three.deployments("rides")) == 2


def test_who_was_champion_then(three: Registry, clock: ManualClock) -> None:
    start = clock.now()
    for version, expect in ((1, None), (2, 1)):
        clock.advance(HOUR)
        three.promote("rides", version, expect=expect, why="")
    clock.advance(HOUR)
    three.rollback("rides", "")
    clock.advance(HOUR)
    three.withdraw("rides", "", expect=1)
    found = [three.at("rides", start + int(hours * HOUR)) for hours in (0, 0.99, 1, 1.5, 2, 2.99, 3, 3.99, 4, 100)]
    assert [version and version.version for version in found] == [None, None, 1, 1, 2, 2, 1, 1, None, None]
    assert three.at("others", start) is None


def test_models_do_not_mix(three: Registry, ledger: Ledger) -> None:
    three.promote("rides", 1, expect=None, why="")
    assert three.history("others") == []
    assert three.champion("others") is None


def race(registry: Registry, expect: int | None) -> list[int]:
    """16 clients promote at once, each a version with a reason of its own; gives those who were told that they won."""
    won: list[int] = []
    start = threading.Barrier(16)

    def client(me: int) -> None:
        start.wait()
        try:
            registry.promote("rides", 1 + (me + (expect or 0)) % 3, expect=expect, why="race", who=f"client {me}")
        except RegistryError:
            return
        won.append(me)

    threads = [threading.Thread(target=client, args=(me,)) for me in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def test_sixteen_threads_race(three: Registry, ledger: Ledger) -> None:
    for n in range(10):
        before = champion(three)
        won = race(three, before)
        changes = [change for _, change in three.history("rides")]
        # Those who ask for the version that is champion already change nothing, and are told that it is champion.
        idle = [me for me in won if 1 + (me + (before or 0)) % 3 == before]
        [winner] = set(won) - set(idle)
        assert len(changes) == n + 1
        assert changes[-1].who == f"client {winner}"
        assert changes[-1].previous == before
    assert ledger.verify() == 3 + 10


def test_sixteen_processes_race(three: Registry, tmp_path: Path) -> None:
    """25 rounds in tests.registry.racing, each with exactly one winner, who is the one on record."""
    command = [sys.executable, "-m", "tests.registry.racing", tmp_path / "home", "25"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=True)
    told = json.loads(done.stdout)
    assert told["exits"] == [0] * 16
    changes = [change for _, change in three.history("rides")]
    assert [[int(change.who)] for change in changes] == told["won"]
    assert [change.version for change in changes] == [1 + n % 3 for n in range(25)]
    assert [change.previous for change in changes] == [None, *(change.version for change in changes[:-1])]


def test_two_rollbacks_at_once_go_back_once(three: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = three._ledger
    for version, expect in ((1, None), (2, 1), (3, 2)):
        three.promote("rides", version, expect=expect, why="")
    append = ledger.append

    def overtaken(key: str, kind: str, subject: str, body: str) -> object:
        monkeypatch.setattr(ledger, "append", append)
        three.rollback("rides", "somebody else")
        return append(key, kind, subject, body)

    monkeypatch.setattr(ledger, "append", overtaken)
    with pytest.raises(RegistryError, match="somebody else has changed champion just now"):
        three.rollback("rides", "me")
    assert champion(three) == 2


def test_one_place_in_the_row_of_champions_is_taken_once(three: Registry, ledger: Ledger) -> None:
    three.promote("rides", 1, expect=None, why="first")
    [(entry, _)] = three.history("rides")
    assert entry.key == "model.promoted/rides/champion/1"
    with pytest.raises(KeyTakenError):
        ledger.append(entry.key, entry.kind, "rides", "{}")
