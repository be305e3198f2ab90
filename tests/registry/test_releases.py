"""Arms as the ledger tells them: shares, their end by promotion, and races."""

import pytest

from raypipe.errors import RegistryError, SettingsError
from raypipe.ledger import Ledger
from raypipe.registry.releases import RELEASED, Released, arms_of, release
from raypipe.registry.rows import PROMOTED, Promotion


def row(version: int, share: float, role: str = "challenger") -> Released:
    return Released(version=version, role=role, share=share, where={}, why="w", who="me")


def promote(ledger: Ledger, version: int, number: int, *, rollback: bool = False) -> None:
    change = Promotion(slot="champion", version=version, digest="d", previous=None, rollback=rollback, why="", who="")
    ledger.append(f"{PROMOTED}/late/champion/{number}", PROMOTED, "late", change.to_json())


@pytest.fixture
def ledger(tmp_path, clock) -> Ledger:
    return Ledger.in_folder(tmp_path, clock)


def test_a_promoted_arm_is_over_also_after_a_rollback(ledger: Ledger) -> None:
    promote(ledger, 1, 1)
    release(ledger, "late", row(2, 0.1))
    salt = arms_of(ledger, "late").salt
    release(ledger, "late", row(3, 0.2))
    assert [(arm.name, arm.share) for arm in arms_of(ledger, "late").arms] == [
        ("challenger/2", 0.1),
        ("challenger/3", 0.2),
    ]
    assert arms_of(ledger, "late").salt == salt, "who joins later moves nobody"
    promote(ledger, 2, 2)
    promote(ledger, 1, 3, rollback=True)
    assert [arm.name for arm in arms_of(ledger, "late").arms] == ["challenger/3"]
    release(ledger, "late", row(3, 0))
    release(ledger, "late", row(3, 0.2))
    assert arms_of(ledger, "late").salt != salt, "another experiment spreads anew"


def test_too_large_a_share_changes_nothing(ledger: Ledger) -> None:
    release(ledger, "late", row(2, 0.8))
    with pytest.raises(SettingsError, match="only 20% are free"):
        release(ledger, "late", row(3, 0.3))
    assert len(ledger.entries(RELEASED)) == 1


def test_of_two_at_once_one_is_told(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    release(ledger, "late", row(2, 0.1))
    before = arms_of(ledger, "late")
    release(ledger, "late", row(2, 0.2))
    monkeypatch.setattr("raypipe.registry.releases.arms_of", lambda *_: before)
    with pytest.raises(RegistryError, match="just now"):
        release(ledger, "late", row(2, 0.3))
