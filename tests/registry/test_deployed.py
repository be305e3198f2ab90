"""Which version answered when is on record: each change once."""

from raypipe.clock import ManualClock
from raypipe.contracts.records import Deployment
from raypipe.errors import KeyTakenError
from raypipe.ledger import Entry, Ledger
from raypipe.registry import Registry


def deployment(version: int, at: int) -> Deployment:
    return Deployment(name="rides", version=version, digest=f"d{version}", url="http://h/rides/predict", at=at)


def test_each_change_is_one_row(registry: Registry, ledger: Ledger) -> None:
    for number, version in enumerate((1, 1, 2, 1)):
        registry.deployed(deployment(version, number))
    assert [(found.version, found.at) for _, found in registry.deployments("rides")] == [(1, 0), (2, 2), (1, 3)]
    assert [entry.kind for entry in ledger.entries(subject="rides")] == ["model.deployed"] * 3
    assert registry.deployments("other") == []


class Overtaken(Ledger):
    """Somebody else writes the next row just before ours, once."""

    def append(self, key: str, kind: str, subject: str, body: str = "{}") -> Entry:
        if self.entries(kind, subject):
            return super().append(key, kind, subject, body)
        super().append(key, kind, subject, deployment(9, 0).to_json())
        raise KeyTakenError("key is there with another content")


def test_two_that_deploy_at_once_are_both_on_record(tmp_path, clock: ManualClock) -> None:
    ledger = Overtaken.in_folder(tmp_path / "home", clock)
    registry = Registry(tmp_path / "registry", ledger, "")
    registry.deployed(deployment(1, 5))
    assert [found.version for _, found in registry.deployments("rides")] == [9, 1]
    ledger.close()
