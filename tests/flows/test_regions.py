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
from raypipe.errors import RegistryError, ServiceError, ServingError
from raypipe.flows import Platform
from raypipe.flows import receive as module
from raypipe.flows.receive import Received, let_answer, take_in
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

    def take_in(self, parcel: Path) -> Received:
        return take_in(self.platform, parcel, self.key)

    def let_answer(self, parcel: Path, received: Received) -> Received:
        return let_answer(self.platform, received, "test", Silent())

    def go_back(self, parcel: Path, received: Received, why: str) -> None:
        self.platform.registry.rollback(received.name, why)

    @property
    def answering(self) -> int:
        champion = self.platform.registry.champion("rides")
        assert champion is not None
        return champion.version


@pytest.fixture
def keys(tmp_path: Path) -> tuple[str, str]:
    private, public = make_keys(tmp_path / "keys")
    return f"file:{private}", f"file:{public}"


@pytest.fixture
def regions(
    tmp_path: Path, clock: ManualClock, keys: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Near]]:
    """Two regions that serve a model of their own already."""
    found: dict[str, Near] = {}
    for name in ("eu", "us"):
        ledger = Ledger.in_folder(tmp_path / name, clock)
        registry = Registry(tmp_path / name / "registry", ledger, "")
        registered(tmp_path / name, registry, 5.0)
        registry.promote("rides", 1, expect=None, why="first")
        place = SimpleNamespace(registry=registry, ledger=ledger, name=name)
        found[name] = Near(cast(Platform, place), keys[1])

    def swap(platform: SimpleNamespace, version: ModelVersion, _: object) -> None:
        if not found[platform.name].works(version.version):
            raise ServingError("version is refused", where="rides")

    monkeypatch.setattr(module, "swap", swap)
    monkeypatch.setattr(module, "healthy", lambda *_: None)
    yield found
    for one in found.values():
        one.platform.ledger.close()


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


def test_where_one_does_not_answer_all_are_back(regions: dict[str, Near], parcel: Path) -> None:
    regions["us"].works = lambda version: version == 1
    with pytest.raises(ServiceError, match=r"us: rides: version is refused.*\(eu went back\)"):
        deploy_to(regions, parcel, Silent())
    assert {name: region.answering for name, region in regions.items()} == {"eu": 1, "us": 1}
    regions["us"].works = lambda _: True
    assert deploy_to(regions, parcel, Silent()).versions == {"eu": 2, "us": 2}


def test_where_one_does_not_take_it_in_nobody_changes(regions: dict[str, Near], parcel: Path, tmp_path: Path) -> None:
    _, other = make_keys(tmp_path / "other")
    regions["eu"].key = f"file:{other}"
    with pytest.raises(ServiceError, match=r"eu: .*was not signed with this key.*\(nothing was changed anywhere\)"):
        deploy_to(regions, parcel, Silent())
    assert [len(r.platform.registry.history("rides")) for r in regions.values()] == [1, 1]


def test_a_region_that_cannot_go_back_is_named(regions: dict[str, Near], parcel: Path) -> None:
    def stuck(*_: object) -> None:
        raise RegistryError("its disk is full", where="rides")

    regions["us"].works = lambda version: version == 1
    regions["eu"].go_back = stuck  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match=r"no region went back; eu could not: rides: its disk is full"):
        deploy_to(regions, parcel, Silent())


@pytest.mark.parametrize("what", [ABOUT, f"{FILES}/model.onnx"])
def test_a_byte_that_was_changed_on_the_way_is_noticed(regions: dict[str, Near], parcel: Path, what: str) -> None:
    content = bytearray((parcel / what).read_bytes())
    content[len(content) // 2] ^= 1
    (parcel / what).write_bytes(content)
    with pytest.raises(RegistryError):
        regions["eu"].take_in(parcel)
    assert len(regions["eu"].platform.registry.versions("rides")) == 1
