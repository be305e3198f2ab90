"""What goes wrong before a cluster is involved is said in a sentence."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from raypipe.clock import ManualClock
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import ModelVersion
from raypipe.errors import ServingError, WorkspaceError
from raypipe.serving.api import ServeApi, last_error
from raypipe.serving.deploy import deploy
from raypipe.serving.model import Served
from raypipe.serving.pointer import Pointer
from raypipe.serving.recipe import Recipe, build

SERVED = Served(folder="/models/late/1", digest="0" * 64, version=1)


def test_a_reader_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(ServingError, match="feature reader `nowhere:open`"):
        build({"name": "late", "reader": "nowhere:open", "folder": "."})
    with pytest.raises(ServingError, match="args of the Serve application"):
        build({"reader": 3})


def test_no_dashboard_is_said_in_a_sentence(free_port: Callable[[], int]) -> None:
    with pytest.raises(ServingError, match="no Ray dashboard answers") as caught:
        ServeApi(f"http://127.0.0.1:{free_port()}", "http://127.0.0.1:1")
    assert caught.value.cure == "Run `raypipe up` first"


def test_the_reason_is_the_last_error_of_a_trace() -> None:
    trace = "Traceback (most recent call last):\n  File a.py\nKeyError: 'x'\n\nraypipe.errors.ServingError: b: no\n"
    assert last_error(trace) == "b: no"
    assert last_error("Deployment failed\nmore") == "Deployment failed"


def test_an_application_with_a_version_puts_it_into_service(tmp_path: Path) -> None:
    args = {"name": "late", "reader": "tests.serving.reader:open_reader", "folder": str(tmp_path)}
    build(args)
    pointer = Pointer(tmp_path, "late")
    assert pointer.read() is None
    build(args | {"served": {"folder": SERVED.folder, "digest": SERVED.digest, "version": 1}})
    assert pointer.read() == SERVED


def test_a_pointer_moves_in_one_step(tmp_path: Path) -> None:
    pointer = Pointer(tmp_path / "serving", "late")
    pointer.write(SERVED)
    before = pointer.path.stat().st_ino
    pointer.write(SERVED)
    assert pointer.path.stat().st_ino != before, "written in place: a reader could see half of it"
    assert [path.name for path in pointer.path.parent.iterdir()] == ["late.json"]
    pointer.write(None)
    pointer.write(None)
    assert pointer.read() is None


def test_a_pointer_that_is_none_is_said_in_a_sentence(tmp_path: Path) -> None:
    pointer = Pointer(tmp_path, "late")
    pointer.path.write_text("{}")
    with pytest.raises(ServingError, match="raypipe deploy"):
        pointer.read()
    blocked = tmp_path / "file"
    blocked.touch(stat.S_IRUSR)
    with pytest.raises(WorkspaceError, match="cannot be written"):
        Pointer(blocked, "late").write(SERVED)


def test_a_process_without_a_cluster_is_told_and_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ServingError, match="not connected to Ray"):
        deploy(
            cast(ModelVersion, Named()),
            cast(Recipe, None),
            cast(ServeApi, None),
            clock=ManualClock(),
            progress=Silent(),
        )


class Named:
    name = "late"
