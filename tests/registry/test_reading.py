"""Reading needs the ledger and nothing else, and what is not there is told with what is."""

import json
import subprocess
import sys
import time
from pathlib import Path
from shutil import copytree

import pytest

from raypipe.errors import LedgerError, RegistryError
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from tests.architecture.source import ROOT


@pytest.mark.alone
def test_reading_is_quick_and_loads_no_mlflow(registry: Registry, make, tmp_path: Path, ledger: Ledger) -> None:
    """100 versions with a full lock each."""
    version = registry.register(*make())
    [entry] = ledger.entries()
    body = json.loads(entry.body)
    for n in range(2, 101):
        body |= {"version": n, "digest": f"{n:064}"}
        ledger.append(f"model.registered/rides/{n}", "model.registered", "rides", json.dumps(body))
    # Promotion asks the definition in a bundle whether a gate has to judge it.
    copytree(version.folder, Path(version.folder).with_name(f"{50:064}"))
    registry.promote("rides", 50, expect=None, why="test")
    before = time.process_time()
    for _ in range(10):
        assert registry.get("rides", "champion").version == 50
    assert (time.process_time() - before) / 10 < 0.05
    assert registry.get("rides", 1).lineage == version.lineage

    code = (
        "import sys; from pathlib import Path; from raypipe.registry import Registry;"
        "from raypipe.ledger import Ledger; from raypipe.clock import SystemClock; home = Path(sys.argv[1]);"
        "r = Registry(home / 'registry', Ledger.in_folder(home, SystemClock()), 'http://127.0.0.1:9');"
        "assert r.champion('rides').version == 50; assert r.names() == ['rides'];"
        "print([name for name in ('mlflow', 'onnxruntime', 'ray') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "home"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("rides", 3, "rides: has no version `3`. It has versions 1 to 2, and aliases champion"),
        ("rides", "2.0", "has no version `2.0`"),
        ("rides", "", "has no version ``"),
        ("rides", "champion", "rides: has no champion. Promote one of its 2 versions"),
        ("ride", 1, "ride: no version of this model is registered. Did you mean `rides`?"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    registry: Registry, make, name: str, version: int | str, told: str
) -> None:
    registry.register(*make(1.0))
    registry.register(*make(2.0))
    assert registry.get("rides", "2") == registry.get("rides", 2)
    with pytest.raises(RegistryError) as caught:
        registry.get(name, version)
    assert told in str(caught.value)


def test_an_empty_registry(registry: Registry) -> None:
    assert registry.names() == []
    assert registry.versions("rides") == []
    assert registry.champion("rides") is None
    with pytest.raises(RegistryError, match=r"no version of this model is registered\. Run `raypipe run`"):
        registry.get("rides", 1)


def test_a_row_that_is_no_version_is_named(registry: Registry, make, ledger: Ledger) -> None:
    ledger.append("model.registered/rides/1", "model.registered", "rides", '{"version": "one"}')
    with pytest.raises(LedgerError, match=r"row 1 \(`model\.registered/rides/1`\) is no Registered"):
        registry.versions("rides")
