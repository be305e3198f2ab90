"""One version into several regions: all of them, or all of them back; and what a region takes from whom."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from raypipe.clock import ManualClock
from raypipe.contracts import bundle
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import ModelVersion
from raypipe.errors import RaypipeError, RegistryError, ServiceError, ServingError
from raypipe.flows import Platform
from raypipe.flows import receive as module
from raypipe.flows.receive import Received, go_back, healthy, let_answer, take_in
from raypipe.flows.regions import deploy_to
from raypipe.ledger import Ledger
from raypipe.ledger.checkpoint import make_keys, private_key
from raypipe.registry import Registry
from raypipe.registry.parcel import ABOUT, FILES, pack
from tests.registry.making import lineage_of, make_candidate


def registered(folder: Path, registry: Registry, weight: float) -> ModelVersion:
    candidate = make_candidate(folder / f"candidate-{weight}", weight)
    return registry.register(candidate, lineage_of(candidate, bundle.pipeline(Path(candidate.folder))))


@dataclass
class Near:
    """A region in this process, with a registry of its own; its service takes what ``works`` allows."""

    platform: Platform
    key: str
    works: Callable[[int], bool] = lambda _: True
    fault: type[RaypipeError] = ServingError
    serving: int | None = None

    def take_in(self, parcel: Path) -> Received:
        return take_in(self.platform, parcel, self.key)

    def let_answer(self, parcel: Path, received: Received) -> Received:
        return let_answer(self.platform, received, "test", Silent())

    def go_back(self, parcel: Path, why: str) -> Received:
        return go_back(self.platform, parcel, self.key, why, Silent())

    @property
    def answering(self) -> int | None:
        champion = self.platform.registry.champion("rides")
        assert self.serving == (None if champion is None else champion.version)
        return self.serving


def region(folder: Path, clock: ManualClock, key: str) -> Near:
    """One that serves nothing yet."""
    ledger = Ledger.in_folder(folder, clock)
    registry = Registry(folder / "registry", ledger, "")
    return Near(cast(Platform, SimpleNamespace(registry=registry, ledger=ledger, name=folder.name)), key)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    private, public = make_keys(tmp_path / "keys")
    return f"file:{private}", f"file:{public}"


@pytest.fixture
def new_regions(
    tmp_path: Path, clock: ManualClock, keys: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Near]]:
    """Two regions that have never served the model."""
    found = {name: region(tmp_path / name, clock, keys[1]) for name in ("eu", "us")}

    def swap(platform: SimpleNamespace, version: ModelVersion, _: object) -> None:
        if not found[platform.name].works(version.version):
            raise found[platform.name].fault("version is refused", where="rides")
        found[platform.name].serving = version.version

    def take_out(platform: SimpleNamespace, name: str) -> None:
        assert name == "rides"
        found[platform.name].serving = None

    monkeypatch.setattr(module, "swap", swap)
    monkeypatch.setattr(module, "take_out", take_out)
    monkeypatch.setattr(module, "healthy", lambda *_: None)
    yield found
    for one in found.values():
        one.platform.ledger.close()


@pytest.fixture
def regions(new_regions: dict[str, Near], tmp_path: Path) -> dict[str, Near]:
    """Two regions that serve a model of their own already."""
    for name, one in new_regions.items():
        registered(tmp_path / name, one.platform.registry, 5.0)
        one.platform.registry.promote("rides", 1, expect=None, why="first")
        one.serving = 1
    return new_regions


@pytest.fixture
def parcel(tmp_path: Path, clock: ManualClock, keys: tuple[str, str]) -> Path:
    ledger = Ledger.in_folder(tmp_path / "home", clock)
    version = registered(tmp_path / "home", Registry(tmp_path / "home" / "registry", ledger, ""), 2.0)
    ledger.close()
    return pack(version, tmp_path / "parcel", private_key(keys[0]))


def test_the_same_files_answer_everywhere(regions: dict[str, Near], parcel: Path) -> None:
    done = deploy_to(regions, parcel, Silent())
    assert done.versions == {"eu": 2, "us": 2}
    for region in regions.values():
        champion = region.platform.registry.champion("rides")
        assert champion is not None
        assert (champion.version, champion.digest) == (2, done.digest)
    again = deploy_to(regions, parcel, Silent())
    assert again == done
    assert [len(r.platform.registry.history("rides")) for r in regions.values()] == [2, 2]


@pytest.mark.parametrize("fault", [ServingError, ServiceError])
def test_where_one_does_not_answer_all_are_back(
    regions: dict[str, Near], parcel: Path, fault: type[RaypipeError]
) -> None:
    regions["us"].works, regions["us"].fault = lambda version: version == 1, fault
    with pytest.raises(ServiceError, match=r"us: rides: version is refused.*\(eu, us went back\)"):
        deploy_to(regions, parcel, Silent())
    assert {name: region.answering for name, region in regions.items()} == {"eu": 1, "us": 1}
    regions["us"].works = lambda _: True
    assert deploy_to(regions, parcel, Silent()).versions == {"eu": 2, "us": 2}


@pytest.mark.parametrize("fault", [ServingError, ServiceError])
def test_where_the_very_first_does_not_answer_nobody_does(
    new_regions: dict[str, Near], parcel: Path, fault: type[RaypipeError]
) -> None:
    us = new_regions["us"]
    us.works, us.fault = lambda _: False, fault
    with pytest.raises(ServiceError, match=r"us: rides: version is refused.*\(eu, us went back\)"):
        deploy_to(new_regions, parcel, Silent())
    assert {name: one.answering for name, one in new_regions.items()} == {"eu": None, "us": None}
    us.works = lambda _: True
    assert deploy_to(new_regions, parcel, Silent()).versions == {"eu": 1, "us": 1}
    assert {name: one.answering for name, one in new_regions.items()} == {"eu": 1, "us": 1}


def test_to_go_back_twice_to_nothing_is_to_go_back_once(new_regions: dict[str, Near], parcel: Path) -> None:
    eu = new_regions["eu"]
    eu.let_answer(parcel, eu.take_in(parcel))
    told = [eu.go_back(parcel, "test") for _ in range(2)]
    assert [(one.version, one.serving) for one in told] == [(1, False)] * 2
    assert eu.answering is None
    changes = [(one.version, one.previous, one.rollback) for _, one in eu.platform.registry.history("rides")]
    assert changes == [(1, None, False), (None, 1, True)]


def test_where_one_does_not_take_it_in_nobody_changes(regions: dict[str, Near], parcel: Path, tmp_path: Path) -> None:
    _, other = make_keys(tmp_path / "other")
    regions["eu"].key = f"file:{other}"
    with pytest.raises(ServiceError, match=r"eu: .*was not signed with this key.*\(nothing was changed anywhere\)"):
        deploy_to(regions, parcel, Silent())
    assert [len(r.platform.registry.history("rides")) for r in regions.values()] == [1, 1]


def test_a_region_that_cannot_go_back_is_named(regions: dict[str, Near], parcel: Path) -> None:
    def stuck(*_: object) -> Received:
        raise RegistryError("its disk is full", where="rides")

    regions["us"].works = lambda version: version == 1
    regions["eu"].go_back = stuck  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match=r"\(us went back; eu could not: rides: its disk is full\)"):
        deploy_to(regions, parcel, Silent())


def test_one_that_answers_and_could_not_say_so_goes_back_too(regions: dict[str, Near], parcel: Path) -> None:
    us = regions["us"]
    answer = us.let_answer

    def lost(parcel: Path, received: Received) -> Received:
        answer(parcel, received)
        assert us.answering == 2
        raise ServiceError("does not answer", where="us")

    us.let_answer = lost  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match=r"us: us: does not answer \(eu, us went back\)"):
        deploy_to(regions, parcel, Silent())
    assert {name: region.answering for name, region in regions.items()} == {"eu": 1, "us": 1}


def test_who_answered_with_it_before_keeps_it(regions: dict[str, Near], parcel: Path) -> None:
    eu, us = regions["eu"], regions["us"]
    eu.let_answer(parcel, eu.take_in(parcel))
    us.works = lambda version: version == 1
    with pytest.raises(ServiceError, match=r"\(us went back\)"):
        deploy_to(regions, parcel, Silent())
    assert (eu.answering, us.answering) == (2, 1)


def test_to_go_back_twice_is_to_go_back_once(regions: dict[str, Near], parcel: Path, tmp_path: Path) -> None:
    eu = regions["eu"]
    registered(tmp_path / "eu", eu.platform.registry, 7.0)
    eu.platform.registry.promote("rides", 2, expect=1, why="second")
    assert eu.let_answer(parcel, eu.take_in(parcel)).version == 3
    assert [eu.go_back(parcel, "test").version for _ in range(2)] == [2, 2]
    assert eu.answering == 2


@pytest.mark.parametrize("what", [ABOUT, f"{FILES}/model.onnx"])
def test_a_byte_that_was_changed_on_the_way_is_noticed(regions: dict[str, Near], parcel: Path, what: str) -> None:
    content = bytearray((parcel / what).read_bytes())
    content[len(content) // 2] ^= 1
    (parcel / what).write_bytes(content)
    with pytest.raises(RegistryError):
        regions["eu"].take_in(parcel)
    assert len(regions["eu"].platform.registry.versions("rides")) == 1


class Door:
    """A front door that says what it is told to, then the last of it for good."""

    def __init__(self, *says: tuple[int, str]) -> None:
        self.says, self.asked = list(says), 0

    def __call__(self, url: str, *, seconds: float) -> tuple[int, str]:
        self.asked += 1
        return self.says.pop(0) if len(self.says) > 1 else self.says[0]


@pytest.fixture
def version(tmp_path: Path, clock: ManualClock) -> Iterator[ModelVersion]:
    ledger = Ledger.in_folder(tmp_path / "one", clock)
    yield registered(tmp_path / "one", Registry(tmp_path / "one" / "registry", ledger, ""), 2.0)
    ledger.close()


SERVED = cast(Platform, SimpleNamespace(services=SimpleNamespace(serve_url="http://127.0.0.1:8000")))


def test_a_front_door_may_hear_of_a_version_later_than_its_replicas(
    version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door((0, ""), (404, "no such path"), (200, "another digest"), (200, f'{{"digest":"{version.digest}"}}'))
    monkeypatch.setattr(module, "ask", door)
    healthy(SERVED, version)
    assert door.asked == 4


@pytest.mark.parametrize(("said", "told"), [((200, "another digest"), "200"), ((0, ""), "no answer")])
def test_a_front_door_that_never_hears_of_it_is_not_healthy(
    version: ModelVersion, monkeypatch: pytest.MonkeyPatch, said: tuple[int, str], told: str
) -> None:
    monkeypatch.setattr(module, "ask", Door(said))
    monkeypatch.setattr(module, "DOOR_SECONDS", 0.3)
    with pytest.raises(ServingError, match=rf"8000/rides/health: does not answer with \w+ \({told}\)"):
        healthy(SERVED, version)
