"""The ledger keeps what it was given, once, in one order, and notices every change."""

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from raypipe.clock import ManualClock
from raypipe.errors import KeyTakenError, LedgerError, WorkspaceError
from raypipe.ledger import Entry, Ledger
from tests.architecture.source import ROOT


@pytest.fixture
def ledger(tmp_path: Path, clock: ManualClock) -> Iterator[Ledger]:
    found = Ledger.in_folder(tmp_path / "kept", clock)
    yield found
    found.close()


def filled(ledger: Ledger, clock: ManualClock, rows: int = 5) -> list[Entry]:
    entries = []
    for n in range(1, rows + 1):
        clock.advance(1_000)
        entries.append(ledger.append(f"key/{n}", f"kind.{n % 2}", "flights", json.dumps({"n": n, "who": "Ada ‹é›"})))
    return entries


def test_a_row_says_what_when_and_to_whom(ledger: Ledger, clock: ManualClock) -> None:
    entry = ledger.append("a/1", "model.promoted", "flights", '{"version":1}')
    assert (entry.seq, entry.at, entry.previous) == (1, clock.now(), "0" * 64)
    assert ledger.get("a/1") == entry
    assert ledger.get("a/2") is None
    assert ledger.append("a/2", "model.promoted", "flights").previous == entry.hash


def test_the_same_row_is_there_once(ledger: Ledger, clock: ManualClock) -> None:
    first = ledger.append("a/1", "k", "s", '{"n":1}')
    clock.advance(99)
    assert ledger.append("a/1", "k", "s", '{"n":1}') == first
    assert len(ledger.entries()) == 1


@pytest.mark.parametrize("other", [("k", "s", '{"n":2}'), ("k", "t", '{"n":1}'), ("j", "s", '{"n":1}')])
def test_one_key_for_two_contents_is_refused(ledger: Ledger, other: tuple[str, str, str]) -> None:
    ledger.append("a/1", "k", "s", '{"n":1}')
    with pytest.raises(KeyTakenError, match="key `a/1` is there with another content"):
        ledger.append("a/1", *other)
    assert ledger.verify() == 1


def test_rows_are_found_by_kind_and_subject(ledger: Ledger, clock: ManualClock) -> None:
    filled(ledger, clock)
    ledger.append("x", "kind.1", "others")
    assert [entry.seq for entry in ledger.entries()] == [1, 2, 3, 4, 5, 6]
    assert [entry.seq for entry in ledger.entries("kind.1")] == [1, 3, 5, 6]
    assert [entry.seq for entry in ledger.entries("kind.1", "flights")] == [1, 3, 5]
    assert [entry.seq for entry in ledger.entries(subject="others")] == [6]


def test_a_body_that_is_no_json_is_refused_before_anything_is_written(ledger: Ledger) -> None:
    with pytest.raises(json.JSONDecodeError):
        ledger.append("a", "k", "s", "{")
    assert ledger.verify() == 0


def test_the_hash_can_be_computed_by_anyone(ledger: Ledger, clock: ManualClock) -> None:
    """Oracle: the rule written out by hand, so that an auditor needs none of our code."""
    from hashlib import sha256

    previous = "0" * 64
    for entry in filled(ledger, clock):
        parts = [entry.seq, entry.key, entry.kind, entry.subject, entry.at, entry.body, previous]
        previous = sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
        assert entry.hash == previous


def test_a_closed_ledger_is_found_again(ledger: Ledger, clock: ManualClock, tmp_path: Path) -> None:
    entries = filled(ledger, clock)
    ledger.close()
    again = Ledger.in_folder(tmp_path / "kept", clock)
    assert again.entries() == entries
    again.close()


ROW_3 = "kind, subject, at, body, previous, hash FROM ledger WHERE seq = 3"
TAMPERED = {
    "edit the body": ("UPDATE ledger SET body = '{}' WHERE seq = 3", "row 3 (`key/3`) is not what was written"),
    "edit the time": ("UPDATE ledger SET at = at + 1 WHERE seq = 3", "row 3"),
    "edit the key": ("UPDATE ledger SET key = 'other' WHERE seq = 3", "row 3"),
    "edit the kind": ("UPDATE ledger SET kind = 'other' WHERE seq = 3", "row 3"),
    "edit the subject": ("UPDATE ledger SET subject = 'other' WHERE seq = 3", "row 3"),
    "edit the hash": ("UPDATE ledger SET hash = previous WHERE seq = 3", "row 3"),
    "delete the first": ("DELETE FROM ledger WHERE seq = 1", "row 1 is missing"),
    "delete one": ("DELETE FROM ledger WHERE seq = 3", "row 3 is missing"),
    "delete and close up": ("DELETE FROM ledger WHERE seq = 3; UPDATE ledger SET seq = seq - 1 WHERE seq > 3", "row 3"),
    "reorder": (
        "UPDATE ledger SET seq = 15 - seq WHERE seq IN (2, 3); UPDATE ledger SET seq = seq - 10 WHERE seq > 9",
        "row 2",
    ),
    "insert at the end": (f"INSERT INTO ledger SELECT 6, 'forged', {ROW_3}", "row 6"),
    "insert in the middle": (
        f"UPDATE ledger SET seq = seq + 100 WHERE seq > 3; INSERT INTO ledger SELECT 4, 'forged', {ROW_3};", "row 4",
    ),
    "insert before the start": (f"INSERT INTO ledger SELECT 0, 'forged', {ROW_3}", "row 1 is missing"),
}  # fmt: skip


def tamper(folder: Path, script: str) -> None:
    with sqlite3.connect(folder / "ledger.db") as connection:
        connection.executescript(script)
    connection.close()


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_found_and_the_first_bad_row_named(
    ledger: Ledger, clock: ManualClock, tmp_path: Path, name: str
) -> None:
    script, told = TAMPERED[name]
    filled(ledger, clock)
    assert ledger.verify() == 5
    tamper(tmp_path / "kept", script)
    with pytest.raises(LedgerError) as caught:
        ledger.verify()
    assert told in str(caught.value)


def test_a_cut_off_end_is_found_with_a_row_that_was_kept_elsewhere(
    ledger: Ledger, clock: ManualClock, tmp_path: Path
) -> None:
    last = filled(ledger, clock)[-1]
    assert ledger.verify(last) == 5
    tamper(tmp_path / "kept", "DELETE FROM ledger WHERE seq > 3")
    assert ledger.verify() == 3  # a chain alone cannot tell
    with pytest.raises(LedgerError, match="it ends at row 3, but had 5 rows before"):
        ledger.verify(last)


def test_a_chain_that_was_written_anew_is_found(ledger: Ledger, clock: ManualClock, tmp_path: Path) -> None:
    anchor = filled(ledger, clock)[3]
    forged = Ledger.in_folder(tmp_path / "forged", clock)
    filled(forged, clock)
    assert forged.verify() == 5
    with pytest.raises(LedgerError, match="row 4 is not the row that was there before"):
        forged.verify(anchor)
    with pytest.raises(LedgerError):
        ledger.verify(replace(anchor, body="{}"))
    forged.close()


def test_many_processes_append_at_once(tmp_path: Path, clock: ManualClock) -> None:
    """8 processes open a new ledger at the same moment; each adds 50 rows of its own and asks for 50 that all share."""
    command = [sys.executable, "-m", "tests.ledger.appending", tmp_path / "kept", "8", "50"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    ledger = Ledger.in_folder(tmp_path / "kept", clock)
    assert ledger.verify() == 8 * 50 + 50
    for n in range(8):
        own = [json.loads(entry.body)["n"] for entry in ledger.entries(subject=str(n))]
        assert own == list(range(50))  # each process's own rows lie in the order it wrote them
    assert len(ledger.entries("test.shared")) == 50
    ledger.close()


def test_many_threads_append_at_once(ledger: Ledger) -> None:
    threads = [
        threading.Thread(target=lambda me=me: [ledger.append(f"{me}/{n}", "k", "s") for n in range(20)])
        for me in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.verify() == 160


def test_one_key_is_claimed_by_one(ledger: Ledger) -> None:
    won: list[int] = []

    def claim(me: int) -> None:
        try:
            ledger.append("job/1", "job.submitted", "flights", json.dumps({"by": me}))
        except KeyTakenError:
            return
        won.append(me)

    threads = [threading.Thread(target=claim, args=(me,)) for me in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [entry] = ledger.entries()
    assert won == [json.loads(entry.body)["by"]]


def test_readers_do_not_wait_for_a_writer(ledger: Ledger, clock: ManualClock, tmp_path: Path) -> None:
    filled(ledger, clock)
    writer = sqlite3.connect(tmp_path / "kept" / "ledger.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    before = time.monotonic()
    assert len(ledger.entries()) == 5
    assert ledger.verify() == 5
    assert time.monotonic() - before < 5  # a writer would wait for 30 s
    writer.execute("ROLLBACK")
    writer.close()


def test_a_killed_append_leaves_nothing(ledger: Ledger, clock: ManualClock, tmp_path: Path) -> None:
    """A transaction that was never finished, as a killed process leaves it: copied with its log, while it is open."""
    filled(ledger, clock)
    writer = sqlite3.connect(tmp_path / "kept" / "ledger.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO ledger VALUES (6, 'half', 'k', 's', 0, '{}', '', '')")
    shutil.copytree(tmp_path / "kept", tmp_path / "after")
    writer.close()
    after = Ledger.in_folder(tmp_path / "after", clock)
    assert after.verify() == 5
    assert after.append("whole", "k", "s").seq == 6
    after.close()


def test_a_file_that_is_no_ledger_is_a_sentence(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "ledger.db").write_text("this is no database, and long enough to be looked at" * 10)
    with pytest.raises(LedgerError, match="file is not a database") as caught:
        Ledger.in_folder(tmp_path, clock)
    assert "ledger.db" in caught.value.where


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be made"):
        Ledger.in_folder(tmp_path / "file" / "kept", clock)


def test_a_full_disk_is_a_sentence_and_loses_nothing(ledger: Ledger, clock: ManualClock, tmp_path: Path) -> None:
    filled(ledger, clock)
    with sqlite3.connect(tmp_path / "kept" / "ledger.db") as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    from sqlalchemy import event

    # The database is told that it may not grow: the same complaint as of a disk without space.
    ledger.close()
    event.listen(ledger._engine, "connect", lambda c, _: c.execute(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(LedgerError, match="database or disk is full"):
        ledger.append("big", "k", "s", json.dumps({"x": "y" * 100_000}))
    assert ledger.verify() == 5


@pytest.mark.parametrize("name", ["a b", "a?b", "a#b", "100%", "ü"])
def test_a_workspace_may_have_any_name(tmp_path: Path, clock: ManualClock, name: str) -> None:
    ledger = Ledger.in_folder(tmp_path / name, clock)
    ledger.append("a", "k", "s")
    ledger.close()
    assert (tmp_path / name / "ledger.db").is_file()


def test_a_few_rows_of_a_long_history_are_found_by_what_they_hold(ledger: Ledger) -> None:
    for number in range(12):
        ledger.append(f"k{number}", "made", "flights" if number % 2 else "rides", f'{{"set":"10%_{number}"}}')
    ledger.append("other", "told", "zones")
    assert [entry.key for entry in ledger.entries("made", "rides", "10%_1")] == ["k10"]
    assert [entry.key for entry in ledger.entries(holding='"10%_1')] == ["k1", "k10", "k11"]
    assert ledger.entries(holding="10__1") == []  # the text itself is meant, not a pattern
    assert (ledger.count("made", "rides"), ledger.count("made", "zones")) == (6, 0)
    assert (ledger.subjects("made"), ledger.subjects("never")) == (["flights", "rides"], [])
