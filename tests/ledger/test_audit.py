"""Every way to change history is noticed, also by who may write to the database and computes the chain anew."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from raypipe.cli.main import main
from raypipe.clock import ManualClock
from raypipe.errors import LedgerError, SettingsError
from raypipe.ledger import Ledger
from raypipe.ledger.checkpoint import NAME, Audit, audit, make_keys, sign
from raypipe.ledger.ledger import _hash

ROWS = "SELECT seq, key, kind, subject, at, body FROM ledger ORDER BY seq"


@dataclass
class Kept:
    """A ledger of twelve rows, signed at row five and ten."""

    folder: Path
    clock: ManualClock

    @property
    def file(self) -> Path:
        return self.folder / "audit" / NAME

    def key(self, name: str) -> str:
        return f"file:{self.folder / 'keys' / name}"

    def add(self, first: int, last: int) -> None:
        ledger = Ledger.in_folder(self.folder, self.clock)
        for n in range(first, last + 1):
            self.clock.advance(1_000_000)
            ledger.append(f"key/{n}", "model.promoted", "flights", json.dumps({"n": n}))
        ledger.close()

    def sign(self) -> int:
        ledger = Ledger.in_folder(self.folder, self.clock)
        try:
            return sign(ledger, self.file, self.key("audit.key"), self.clock.now()).seq
        finally:
            ledger.close()

    def audit(self, file: Path | None = None) -> Audit:
        ledger = Ledger.in_folder(self.folder, self.clock)
        try:
            return audit(ledger, file or self.file, self.key("audit.pub"))
        finally:
            ledger.close()

    def rewrite(self, change: Callable[[list[list[object]]], object]) -> None:
        """Change rows as somebody would who knows how they are chained, and has no key."""
        with sqlite3.connect(self.folder / "ledger.db") as base:
            rows = [list(row) for row in base.execute(ROWS)]
            change(rows)
            base.execute("DELETE FROM ledger")
            previous = "0" * 64
            for seq, row in enumerate(rows, 1):
                row[0] = seq
                chained = _hash(*row, previous)
                base.execute("INSERT INTO ledger VALUES (?,?,?,?,?,?,?,?)", [*row, previous, chained])
                previous = chained
        base.close()


@pytest.fixture
def kept(tmp_path: Path, clock: ManualClock) -> Kept:
    made = Kept(tmp_path / "kept", clock)
    make_keys(made.folder / "keys")
    made.add(1, 5)
    assert made.sign() == 5
    made.add(6, 10)
    assert made.sign() == 10
    made.add(11, 12)
    return made


def test_an_honest_ledger(kept: Kept) -> None:
    assert kept.audit() == Audit(rows=12, checkpoints=2, signed=10, signed_at=kept.clock.now() - 2_000_000)
    assert (kept.sign(), kept.sign()) == (12, 12)
    assert kept.audit().checkpoints == 3


ATTACKS: dict[str, Callable[[list[list[object]]], object]] = {
    "edit": lambda rows: rows[3].__setitem__(5, '{"n": 99}'),
    "edit the first": lambda rows: rows[0].__setitem__(3, "other"),
    "delete": lambda rows: rows.pop(2),
    "reorder": lambda rows: rows.insert(1, rows.pop(7)),
    "insert": lambda rows: rows.insert(4, [0, "key/x", "model.promoted", "flights", 1, "{}"]),
    "truncate": lambda rows: rows.__delitem__(slice(8, None)),
    "empty": lambda rows: rows.clear(),
    "re-stamp": lambda rows: [row.__setitem__(4, int(str(row[4])) - 3_600_000_000) for row in rows],
    "re-stamp one": lambda rows: rows[9].__setitem__(4, 7),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_history_written_anew_is_noticed(kept: Kept, attack: str) -> None:
    kept.rewrite(lambda rows: None)
    assert kept.audit().rows == 12, "the tool of the attacker writes good chains"
    kept.rewrite(ATTACKS[attack])
    with pytest.raises(LedgerError, match=r"is not what was signed|it ends at row"):
        kept.audit()
    with pytest.raises(LedgerError):
        kept.sign()


def test_an_old_copy_that_is_put_back_is_noticed(kept: Kept) -> None:
    shutil.copy(kept.folder / "ledger.db", kept.folder / "old.db")
    kept.add(13, 20)
    kept.sign()
    for left in kept.folder.glob("ledger.db-*"):
        left.unlink()
    shutil.copy(kept.folder / "old.db", kept.folder / "ledger.db")
    with pytest.raises(LedgerError, match="it ends at row 12, but had 20 rows when it was signed"):
        kept.audit()
    kept.add(13, 25)  # a past that is lived again
    with pytest.raises(LedgerError, match="row 20, or one before it, is not what was signed"):
        kept.audit()


def test_old_checkpoints_that_are_put_back_too_are_noticed_by_who_kept_a_copy(kept: Kept, tmp_path: Path) -> None:
    early, copy = tmp_path / "early", tmp_path / "copy"
    shutil.copytree(kept.folder, early)
    kept.add(13, 20)
    kept.sign()
    shutil.copy(kept.file, copy)
    shutil.rmtree(kept.folder)
    shutil.copytree(early, kept.folder)
    assert kept.audit().rows == 12
    with pytest.raises(LedgerError, match="had 20 rows when it was signed"):
        kept.audit(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: lines[::-1],
        lambda lines: [lines[0].replace(b'"seq":5', b'"seq":4'), lines[1]],
        lambda lines: [lines[0], b"{}"],
        lambda lines: [lines[0], lines[0]],
        lambda lines: [b"nonsense"],
    ],
)
def test_checkpoints_that_were_tampered_with_are_noticed(
    kept: Kept, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    lines = kept.file.read_bytes().splitlines()
    kept.file.write_bytes(b"\n".join(change(lines)) + b"\n")
    with pytest.raises(LedgerError, match=rf"{NAME}:\d: "):
        kept.audit()


def test_another_key_signs_nothing(kept: Kept) -> None:
    shutil.rmtree(kept.folder / "keys")
    make_keys(kept.folder / "keys")
    with pytest.raises(LedgerError, match="was not signed with this key"):
        kept.audit()
    with pytest.raises(LedgerError, match="there is a key already"):
        make_keys(kept.folder / "keys")


def test_on_the_command_line(kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(kept.folder)
    monkeypatch.setenv("RAYPIPE_WORKSPACE", str(kept.folder))
    assert main(["audit", "ledger"]) == 2
    said = (
        "setting `audit_public_key`: is not set, so no signature was verified; the chain of hashes over 12 rows holds"
    )
    assert said in capsys.readouterr().err
    assert main(["audit", "keys", "--folder", "own", "--json"]) == 0
    keys = json.loads(capsys.readouterr().out)
    private = Path(keys["audit_key"].removeprefix("file:"))
    assert private.stat().st_mode & 0o777 == 0o600
    (kept.folder / "raypipe.toml").write_text("".join(f'{name} = "{value}"\n' for name, value in keys.items()))
    kept.file.unlink()
    assert main(["audit", "ledger"]) == 0
    assert "12 rows, nothing was signed yet" in capsys.readouterr().out
    assert main(["audit", "checkpoint"]) == 0
    assert main(["audit", "ledger", "--json"]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown.splitlines()[-1])["signed"] == 12
    assert private.read_text() not in shown
    kept.rewrite(ATTACKS["edit"])
    assert main(["audit", "ledger"]) == 1
    assert "is not what was signed" in capsys.readouterr().err


def test_a_key_is_given_by_reference_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: Kept) -> None:
    from raypipe.settings import load_settings

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYPIPE_AUDIT_KEY", "-----BEGIN PRIVATE KEY----- secret")
    with pytest.raises(SettingsError, match="is not a reference") as told:
        load_settings()
    assert "secret" not in str(told.value)
    with pytest.raises(SettingsError, match="holds no Ed25519 private key"):
        sign(Ledger.in_folder(tmp_path, kept.clock), tmp_path / NAME, kept.key("audit.pub"), 1)
