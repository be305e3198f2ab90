"""House rules that a machine can see in the source."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGE, ROOT, SHIPPED, python_files, tree

# Spelled apart, so that this file does not hold the words it looks for.
LEFTOVERS = re.compile(
    r"\b(TO" r"DO|FIX" r"ME|XX" r"X|place" r"holder|not imple" r"mented|raise NotImple" r"mentedError)\b", re.IGNORECASE
)
MACHINE_PATHS = re.compile(r"(?<![\w.\-/}])/(home|root|Users|mnt|work|workspaces)/\w")


def clock_reads(*paths: Path) -> str:
    """What Ruff's ban on wall clocks (pyproject.toml) finds in the files, with no comment able to hide it."""
    ban = [sys.executable, "-m", "ruff", "check", "--no-cache", "--ignore-noqa", "--select", "TID251"]
    command = [*ban, "--output-format", "concise", "--config", ROOT / "pyproject.toml", *paths]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False).stdout


def test_nothing_but_the_clock_reads_the_time() -> None:
    found = clock_reads(*SHIPPED)
    assert "All checks passed" in found, found


@pytest.mark.parametrize(
    "code",
    [
        "import time\nprint(time.time())",
        "import time as t\nprint(t.time_ns())",
        "from datetime import datetime\nprint(datetime.now())",
        "import datetime as dt\nprint(dt.date.today())  # noqa: TID251",
    ],
)
def test_a_planted_clock_is_found(tmp_path: Path, code: str) -> None:
    (tmp_path / "planted.py").write_text(code)
    assert "planted.py:2" in clock_reads(tmp_path)


def failpoint_sites() -> list[tuple[str, ast.Call]]:
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno}", node)
        for path in python_files(PACKAGE)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("failpoint")
    ]


def test_every_crash_window_has_a_name_of_its_own() -> None:
    names = Counter()
    for site, call in failpoint_sites():
        assert len(call.args) == 1, f"{site}: a failpoint takes its name and nothing else"
        argument = call.args[0]
        assert isinstance(argument, ast.Constant), (
            f"{site}: a failpoint is named by a literal, so that a search finds it"
        )
        assert re.fullmatch(r"[a-z_]+(\.[a-z0-9_]+)+", str(argument.value)), f"{site}: name it `stage.window`"
        names[argument.value] += 1
    assert not [name for name, count in names.items() if count > 1]


def test_nothing_is_left_for_later() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in python_files(*SHIPPED)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if LEFTOVERS.search(line)
    ]
    assert not found


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    texts = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".sh", ".cfg", ""}
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name in listed.stdout.split("\0")
        if name and Path(name).suffix in texts and (ROOT / name).is_file()
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]
    assert not found
