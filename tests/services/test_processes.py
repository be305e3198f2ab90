"""Processes are recognised long after they were started, and never mistaken for others."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from raypipe.contracts.progress import Silent
from raypipe.errors import ServiceError
from raypipe.services import ServicesConfig, down
from raypipe.services.processes import MARK, ProcessId, children, identities, roots, send, start, tree, wait
from raypipe.services.record import Record, forget, load, locked, save

# A child in a session of its own, as job drivers are, whose parent then dies.
FAMILY = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    time.sleep(600)
time.sleep(600)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., ProcessId]]:
    def run(code: str, mark: str = str(tmp_path)) -> ProcessId:
        return start([sys.executable, "-c", code], os.environ | {MARK: mark}, tmp_path / "log")

    yield run
    left = tree((), str(tmp_path))
    send(left, signal.SIGKILL)
    assert wait(left, 5) == []


def eventually(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_process_has_no_input_and_logs(run: Callable[..., ProcessId], tmp_path: Path) -> None:
    for word in ("one", "two"):
        process = run(f"import sys, os; print('{word}', repr(sys.stdin.read()), os.getsid(0) == os.getpid())")
        eventually(lambda process=process: process.find() is None)
    assert (tmp_path / "log").read_text() == "one '' True\ntwo '' True\n"


def test_another_process_with_the_same_number_is_another(run: Callable[..., ProcessId]) -> None:
    process = run("import time; time.sleep(600)")
    found = process.find()
    assert found is not None
    assert found.pid == process.pid
    assert ProcessId(process.pid, process.created - 60).find() is None
    assert tree([ProcessId(os.getppid(), 1.0)], "nobody") == []


def test_a_family_is_found_whole_even_after_its_head_died(run: Callable[..., ProcessId], tmp_path: Path) -> None:
    head = run(FAMILY)
    eventually(lambda: len(children(head)) == 3)
    family = {process.pid for process in children(head)}
    assert {process.pid for process in tree([head], "nobody")} == family
    assert [process.pid for process in roots(children(head))] == [head.pid]
    os.kill(head.pid, signal.SIGKILL)
    eventually(lambda: head.find() is None)
    assert children(head) == []
    assert {process.pid for process in tree([], str(tmp_path))} == family - {head.pid}


def test_a_process_that_ended_and_was_not_asked_counts_as_ended(run: Callable[..., ProcessId]) -> None:
    process = run("")
    handle = psutil.Process(process.pid)
    assert wait([handle], 10) == []
    assert process.find() is None


def test_down_ends_what_a_crash_has_left_and_nothing_else(run: Callable[..., ProcessId], tmp_path: Path) -> None:
    config = ServicesConfig(tmp_path)
    ours, deaf, foreign = run("import time; time.sleep(600)"), run(DEAF), run("import time; time.sleep(600)", "other")
    eventually(lambda: "deaf" in (tmp_path / "log").read_text())
    config.run.mkdir()
    # The record is torn, as by a crash while it was written; and one of an earlier boot names a stranger's process.
    (config.run / "services.json").write_text('{"mlflow": {"pid"')
    try:
        assert down(config, Silent())
        assert ours.find() is None
        assert deaf.find() is None
        save(config, Record(mlflow=ProcessId(foreign.pid, foreign.created - 1_000)))
        assert not down(config, Silent())
        assert foreign.find() is not None
        assert load(config) == Record()
    finally:
        os.kill(foreign.pid, signal.SIGKILL)


def test_down_without_a_workspace(tmp_path: Path) -> None:
    assert not down(ServicesConfig(tmp_path / "none"), Silent())
    assert not (tmp_path / "none").exists()


def test_the_record_comes_back_as_it_was(tmp_path: Path) -> None:
    config = ServicesConfig(tmp_path)
    config.run.mkdir()
    record = Record(ProcessId(1, 2.5), ProcessId(3, 4.25), "127.0.0.1:6379", identities([psutil.Process()]))
    save(config, record)
    assert load(config) == record
    forget(config)
    forget(config)
    assert load(config) == Record()


def test_one_command_at_a_time(tmp_path: Path) -> None:
    config = ServicesConfig(tmp_path)
    with locked(config), pytest.raises(ServiceError, match="another command"), locked(config, patience=0.2):
        pass
    with locked(config, patience=0):
        pass


def test_socket_paths_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    one, two = ServicesConfig(tmp_path / "one"), ServicesConfig(tmp_path / "two")
    assert one.temp != two.temp
    session = "session_2026-11-22_20-13-37_123456_4194304"
    assert len(str(one.ray_temp / session / "sockets" / "plasma_store")) < 107
    assert len(str(one.temp / "h" / ("f" * 56) / "a.4194304.tmp")) < 107
